import { bootClock } from '../../src/base/clock.ts';
import type { Cluster } from '../../src/cli/cluster.ts';
import { run } from '../../src/cli/run.ts';
import type { Resource, Stored } from '../../src/kube/api.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { NODE_LABEL } from '../../src/kube/lease.ts';
import { diskMonitors, failoverGroups, failoverNodes, leases, vipResources } from '../../src/kube/resources.ts';

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunningCli {
  readonly ended: Promise<Said>;
  /** What it has said so far. */
  readonly said: { out: string; err: string };
  /** Ctrl-C. */
  interrupt(): void;
}

/** `kubectl pointsman ARGS` in the test's own process. */
export function startCli(args: readonly string[], kubeconfig: string, { live = false } = {}): RunningCli {
  const said = { out: '', err: '' };
  const stop = new AbortController();
  const terminal = {
    out: (text: string) => {
      said.out += text;
    },
    err: (text: string) => {
      said.err += text;
    },
    live,
    colours: false,
  };
  const ended = run(args, { terminal, clock: bootClock, env: { KUBECONFIG: kubeconfig }, signal: stop.signal });
  return {
    ended: ended.then((code) => ({ code, ...said })),
    said,
    interrupt: () => stop.abort(new Error('Stopped by Ctrl-C')),
  };
}

export async function cli(args: readonly string[], kubeconfig: string): Promise<Said> {
  return await startCli(args, kubeconfig).ended;
}

/** Puts a cluster with its statuses into a namespace. */
export async function store(api: KubeClient, namespace: string, cluster: Cluster): Promise<void> {
  await put(failoverGroups, cluster.groups);
  await put(failoverNodes, cluster.nodes);
  await put(vipResources, cluster.vips);
  await put(diskMonitors, cluster.monitors);
  for (const lease of cluster.leases ?? []) {
    const { name } = lease.metadata;
    const spec = {
      holderIdentity: lease.holder,
      leaseTransitions: lease.transitions,
      leaseDurationSeconds: lease.durationSeconds,
      renewTime: lease.renewTime.replace('Z', '000Z'),
    };
    await api.create(leases, namespace, { metadata: { name, labels: { [NODE_LABEL]: name } }, spec });
  }

  async function put<T extends Stored & { readonly spec: unknown; readonly status?: unknown }>(
    resource: Resource<T>,
    objects: readonly T[],
  ): Promise<void> {
    for (const { metadata, spec, status } of objects) {
      const { name, annotations } = metadata;
      await api.create(resource, namespace, { metadata: { name, annotations }, spec });
      if (status !== undefined) await api.patchStatus(resource, namespace, name, { status });
    }
  }
}
