import { type Assignment, MOVE_TO_ANNOTATION } from '../crds/failovergroup.ts';
import type { FitnessReason } from '../crds/reasons.ts';
import { hasAged, isInTouch } from './fitness.ts';
import { diskView, isUnread } from './neighbours.ts';
import type { GroupPlan } from './plan.ts';
import { groupReportOf, type NodeSeen } from './seen.ts';
import type { Situation } from './situation.ts';
import { timingOf } from './timing.ts';
import { leadsTo } from './vip.ts';

/** It is told to end. Where it does not hear it, its Lease must age. */
export function waitForRelease(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, name, now } = situation;
  if (assignment?.state !== 'Stopping') return undefined;
  const report = groupReportOf(holder, name);
  if (holder && isInTouch(holder, now) && report?.reason === ('ProcessStuck' satisfies FitnessReason)) {
    const message = `waiting for ${assignment.node} to end epoch ${assignment.epoch}: ${report.message ?? 'its process does not end'}`;
    return { reason: 'ProcessStuck', message, deeds: [], ...whenAged(holder) };
  }
  if (!holder || isInTouch(holder, now) || holder.lease.kind !== 'present') {
    return {
      reason: 'Stopping',
      message: `waiting for ${assignment.node} to end epoch ${assignment.epoch}`,
      deeds: [],
      ...whenAged(holder),
    };
  }
  const view = diskView(seen, assignment, now);
  if (hasAged(holder, now) && view.state === 'seen') {
    const message = `${assignment.node} does not hear that it is to end: it is out of touch with the API server and lives on the shared disk, by ${view.by.join(', ')}; mend its way to the API server, or switch it off`;
    return { reason: 'WaitingForLease', message, deeds: [], lookAgainAtMs: view.untilMs };
  }
  if (hasAged(holder, now) && view.state === 'unknown' && isUnread(seen, assignment, now)) {
    const message = `${assignment.node} does not hear that it is to end, and nobody can tell from the shared disk whether it still runs (${view.why}); mend its way to the API server, or that of another node to the disk`;
    return { reason: 'DiskUnread', message, deeds: [] };
  }
  return { reason: 'WaitingForLease', message: outOfTouchMessage(assignment, holder), deeds: [], ...whenAged(holder) };
}

/** It may still serve. With a second channel the others can tell. */
export function holdWhileOutOfTouch(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, name, now } = situation;
  // Not yet seen to renew by this controller is no sign of trouble: it has just begun to look.
  if (!assignment || holder?.lease.kind !== 'present' || isInTouch(holder, now)) return undefined;
  if (holder.lease.changedMs === undefined && now.ms - holder.lease.firstSeenMs <= fenceAfterMs(holder))
    return undefined;
  const view = diskView(seen, assignment, now);
  if (view.state === 'seen') {
    const { node, epoch } = assignment;
    const by = `${node} is out of touch with the API server, but ${view.by.join(', ')} sees it live on the shared disk`;
    const report = groupReportOf(holder, name);
    const served = report?.epoch === epoch && report.state === 'Running' && report.ready;
    const again = { deeds: [], lookAgainAtMs: view.untilMs };
    if (served && seen.vips.every((vip) => leadsTo(vip, epoch)))
      return { reason: 'SeenOnDisk', message: `${by}: it serves on, and nothing is moved`, ...again };
    return { reason: 'NodeOutOfTouch', message: `${by}; it was not ready when it was last heard`, ...again };
  }
  if (hasAged(holder, now) && view.state === 'unknown') {
    const message = `${assignment.node} does not renew its Lease, and nobody can tell from the shared disk whether it still runs (${view.why}); nothing is moved. When you know that it does not, annotate the group with ${MOVE_TO_ANNOTATION}`;
    return { reason: 'DiskUnread', message, deeds: [] };
  }
  return { reason: 'NodeOutOfTouch', message: outOfTouchMessage(assignment, holder), deeds: [], ...whenAged(holder) };
}

/** While all is well: look again when the last renewal we saw would be too old. */
export function whenOutOfTouch(holder: NodeSeen | undefined): { lookAgainAtMs?: number } {
  if (holder?.lease.kind !== 'present') return {};
  return { lookAgainAtMs: (holder.lease.changedMs ?? holder.lease.firstSeenMs) + fenceAfterMs(holder) + 1 };
}

function outOfTouchMessage({ node }: Assignment, holder: NodeSeen): string {
  if (holder.node === undefined)
    return `there is no FailoverNode "${node}" any more, so its agent is not heard: create it again, with the same instance`;
  return `${node} does not renew its Lease; it may still serve, and is fenced when the Lease has aged`;
}

function whenAged(holder: NodeSeen | undefined): { lookAgainAtMs?: number } {
  if (holder?.lease.kind !== 'present') return {};
  return { lookAgainAtMs: holder.lease.firstSeenMs + holder.lease.takeoverAfterMs };
}

function fenceAfterMs(node: NodeSeen): number {
  return node.node ? timingOf(node.node.spec.timing).fenceAfterMs : 0;
}
