import type { Assignment, Basis, Proof } from '../crds/failovergroup.ts';
import { type GroupSeen, groupReportOf, nodeSeen } from './seen.ts';

/** An epoch whose node may, as far as is proven, still live by the disk: its Lease has aged, and nothing more. */
export type OpenEpoch = Basis['earlier'][number];

/** As many as the schema of an assignment holds. */
export const MOST_OPEN = 16;

/**
 * What the basis of the next epoch lists as open, when the present one is closed by `proof`. An end that the disk did
 * not take, once it was given its time, closes like one that it took: what it leaves open is a late write, not a
 * process, and no file tells of that.
 */
export function openAfter(seen: GroupSeen, assignment: Assignment, proof: Proof): OpenEpoch[] {
  const { node, epoch, incarnation, bootId, basis } = assignment;
  const { earlier, ...present } = basis;
  const open = earlier.filter((one) => !isClosed(seen, one));
  if (proof !== 'LeaseExpired') return open.filter((one) => !isSameServer(one, { node, nodes: basis.nodes }));
  const last: OpenEpoch = { epoch, node, incarnation, ...(bootId === undefined ? {} : { bootId }), ...present };
  return [...open.filter((one) => !isCoveredBy(one, last)), last];
}

/**
 * Why the next epoch may not begin though the present node is proven out by `proof`; undefined when it may. The gate
 * finds a node that lives by the disk only where both look at the same files.
 */
export function missingProof(seen: GroupSeen, assignment: Assignment, proof: Proof): string | undefined {
  const open = openAfter(seen, assignment, proof);
  for (const one of open) {
    const change = one.heartbeat ? changeSince(seen, one) : undefined;
    if (change === undefined) continue;
    return `that the Lease of ${one.node} aged does not count for epoch ${one.epoch}, because ${change.what} since: ${change.undo}, or bring ${one.node} back, so that it says that it has ended`;
  }
  if (open.length <= MOST_OPEN) return undefined;
  const nodes = [...new Set(open.map(({ node }) => node))].join(', ');
  return `${MOST_OPEN} earlier epochs are closed by nothing but an aged Lease, and no more can be kept in mind: bring back one of ${nodes}, so that it says that it has ended`;
}

function changeSince({ group }: GroupSeen, one: OpenEpoch): { what: string; undo: string } | undefined {
  const { mountPath, heartbeat } = group.spec.sharedDisk;
  if (one.mountPath !== mountPath)
    return {
      what: `sharedDisk.mountPath has been changed from ${one.mountPath} to ${mountPath}`,
      undo: 'set it back',
    };
  if (!heartbeat) return { what: 'sharedDisk.heartbeat has been set to false', undo: 'set it back to true' };
  const diskId = group.status?.diskId;
  if (diskId === undefined || one.diskId === undefined || diskId === one.diskId) return undefined;
  return { what: `the disk is another (${diskId}, not ${one.diskId})`, undo: 'mount the disk it had' };
}

/** Its node has said that it ended it, or has come back as another incarnation, for which it ended everything. */
function isClosed(seen: GroupSeen, one: OpenEpoch): boolean {
  const node = nodeSeen(seen, one.node);
  const instanceId = node?.node?.spec.instanceId;
  if (node === undefined || instanceId === undefined || instanceId !== instanceOf(one)) return false;
  const report = groupReportOf(node, seen.group.metadata.name);
  if (report !== undefined && report.ended >= one.epoch && report.settled) return true;
  const { lease } = node;
  if (lease.kind !== 'present' || lease.holder === '') return false;
  if (one.incarnation === undefined || lease.incarnation <= one.incarnation) return false;
  return lease.settled || (one.bootId !== undefined && lease.bootId !== '' && lease.bootId !== one.bootId);
}

/** A server that is out of its later epoch is out of the earlier ones too. */
function isSameServer(one: OpenEpoch, later: { node: string; nodes: OpenEpoch['nodes'] }): boolean {
  return one.node === later.node && instanceOf(one) === instanceOf(later);
}

/** The later epoch of the same server asks for the same file. */
function isCoveredBy(one: OpenEpoch, later: OpenEpoch): boolean {
  const same = one.mountPath === later.mountPath && one.diskId === later.diskId && one.heartbeat === later.heartbeat;
  return same && isSameServer(one, later);
}

function instanceOf({ node, nodes }: { node: string; nodes: OpenEpoch['nodes'] }): string | undefined {
  return nodes.find(({ name }) => name === node)?.instanceId;
}
