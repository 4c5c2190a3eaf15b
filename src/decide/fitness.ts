import { durationMs } from '../crds/duration.ts';
import type { FitnessReason } from '../crds/reasons.ts';
import { type GroupSeen, groupReportOf, type NodeSeen, type Now } from './seen.ts';
import { timingOf } from './timing.ts';

/** Whether a node could take the group now, and if not, why. */
export interface Fitness {
  readonly name: string;
  readonly fit: boolean;
  /** Unfit, but better than nobody: it may take the group when the node that had it is lost. */
  readonly inNeed?: boolean;
  /** A {@link FitnessReason}, or the word that a newer agent uses. */
  readonly reason: FitnessReason | (string & {});
  readonly message: string;
}

type Check = (seen: GroupSeen, node: NodeSeen, now: Now) => Omit<Fitness, 'name' | 'fit'> | undefined;

/** The first that answers is why the node is not fit. */
const CHECKS: readonly Check[] = [
  exists,
  staysInTheCluster,
  schedulable,
  ownInstance,
  nodeCanRun,
  inTouch,
  reported,
  groupCanRun,
  sameDisk,
  diskWorks,
  processHolds,
];

export function fitnessOf(seen: GroupSeen, node: NodeSeen, now: Now): Fitness {
  for (const check of CHECKS) {
    const problem = check(seen, node, now);
    if (problem)
      return { name: node.name, fit: false, ...(check === processHolds ? { inNeed: true } : {}), ...problem };
  }
  return { name: node.name, fit: true, reason: 'Fit', message: 'can run the group' };
}

/** Seen by ourselves to renew its Lease, lately enough that it has not ended what it runs. */
export function isInTouch(node: NodeSeen, now: Now): boolean {
  if (node.node === undefined || node.lease.kind !== 'present' || node.lease.holder === '') return false;
  if (node.lease.changedMs === undefined) return false;
  return now.ms - node.lease.changedMs <= timingOf(node.node.spec.timing).fenceAfterMs;
}

/** Nothing was heard of it for longer than it may run without being heard of. */
export function isSilent({ node, lease }: NodeSeen, now: Now): boolean {
  if (node === undefined || lease.kind !== 'present') return lease.kind !== 'unknown';
  return now.ms - (lease.changedMs ?? lease.firstSeenMs) > timingOf(node.spec.timing).fenceAfterMs;
}

/** Its Lease was seen unchanged for as long as the record itself asks for. */
export function hasAged({ lease }: NodeSeen, now: Now): boolean {
  return lease.kind === 'present' && now.ms >= lease.firstSeenMs + lease.takeoverAfterMs;
}

function exists(seen: GroupSeen, { name, node }: NodeSeen) {
  if (node) return undefined;
  const { namespace } = seen.group.metadata;
  return {
    reason: 'NodeMissing',
    message: `there is no FailoverNode "${name}" in namespace ${namespace}: create it, or take the name out of spec.nodes`,
  };
}

function staysInTheCluster(_: GroupSeen, { node }: NodeSeen) {
  if (node?.metadata.deletionTimestamp === undefined) return undefined;
  return { reason: 'NodeDeleted', message: 'its FailoverNode is being deleted' };
}

function schedulable(_: GroupSeen, { node }: NodeSeen) {
  if (node?.spec.schedulable !== false) return undefined;
  return {
    reason: 'Cordoned',
    message: 'spec.schedulable of its FailoverNode is false: set it to true to let groups come',
  };
}

function ownInstance(_: GroupSeen, { node, twin }: NodeSeen) {
  if (twin === undefined) return undefined;
  return {
    reason: 'InstanceTwice',
    message: `FailoverNode "${twin}" has the same instance ${node?.spec.instanceId ?? ''}: delete one of the two`,
  };
}

function inTouch(_: GroupSeen, node: NodeSeen, now: Now) {
  const { lease } = node;
  if (lease.kind === 'missing') return { reason: 'AgentNeverSeen', message: 'it has no Lease: start the agent on it' };
  if (lease.kind === 'unknown' || isInTouch(node, now)) {
    return lease.kind === 'unknown' ? { reason: 'Unknown', message: 'its Lease has not been read yet' } : undefined;
  }
  // This process has only just begun to look: it has not seen it renew yet, and not seen it silent either.
  if (lease.holder !== '' && lease.changedMs === undefined && now.ms - lease.firstSeenMs <= lease.takeoverAfterMs) {
    return { reason: 'Unknown', message: 'its Lease has not been seen to change yet' };
  }
  if (lease.holder === '') return { reason: 'Fenced', message: 'its Lease was fenced and the agent has not come back' };
  return {
    reason: 'OutOfTouch',
    message: 'its agent does not renew its Lease: look at the agent, the server and its network',
  };
}

function reported(seen: GroupSeen, { node, lease }: NodeSeen) {
  const report = node?.status?.report;
  const current = report !== undefined && lease.kind === 'present' && report.incarnation === lease.incarnation;
  if (current && report.groups.some((group) => group.name === seen.group.metadata.name)) return undefined;
  if (current && report.reason !== undefined) return undefined;
  return { reason: 'NotReported', message: 'its agent has not reported on this group yet' };
}

function nodeCanRun(_: GroupSeen, { node }: NodeSeen) {
  const report = node?.status?.report;
  if (report?.reason === undefined) return undefined;
  return { reason: report.reason, message: report.message ?? '' };
}

function groupCanRun(seen: GroupSeen, node: NodeSeen) {
  const report = groupReportOf(node, seen.group.metadata.name);
  if (report === undefined || report.fit) return undefined;
  return { reason: report.reason ?? 'NotFit', message: report.message ?? '' };
}

function sameDisk(seen: GroupSeen, node: NodeSeen) {
  const here = groupReportOf(node, seen.group.metadata.name)?.diskId;
  const recorded = seen.group.status?.diskId;
  if (here !== undefined && (recorded === undefined || here === recorded)) return undefined;
  const path = seen.group.spec.sharedDisk.mountPath;
  if (here === undefined)
    return { reason: 'NotReported', message: `its agent has not read the id of the disk at ${path} yet` };
  return {
    reason: 'OtherDisk',
    message: `another disk is mounted at ${path}: its id is ${here}, the group's is ${recorded}; mount the group's file system there`,
  };
}

function diskWorks(seen: GroupSeen, node: NodeSeen) {
  for (const monitor of seen.monitors) {
    if (monitor.spec.onFailure === 'Report') continue;
    const report = node.node?.status?.report?.disks.find((disk) => disk.name === monitor.metadata.name);
    if (report?.state !== 'Failed') continue;
    return {
      reason: 'DiskFailed',
      message: `DiskMonitor "${monitor.metadata.name}" fails there: ${report.message ?? ''}`,
    };
  }
  return undefined;
}

/** Where it has just failed again and again, it would fail again: without this it would go round for ever. */
function processHolds(seen: GroupSeen, { name }: NodeSeen) {
  const { window } = seen.group.spec.process.restart;
  const failure = seen.failures.find(({ node, agoMs }) => node === name && agoMs < durationMs(window));
  if (!failure) return undefined;
  return {
    reason: 'ProcessFailed',
    message: `${failure.message}; it is tried there again when restart.window (${window}) has passed, or the spec is changed`,
  };
}
