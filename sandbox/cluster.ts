import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createSdkEc2 } from '../src/aws/sdk-ec2.ts';
import { describeError } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import type { Condition } from '../src/crds/conditions.ts';
import type { DiskMonitor } from '../src/crds/diskmonitor.ts';
import type { FailoverGroup } from '../src/crds/failovergroup.ts';
import type { FailoverNode } from '../src/crds/failovernode.ts';
import type { VipResource } from '../src/crds/vipresource.ts';
import { createKubeClient } from '../src/kube/client.ts';
import { diskMonitors, failoverGroups, failoverNodes, vipResources } from '../src/kube/resources.ts';
import type { Sandbox } from './sandbox.ts';
import { SERVERS, type ServerName } from './topology.ts';

export const NAMESPACE = 'storage';
export const VIP = '10.1.0.20';
export const MINIO = '/work/minio';
export const EXAMPLE = fileURLToPath(new URL('../manifests/examples/minio.yaml', import.meta.url));

/** The article's cluster on a sandbox, as a person looks at it: objects, routes, processes. */
export interface Cluster {
  readonly sandbox: Sandbox;
  group(): Promise<FailoverGroup>;
  node(name: ServerName): Promise<FailoverNode>;
  vip(): Promise<VipResource>;
  monitor(): Promise<DiskMonitor>;
  /** What the route to the VIP leads to, in each of the three tables: a server's name, or what else it is. */
  routes(): Promise<Record<string, string>>;
  /** The pids of MinIO on each server, by the host. */
  minios(): Record<ServerName, number[]>;
  /** Asks on and on until `check` holds. @throws after `limitMs`, with what `check` said last */
  until(what: string, limitMs: number, check: () => Promise<boolean | string> | boolean | string): Promise<void>;
  /** Until the group is Ready on `node` (or on any) with an epoch above `epoch`. */
  untilServed(limitMs: number, wanted?: { node?: ServerName; above?: number }): Promise<FailoverGroup>;
  close(): Promise<void>;
}

const EVERY_MS = 20;

export function lookAt(sandbox: Sandbox): Cluster {
  const kube = createKubeClient({ log: silentLog, kubeconfig: sandbox.kubeconfig, fieldManager: 'sandbox' });
  const credentials = { accessKeyId: 'sandbox', secretAccessKey: 'sandbox' };
  const ec2 = createSdkEc2({ region: sandbox.ids.region, endpoint: sandbox.awsEndpoint, credentials });
  const there = <T>(found: T | undefined, what: string): T => {
    if (found === undefined) throw new Error(`Cannot look at ${what}: it is not there`);
    return found;
  };
  const group = async () => there(await kube.get(failoverGroups, NAMESPACE, 'failover'), 'FailoverGroup failover');

  const cluster: Cluster = {
    sandbox,
    group,
    node: async (name) => there(await kube.get(failoverNodes, NAMESPACE, name), `FailoverNode ${name}`),
    vip: async () => there(await kube.get(vipResources, NAMESPACE, 'awsvip'), 'VipResource awsvip'),
    monitor: async () => there(await kube.get(diskMonitors, NAMESPACE, 'diskw'), 'DiskMonitor diskw'),
    routes: async () => {
      const { mainTableId, routeATableId, routeBTableId } = sandbox.ids;
      const named = { main: mainTableId, 'Route-A': routeATableId, 'Route-B': routeBTableId };
      const tables = await ec2.describeRoutes(Object.values(named), { timeoutMs: 5_000 });
      return Object.fromEntries(
        Object.entries(named).map(([name, id]) => {
          const table = tables.get(id);
          const route =
            table === 'missing' ? undefined : table?.routes.find(({ destination }) => destination === `${VIP}/32`);
          if (!route) return [name, 'no route'];
          const server = SERVERS.find((one) => sandbox.ids[one].networkInterfaceId === route.target) ?? route.target;
          return [name, route.state === 'active' ? server : `${server}, a black hole`];
        }),
      );
    },
    minios: () => {
      const pids = (name: ServerName) =>
        sandbox
          .server(name)
          .processes()
          .filter(({ exe }) => exe === MINIO)
          .map(({ pid }) => pid);
      return { server1: pids('server1'), server2: pids('server2') };
    },
    until: async (what, limitMs, check) => {
      const endMs = performance.now() + limitMs;
      let last: boolean | string = false;
      while (performance.now() < endMs) {
        // A look that fails is no answer: the API server may be away just now.
        last = await Promise.resolve()
          .then(check)
          .catch((error: unknown) => describeError(error));
        if (last === true) return;
        await delay(EVERY_MS);
      }
      throw new Error(`Cannot see ${what}: not after ${limitMs} ms${typeof last === 'string' ? `; ${last}` : ''}`);
    },
    untilServed: async (limitMs, { node, above = 0 } = {}) => {
      let found: FailoverGroup | undefined;
      await cluster.until(`the group served${node ? ` by ${node}` : ''}`, limitMs, async () => {
        const now = await group();
        const ready = readyOf(now);
        const well =
          ready?.status === 'True' &&
          (now.status?.assignment?.epoch ?? 0) > above &&
          (!node || now.status?.activeNode === node);
        if (well) found = now;
        return well || `${ready?.status} ${ready?.reason}: ${ready?.message}`;
      });
      return there(found, 'the group');
    },
    close: async () => {
      ec2.close();
      await kube.close();
    },
  };
  return cluster;
}

export function readyOf(object: {
  readonly status?: { readonly conditions: readonly Condition[] } | undefined;
}): Condition | undefined {
  return conditionOf(object, 'Ready');
}

export function conditionOf(
  object: { readonly status?: { readonly conditions: readonly Condition[] } | undefined },
  type: string,
): Condition | undefined {
  return object.status?.conditions.find((one) => one.type === type);
}
