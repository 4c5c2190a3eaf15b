import type { Assignment, Proof } from '../crds/failovergroup.ts';
import { fencedSinceMs, instanceIdOf, isProvenOff } from './instance.ts';
import { isUnread, livesOnDisk } from './neighbours.ts';
import { type GroupSeen, groupReportOf, type NodeSeen, type Now, nodeSeen } from './seen.ts';

/** Whether the node of an assignment is out, which alone allows the next epoch. docs/protocol.md has the table. */
export type Outness =
  | { readonly out: true; readonly proof: Proof; readonly message: string }
  /**
   * The node has ended the epoch, but the disk did not take the end: accepted at `acceptedAtMs`, or never, where the
   * policy is Instance.
   */
  | { readonly out: false; readonly unsettled: true; readonly acceptedAtMs: number | undefined }
  | { readonly out: false; readonly unsettled: false };

const NOT_OUT: Outness = { out: false, unsettled: false };

export function outness(seen: GroupSeen, assignment: Assignment, now: Now): Outness {
  const node = nodeSeen(seen, assignment.node);
  if (node === undefined) return NOT_OUT;
  const ended = released(seen, node, assignment, now);
  const back = rejoined(seen, node, assignment, now);
  // An end that the disk did not take waits for nothing once the kernel that could hold writes is gone.
  const first = ended?.out === false && back?.out ? back : ended;
  return (
    instanceStopped(seen, node, assignment) ?? first ?? back ?? leaseExpired(seen, node, assignment, now) ?? NOT_OUT
  );
}

/** A stale copy of the report is as good: what has ended does not start again. */
function released(seen: GroupSeen, node: NodeSeen, assignment: Assignment, now: Now): Outness | undefined {
  const report = groupReportOf(node, seen.group.metadata.name);
  if (report === undefined || report.ended < assignment.epoch) return undefined;
  // It is in an epoch that it has not ended: whatever the assignment says, it is not out.
  if (report.epoch > report.ended) return undefined;
  if (report.settled) {
    return { out: true, proof: 'Released', message: `${assignment.node} has ended epoch ${assignment.epoch}` };
  }
  return unsettled(seen, assignment, now, 'Released', `${assignment.node} has ended epoch ${assignment.epoch}`);
}

/** A write that the dead process had handed to the kernel may still land: it is given `takeoverAfter` to do so. */
function unsettled(seen: GroupSeen, assignment: Assignment, now: Now, proof: Proof, message: string): Outness {
  if (seen.group.spec.fencing.policy === 'Instance') return { out: false, unsettled: true, acceptedAtMs: undefined };
  const own = assignment.basis.nodes.find((node) => node.name === assignment.node);
  const waitMs = (own?.takeoverAfterSeconds ?? 8) * 1000;
  const acceptedAtMs = (seen.unsettledSinceMs ?? now.ms) + waitMs;
  if (now.ms < acceptedAtMs) return { out: false, unsettled: true, acceptedAtMs };
  return { out: true, proof, message: `${message}, ${waitMs} ms ago; its disk did not take the end` };
}

/**
 * It holds a Lease of a newer incarnation, for which all that ran before had to be ended. `settled` says that the disk
 * took the end; another boot, that the kernel which could still hold writes is gone. Without either it counts as an
 * unsettled release.
 */
function rejoined(seen: GroupSeen, node: NodeSeen, assignment: Assignment, now: Now): Outness | undefined {
  const { lease } = node;
  if (lease.kind !== 'present' || lease.holder === '' || lease.incarnation <= assignment.incarnation) return undefined;
  const otherBoot = assignment.bootId !== undefined && lease.bootId !== '' && lease.bootId !== assignment.bootId;
  const message = `${assignment.node} has ended all it ran and come back as incarnation ${lease.incarnation}`;
  if (lease.settled || otherBoot) return { out: true, proof: 'Rejoined', message };
  return unsettled(seen, assignment, now, 'Rejoined', message);
}

/** EC2's word that the instance is off; accepted under every policy, asked for under `Instance` alone. */
function instanceStopped({ instance }: GroupSeen, { lease }: NodeSeen, assignment: Assignment): Outness | undefined {
  if (instance === undefined || instance.id !== instanceIdOf(assignment)) return undefined;
  const fencedMs = fencedSinceMs(lease, assignment);
  if (fencedMs === undefined || !isProvenOff(instance, fencedMs)) return undefined;
  const message = `EC2 says that the instance ${instance.id} of ${assignment.node} is ${instance.read?.state}, after it was fenced`;
  return { out: true, proof: 'InstanceStopped', message };
}

/**
 * Nobody holds it and its incarnation has grown: it was fenced, whoever did it. Where it was fenced for another group
 * and others see the node live by the disk, or cannot tell, it serves this one until it comes back.
 */
function leaseExpired(seen: GroupSeen, node: NodeSeen, assignment: Assignment, now: Now): Outness | undefined {
  const { lease } = node;
  if (seen.group.spec.fencing.policy === 'Instance') return undefined;
  if (lease.kind !== 'present' || lease.holder !== '' || lease.incarnation <= assignment.incarnation) return undefined;
  if (livesOnDisk(seen, assignment, now) || isUnread(seen, assignment, now)) return undefined;
  return { out: true, proof: 'LeaseExpired', message: `the Lease of ${assignment.node} aged and was fenced` };
}
