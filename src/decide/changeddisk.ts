import { isInTouch } from './fitness.ts';
import { stop } from './move.ts';
import type { GroupPlan } from './plan.ts';
import { groupReportOf } from './seen.ts';
import type { Situation } from './situation.ts';

/**
 * The path was changed before the process came to run. What was assigned holds for the old path: the holder looks at the
 * new one, and would wait at the gate of the old for ever. A process that runs goes on where it is.
 */
export function followChangedDisk(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, name, now } = situation;
  if (assignment?.state !== 'Active' || !holder || !isInTouch(holder, now)) return undefined;
  const { mountPath } = seen.group.spec.sharedDisk;
  const report = groupReportOf(holder, name);
  if (assignment.basis.mountPath === mountPath || report === undefined || report.state === 'Running') return undefined;
  return stop(situation, 'Startup', `started again, because sharedDisk.mountPath was changed to ${mountPath}`);
}
