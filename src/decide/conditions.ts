import type { Condition, ConditionWish } from '../crds/conditions.ts';

/**
 * The conditions to store: the transition time of one whose status did not change stays, and a type that is not wished
 * for is gone. kstatus reads the absence of `Reconciling` and `Stalled` as "neither".
 */
export function mergeConditions(
  stored: readonly Condition[],
  wishes: readonly ConditionWish[],
  generation: number,
  iso: string,
): Condition[] {
  return wishes.map((wish) => {
    const before = stored.find(({ type }) => type === wish.type);
    const lastTransitionTime = before?.status === wish.status ? before.lastTransitionTime : iso;
    return { ...wish, message: wish.message.slice(0, 4096), lastTransitionTime, observedGeneration: generation };
  });
}
