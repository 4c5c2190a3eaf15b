import { isInTouch } from './fitness.ts';
import { stop } from './move.ts';
import type { GroupPlan } from './plan.ts';
import { groupReportOf } from './seen.ts';
import type { Situation } from './situation.ts';

/** So many new epochs one after the other. Each is above all that was read, so the next one is enough unless somebody goes on claiming. */
export const CLAIMED_AT_MOST = 3;

/** The holder has read a claim or an epoch on the disk that is not below its own, so its gate stays closed. */
export function leaveClaimedEpoch(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, name, now } = situation;
  if (assignment?.state !== 'Active' || !assignment.basis.heartbeat || !holder || !isInTouch(holder, now))
    return undefined;
  const { node, epoch, incarnation } = assignment;
  const report = groupReportOf(holder, name);
  if (report?.epoch !== epoch || report.highestRead < epoch || report.state === 'Running') return undefined;
  if (holder.node?.status?.report?.incarnation !== incarnation) return undefined;
  const what = `${node} has read epoch ${report.highestRead} on the shared disk, which is not below its own, ${epoch}`;
  if (timesClaimed(situation) < CLAIMED_AT_MOST)
    return stop(situation, 'EpochClaimed', `${what}: the group goes on above it`);
  const { namespace } = seen.group.metadata;
  const message = `${what}, and so it was ${CLAIMED_AT_MOST} times in a row: somebody else claims epochs of ${namespace}/${name} on this disk, such as another Kubernetes cluster; end that, then change the spec or ask for a move`;
  return { reason: 'EpochClaimed', message, deeds: [] };
}

/** How many of the last moves, without another between them, were for this reason under the present spec. */
function timesClaimed({ seen: { group } }: Situation): number {
  const { status, metadata } = group;
  const moves = [...(status?.move ? [status.move] : []), ...(status?.history ?? [])];
  const other = moves.findIndex(
    ({ reason, generation }) => reason !== 'EpochClaimed' || generation !== metadata.generation,
  );
  return other < 0 ? moves.length : other;
}
