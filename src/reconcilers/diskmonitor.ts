import type { Clock } from '../base/clock.ts';
import type { Reconciled } from '../base/queue.ts';
import { diskMonitorStatus } from '../decide/diskstatus.ts';
import { observeNode } from '../decide/observe.ts';
import type { KubeApi } from '../kube/api.ts';
import { mergePatch } from '../kube/mergepatch.ts';
import { diskMonitors } from '../kube/resources.ts';
import type { World } from './observe.ts';

export interface DiskMonitorReconcilerOptions {
  readonly api: KubeApi;
  readonly world: World;
  readonly clock: Clock;
  readonly leading: () => boolean;
}

const WRITE_TIMEOUT_MS = 5_000;
/** A node that falls silent sends no event: it is noticed at the next look. */
const LOOK_AGAIN_MS = 5_000;

/** Tells of each node what its agent says of the disk. What follows from it, the group decides. */
export function createDiskMonitorReconciler({ api, world, clock, leading }: DiskMonitorReconcilerOptions) {
  return async function reconcile(key: string, signal: AbortSignal): Promise<Reconciled> {
    const monitor = world.monitors.get(key);
    if (!monitor || !leading()) return;
    const { namespace, name } = monitor.metadata;
    const group = world.groups.get(`${namespace}/${monitor.spec.groupRef.name}`);
    const nodes = group?.spec.nodes.map((node) => observeNode(world, namespace, node));
    const status = diskMonitorStatus(monitor, nodes, { ms: clock.nowMs(), iso: clock.wall().toISOString() });
    const patch = mergePatch(monitor.status ?? {}, status);
    if (patch !== undefined)
      await api.patchStatus(diskMonitors, namespace, name, { status: patch }, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    return { afterMs: LOOK_AGAIN_MS };
  };
}
