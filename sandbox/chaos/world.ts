import { readFileSync } from 'node:fs';
import { type Cluster, conditionOf, EXAMPLE, lookAt, NAMESPACE, VIP } from '../cluster.ts';
import { startSandbox } from '../sandbox.ts';
import { SERVERS, type ServerName } from '../topology.ts';
import { type Watch, watchProcesses } from '../watch.ts';
import { type ChaosClient, startChaosClient } from './client.ts';

/** The article's cluster with everything that can fail, a client that never rests, and a watch from outside. */
export interface World {
  readonly cluster: Cluster;
  readonly client: ChaosClient;
  readonly watch: Watch;
  readonly options: WorldOptions;
  /** What of the control plane was killed and is not started again. */
  readonly down: Set<'etcd' | 'apiserver'>;
  /**
   * Everybody in touch (each Lease renewed from now on), served, redundant, and a write acknowledged.
   * @throws after `limitMs`, with what is not so
   */
  well(limitMs: number): Promise<Situation>;
  /** The same without asking whether everybody is in touch: for one that was well a moment ago. */
  served(limitMs: number): Promise<Situation>;
  /** The manifests of this world, applied (again). */
  apply(): Promise<void>;
  kubectl(...args: string[]): Promise<string>;
  patch(object: string, patch: object, subresource?: 'status'): Promise<void>;
  close(): Promise<void>;
}

/** Before a fault. */
export interface Situation {
  /** The server that serves. */
  readonly active: ServerName;
  readonly other: ServerName;
  readonly epoch: number;
}

export interface WorldOptions {
  readonly policy: 'Lease' | 'Instance';
  /** Whether the second channel, on the disk, is in force. */
  readonly heartbeat: boolean;
}

/** Those of a fast disk, so that a disk that fails costs seconds: what is shown is the order of events. */
const DISK_MONITOR = `
  interval: 1s
  timeout: 2s
`;

export async function startWorld(options: WorldOptions): Promise<World> {
  const sandbox = await startSandbox({ faultyDisk: true, movableClocks: true, resync: '3s' });
  try {
    const cluster = lookAt(sandbox);
    const yaml = manifestsOf(options);
    const apply = async () =>
      void (await sandbox.kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], { input: yaml }));
    await apply();
    const watch = await watchProcesses(sandbox);
    await cluster.untilServed(90_000);
    const client = await startChaosClient(sandbox, `http://${VIP}:9000`);
    const kubectl = (...args: string[]) => sandbox.kubectl([...args, '-n', NAMESPACE]);
    return {
      cluster,
      client,
      watch,
      options,
      down: new Set(),
      apply,
      kubectl,
      well: async (limitMs) => {
        const endMs = performance.now() + limitMs;
        await inTouch(cluster, limitMs);
        return await served(cluster, client, Math.max(1_000, endMs - performance.now()));
      },
      served: (limitMs) => served(cluster, client, limitMs),
      patch: async (object, patch, subresource) => {
        const part = subresource === undefined ? [] : [`--subresource=${subresource}`];
        await kubectl('patch', object, '--type=merge', ...part, '-p', JSON.stringify(patch));
      },
      close: async () => {
        await Promise.all([client.stop(), watch.stop(), cluster.close()]);
        await sandbox.stop();
      },
    };
  } catch (error) {
    await sandbox.stop();
    throw error;
  }
}

async function served(cluster: Cluster, client: ChaosClient, limitMs: number): Promise<Situation> {
  const endMs = performance.now() + limitMs;
  const leftMs = () => Math.max(1_000, endMs - performance.now());
  let found: Situation | undefined;
  await cluster.until('it well', limitMs, async () => {
    const group = await cluster.group();
    const [ready, degraded] = [conditionOf(group, 'Ready'), conditionOf(group, 'Degraded')];
    if (ready?.status !== 'True') return `Ready ${ready?.status} ${ready?.reason}: ${ready?.message}`;
    if (degraded?.status !== 'False') return `Degraded: ${degraded?.message}`;
    const active = SERVERS.find((name) => name === group.status?.activeNode);
    if (active === undefined || group.status?.assignment === undefined) return 'nobody is assigned';
    found = { active, other: active === 'server1' ? 'server2' : 'server1', epoch: group.status.assignment.epoch };
    return true;
  });
  await client.untilWritten(leftMs());
  return found!; // `until` has ended, so it was set
}

/** What is stored may be from before the fault: agents and controller that renew are there now. */
async function inTouch({ sandbox, until }: Cluster, limitMs: number): Promise<void> {
  const first = new Map<string, string>();
  await until('everybody in touch', limitMs, async () => {
    const leases = await sandbox.kubectl(['get', 'leases', '-A', '-o', RENEWALS]);
    const renewals = new Map(leases.split('\n').map((line) => line.split(' ') as [string, string])); // as RENEWALS says
    const silent = LEASES.filter((name) => {
      const renewed = renewals.get(name);
      if (renewed === undefined || renewed === '') return true;
      if (!first.has(name)) first.set(name, renewed);
      return first.get(name) === renewed;
    });
    return silent.length === 0 || `not renewed: ${silent.join(', ')}`;
  });
}

const LEASES = ['pointsman-controller', ...SERVERS];
const RENEWALS = 'jsonpath={range .items[*]}{.metadata.name} {.spec.renewTime}{"\\n"}{end}';

function manifestsOf({ policy, heartbeat }: WorldOptions): string {
  const yaml = readFileSync(EXAMPLE, 'utf8');
  const changes: readonly (readonly [string, string])[] = [
    ['fsTypes: [nfs4, tmpfs]', `fsTypes: [nfs4, fuse.faultydisk]\n    heartbeat: ${heartbeat}`],
    ['    user: minio\n', '    user: minio\n    stop: {timeout: 2s}\n    restart: {limit: 100}\n'],
    ['  sharedDisk:\n', `  fencing: {policy: ${policy}}\n  sharedDisk:\n`],
    ['  method: WriteFile\n', `  method: WriteFile${DISK_MONITOR}`],
  ];
  return changes.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`Cannot change the example: it does not say "${from.trim()}"`);
    return text.replace(from, to);
  }, yaml);
}
