import type { Clock } from '../base/clock.ts';
import { type FailoverGroup, MOVE_TO_ANNOTATION, type Move } from '../crds/failovergroup.ts';
import type { KubeApi } from '../kube/api.ts';
import { Throttled, Unanswered } from '../kube/errors.ts';
import { failoverGroups } from '../kube/resources.ts';
import { heldBy, presentState, progressOf, stepLines } from './moveprogress.ts';
import { refusalByStatus, watchRefusals } from './refusal.ts';
import { tookWords } from './words.ts';

export interface MoveWish {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** As it is before the wish. */
  readonly group: FailoverGroup;
  readonly to: string;
  readonly timeoutMs: number;
  /** Told of each step, in a line. */
  readonly tell: (line: string) => void;
}

/** Where it ended: on the node asked for, unless something came in between. */
export interface Moved {
  readonly node: string;
  readonly move: Move | undefined;
}

/** States the wish; the controller carries it out, or refuses it, and takes it off again. */
export async function askForMove({
  api,
  signal,
  group,
  to,
}: Pick<MoveWish, 'api' | 'signal' | 'group' | 'to'>): Promise<FailoverGroup> {
  const { namespace, name } = group.metadata;
  const wish = { metadata: { annotations: { [MOVE_TO_ANNOTATION]: to } } };
  return await api.patchMetadata(failoverGroups, namespace, name, wish, { signal });
}

/** States the wish and sees it through. Throws where it is refused, overruled, or not done in time. */
export async function moveGroup(wish: MoveWish): Promise<Moved> {
  const { api, clock, signal, group, to, timeoutMs, tell } = wish;
  const { namespace, name } = group.metadata;
  const refusals = await watchRefusals(api, clock, group, { signal });
  let last = await askForMove(wish);
  const endMs = clock.nowMs() + timeoutMs;
  let held: string | undefined;
  try {
    while (clock.nowMs() < endMs) {
      await clock.sleep(LOOK_EVERY_MS, signal);
      const now = await look();
      if (now === undefined) continue;
      if (now.status?.move && now.status.move.startedAt !== group.status?.move?.startedAt)
        for (const line of stepLines(last.status?.move, now.status.move)) tell(line);
      last = now;
      const progress = progressOf(group, to, now);
      switch (progress.state) {
        case 'refused':
          throw new Error(`Cannot move ${name}: the controller refuses: ${await reasonOf(now)}`);
        case 'overruled':
          throw new Error(`Cannot move ${name} to "${to}": somebody has asked for "${progress.to}" meanwhile`);
        case 'done':
          return { node: to, move: progress.move };
        case 'elsewhere':
          return progress;
        case 'waiting':
        case 'underWay': {
          const why = heldBy(now);
          if (why !== undefined && why !== held) tell(`          ${why}`);
          held = why;
        }
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Error(`${words(signal.reason)}: ${stands()}`);
  }
  throw new Error(
    `Cannot see ${name} served from "${to}" within ${tookWords(timeoutMs)}: ${presentState(last)}; ${stands()}`,
  );

  /** Undefined while the API server is away for a moment: the move does not need us. */
  async function look(): Promise<FailoverGroup | undefined> {
    try {
      const now = await api.get(failoverGroups, namespace, name, { signal });
      if (now === undefined) throw new Error(`Cannot follow the move of ${name}: the group was deleted`);
      return now;
    } catch (error) {
      if (error instanceof Unanswered || error instanceof Throttled) return undefined;
      throw error;
    }
  }

  async function reasonOf(now: FailoverGroup): Promise<string> {
    return (await refusals.wait(REFUSAL_WITHIN_MS)) ?? `Cannot move to "${to}": ${refusalByStatus(now, to)}`;
  }

  /** What is left behind, and what can be done about it. */
  function stands(): string {
    if (progressOf(group, to, last).state !== 'waiting')
      return `it goes on; kubectl pointsman status ${name} -n ${namespace} shows it`;
    return `no controller has taken the wish up, and it stands; to withdraw it: kubectl annotate failovergroup ${name} -n ${namespace} ${MOVE_TO_ANNOTATION}-`;
  }
}

const LOOK_EVERY_MS = 150;
/** An Event is written in the background, after the wish was taken off. */
const REFUSAL_WITHIN_MS = 3_000;

function words(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
