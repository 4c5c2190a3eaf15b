import type { ConditionWish } from '../crds/conditions.ts';
import type { DiskMonitor, DiskMonitorStatus } from '../crds/diskmonitor.ts';
import type { DiskReason } from '../crds/reasons.ts';
import { mergeConditions } from './conditions.ts';
import { isInTouch } from './fitness.ts';
import type { NodeSeen, Now } from './seen.ts';

type NodeDisk = DiskMonitorStatus['nodes'][number];

/** The status of a DiskMonitor. `nodes` are those of its group, or undefined when there is no such group. */
export function diskMonitorStatus(
  monitor: DiskMonitor,
  nodes: readonly NodeSeen[] | undefined,
  now: Now,
): DiskMonitorStatus {
  const disks = (nodes ?? []).map((node) => diskOn(monitor, node, now));
  const { generation } = monitor.metadata;
  const ready = nodes === undefined ? groupMissing(monitor) : judge(disks);
  const wishes: ConditionWish[] = [{ type: 'Ready', ...ready }];
  // Nothing here mends a disk, but a group may yet come.
  if (ready.reason === 'Failed') wishes.push({ ...ready, type: 'Stalled', status: 'True' });
  else if (ready.status !== 'True') wishes.push({ ...ready, type: 'Reconciling', status: 'True' });
  return {
    observedGeneration: generation,
    nodes: disks,
    conditions: mergeConditions(monitor.status?.conditions ?? [], wishes, generation, now.iso),
  };
}

/** What a node's agent says; what a silent agent once said is not known any more. */
function diskOn(monitor: DiskMonitor, node: NodeSeen, now: Now): NodeDisk {
  const report = node.node?.status?.report?.disks.find((disk) => disk.name === monitor.metadata.name);
  if (!isInTouch(node, now))
    return { name: node.name, state: 'Unknown', message: 'its agent does not renew its Lease' };
  if (!report) return { name: node.name, state: 'Unknown', message: 'its agent has not reported on this monitor yet' };
  return {
    name: node.name,
    state: report.state,
    ...(report.latencyMs === undefined ? {} : { latencyMs: report.latencyMs }),
    ...(report.message === undefined ? {} : { message: report.message }),
  };
}

interface Verdict {
  readonly status: ConditionWish['status'];
  readonly reason: DiskReason;
  readonly message: string;
}

function judge(disks: readonly NodeDisk[]): Verdict {
  const told = (state: NodeDisk['state']) => disks.filter((disk) => disk.state === state);
  const list = (some: readonly NodeDisk[]) =>
    some.map(({ name, message }) => (message ? `${name}: ${message}` : name)).join('; ');
  const failed = told('Failed');
  if (failed.length > 0) return { status: 'False', reason: 'Failed', message: `the disk fails on ${list(failed)}` };
  const failing = told('Failing');
  if (failing.length > 0)
    return {
      status: 'True',
      reason: 'Failing',
      message: `a probe failed, not yet often enough to count, on ${list(failing)}`,
    };
  const unknown = told('Unknown');
  if (unknown.length > 0) return { status: 'Unknown', reason: 'Unknown', message: `not known on ${list(unknown)}` };
  const healthy = told('Healthy').map(({ name }) => name);
  return {
    status: 'True',
    reason: 'Healthy',
    message: `the disk works on ${healthy.join(', ') || 'no node: none is watched now'}`,
  };
}

function groupMissing({ metadata, spec }: DiskMonitor): Verdict {
  const message = `there is no FailoverGroup "${spec.groupRef.name}" in namespace ${metadata.namespace}: create it, or correct spec.groupRef.name`;
  return { status: 'False', reason: 'GroupMissing', message };
}
