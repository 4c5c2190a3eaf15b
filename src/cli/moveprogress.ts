import { type FailoverGroup, MOVE_TO_ANNOTATION, type Move, type MoveSteps } from '../crds/failovergroup.ts';
import type { GroupReason } from '../crds/reasons.ts';
import { tookWords } from './words.ts';

/** How far a move that was asked for has come, by the group before and now. */
export type MoveProgress =
  /** The wish stands; no controller has taken it up. */
  | { readonly state: 'waiting' }
  /** The wish is gone and nothing was moved for it. */
  | { readonly state: 'refused' }
  /** Somebody has written another wish over it. */
  | { readonly state: 'overruled'; readonly to: string }
  | { readonly state: 'underWay'; readonly move: Move | undefined }
  | { readonly state: 'done'; readonly move: Move | undefined }
  /** It is served again, from another node than the one asked for. */
  | { readonly state: 'elsewhere'; readonly node: string; readonly move: Move | undefined };

export function progressOf(before: FailoverGroup, to: string, { metadata, spec, status }: FailoverGroup): MoveProgress {
  const wish = metadata.annotations[MOVE_TO_ANNOTATION];
  if (wish !== undefined && wish !== to) return { state: 'overruled', to: wish };
  const [was, is] = [before.status?.assignment, status?.assignment];
  const began = (is?.epoch ?? 0) > (was?.epoch ?? 0);
  const move = status?.move?.startedAt === before.status?.move?.startedAt ? undefined : status?.move;
  // The controller stores `Stopping` before it takes the wish off, so a wish that is gone without it was not followed.
  if (!began && is?.state !== 'Stopping') return { state: wish === undefined ? 'refused' : 'waiting' };
  if (!began && !spec.running) return { state: wish === undefined ? 'refused' : 'waiting' };
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  if (is?.state !== 'Active' || ready?.status !== 'True') return { state: 'underWay', move };
  if (is.node === to) return { state: 'done', move };
  // Assigned for another reason, and the wish is taken up next.
  return wish === undefined ? { state: 'elsewhere', node: is.node, move } : { state: 'underWay', move };
}

/** Where the group could go: the first in the order of the spec that the controller says is fit. */
export function bestOther({ spec, status }: FailoverGroup): string | undefined {
  return spec.nodes.find((name) => {
    return name !== status?.assignment?.node && status?.nodes.some((node) => node.name === name && node.fit);
  });
}

/** Why the nodes that do not have the group cannot take it, in the controller's words. */
export function whyNoOther({ status }: FailoverGroup): string {
  const others = (status?.nodes ?? []).filter(({ name, fit }) => !fit && name !== status?.assignment?.node);
  const words = others.map(({ name, reason, message }) => `${name}: ${reason}: ${message}`);
  return words.join('; ') || 'there is no other node, or no controller has looked at them yet';
}

/** A line for each step that `now` has and `before` had not, in the order in which they came. */
export function stepLines(before: Move | undefined, now: Move): string[] {
  const known = before?.startedAt === now.startedAt ? before.steps : {};
  return stepsOf(now)
    .filter(({ step }) => known[step] === undefined)
    .map(({ step, ms }) => `${tookWords(ms).padStart(8)}  ${STEPS[step](now)}`);
}

/** The steps that were reached, in the order in which they were. */
export function stepsOf({ steps }: Move): { readonly step: keyof MoveSteps; readonly ms: number }[] {
  const order = Object.keys(STEPS) as (keyof MoveSteps)[]; // STEPS has exactly these
  return order
    .flatMap((step) => (steps[step] === undefined ? [] : [{ step, ms: steps[step] }]))
    .sort((a, b) => a.ms - b.ms);
}

const STEPS: Readonly<Record<keyof MoveSteps, (move: Move) => string>> = {
  detectedMs: ({ message }) => `decided: ${message}`,
  releasedMs: ({ from }) => `released: ${from ?? 'the old node'} has ended the process`,
  fencedMs: ({ from }) => `fenced: ${from ?? 'the old node'} cannot start anything before it has ended everything`,
  stoppedMs: ({ from }) => `stopped: EC2 says that the instance of ${from ?? 'the old node'} is off`,
  assignedMs: ({ to, epoch }) => `assigned: ${to ?? 'the new node'} has it, as epoch ${epoch ?? '?'}`,
  routedMs: ({ to }) => `routed: every route leads to ${to ?? 'the new node'}`,
  startedMs: ({ to }) => `started: the process runs on ${to ?? 'the new node'}`,
  readyMs: () => 'ready: the process is ready',
};

/** What a move goes through in any case: its steps tell of it. */
const EXPECTED: ReadonlySet<string> = new Set<GroupReason>([
  'Serving',
  'Requested',
  'Stopping',
  'Starting',
  'RoutesPending',
]);

/** What holds the move, where something does. */
export function heldBy({ status }: FailoverGroup): string | undefined {
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  if (!ready || ready.status === 'True' || EXPECTED.has(ready.reason)) return undefined;
  return `${ready.reason}: ${ready.message}`;
}

/** The state of a group in one line, for an error. */
export function presentState({ status }: FailoverGroup): string {
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  return ready ? `${ready.reason}: ${ready.message}` : 'no controller has looked at it yet';
}
