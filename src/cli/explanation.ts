import type { Assignment, Move } from '../crds/failovergroup.ts';
import { type Fitness, fitnessOf } from '../decide/fitness.ts';
import { diskView } from '../decide/neighbours.ts';
import { type GroupSeen, type Now, nodeSeen } from '../decide/seen.ts';
import { timingOf } from '../decide/timing.ts';
import { type Rehearsal, rehearseDeath, type Said } from './rehearsal.ts';

/** What would happen now if the active node died, and how long it would take. */
export interface Explanation {
  readonly namespace: string;
  readonly group: string;
  readonly node: string;
  readonly policy: 'Lease' | 'Instance';
  readonly heartbeat: boolean;
  /** The other nodes, by the controller's own judgement. */
  readonly others: readonly Fitness[];
  /** Absent where nobody would take the group. */
  readonly takenOver?: {
    readonly by: string;
    readonly epoch: number;
    readonly proof?: string;
    /** One after the other; what goes on beside another term is not among them. */
    readonly terms: readonly Term[];
    /** Their sum; at least that, where a term was never measured. */
    readonly totalMs: number;
    readonly measured: boolean;
    /** The last sign of life may be so much older than the death. */
    readonly renewEveryMs: number;
  };
  readonly held?: { readonly reason: string; readonly message: string };
  /** What the group's condition would say, with the time since the last sign of life. */
  readonly said: readonly Said[];
}

export interface Term {
  readonly name: 'aging' | 'instanceOff' | 'assignment' | 'start';
  readonly what: string;
  /** Absent: no move of this group has measured it yet. */
  readonly ms?: number;
  readonly source?: string;
}

export function explain(seen: GroupSeen, assignment: Assignment, now: Now): Explanation {
  const rehearsal = rehearseDeath(seen, assignment, now);
  const { namespace, name } = seen.group.metadata;
  const head = {
    namespace,
    group: name,
    node: assignment.node,
    policy: seen.group.spec.fencing.policy,
    heartbeat: assignment.basis.heartbeat,
    others: seen.nodes
      .filter((one) => one.name !== assignment.node && seen.group.spec.nodes.includes(one.name))
      .map((one) => fitnessOf(seen, one, now)),
    said: rehearsal.said,
  };
  if (rehearsal.outcome === 'held') {
    const { reason, message } = rehearsal;
    return { ...head, held: { reason, message } };
  }
  const terms = termsOf(seen, assignment, rehearsal, now);
  const holder = nodeSeen(seen, assignment.node)?.node;
  return {
    ...head,
    takenOver: {
      by: rehearsal.to,
      epoch: rehearsal.epoch,
      ...(rehearsal.move.proof ? { proof: rehearsal.move.proof } : {}),
      terms,
      totalMs: terms.reduce((sum, { ms = 0 }) => sum + ms, 0),
      measured: terms.every(({ ms }) => ms !== undefined),
      renewEveryMs: holder ? timingOf(holder.spec.timing).renewEveryMs : 0,
    },
  };
}

/** The decision's own time, and beside it what the last moves took for what lies outside of it. */
function termsOf(
  seen: GroupSeen,
  assignment: Assignment,
  { to, epoch, afterMs }: Extract<Rehearsal, { outcome: 'moved' }>,
  now: Now,
): Term[] {
  const { node, basis } = assignment;
  const { group } = seen;
  const past = [...(group.status?.move ? [group.status.move] : []), ...(group.status?.history ?? [])];
  const beside =
    diskView(seen, assignment, now).state === 'noChannel' ? '' : '; so does its record on the shared disk, meanwhile';
  const own = basis.nodes.find((one) => one.name === node);
  const age = own && own.takeoverAfterSeconds * 1000 === afterMs ? ' (takeoverAfter)' : '';
  const instance =
    group.spec.fencing.policy === 'Instance'
      ? [
          term('instanceOff', `EC2 stops the instance of ${node} and says so`, past, (m) =>
            gap(m, 'fencedMs', 'stoppedMs'),
          ),
        ]
      : [];
  return [
    { name: 'aging', what: `the Lease of ${node} ages${age}${beside}`, ms: afterMs },
    ...instance,
    term('assignment', `${node} is fenced, and ${to} assigned epoch ${epoch}`, past, assignedAfter),
    term(
      'start',
      `the process starts on ${to} and is ready, and every route leads there`,
      fromBest(past, to),
      servedAfter,
    ),
  ];
}

/** Moves to the very node say more than those to another. */
function fromBest(past: readonly Move[], to: string): readonly Move[] {
  return [...past.filter((move) => move.to === to), ...past.filter((move) => move.to !== to)];
}

/** By the first move that has measured it. */
function term(
  name: Term['name'],
  what: string,
  past: readonly Move[],
  measure: (move: Move) => number | undefined,
): Term {
  for (const move of past) {
    const ms = measure(move);
    if (ms !== undefined) return { name, what, ms, source: `as in epoch ${move.epoch ?? '?'}, to ${move.to ?? '?'}` };
  }
  return { name, what };
}

function assignedAfter(move: Move): number | undefined {
  if (move.proof === 'LeaseExpired') return gap(move, 'detectedMs', 'assignedMs');
  return gap(move, 'releasedMs', 'assignedMs') ?? gap(move, 'stoppedMs', 'assignedMs');
}

function servedAfter(move: Move): number | undefined {
  const [ready, routed] = [gap(move, 'assignedMs', 'readyMs'), gap(move, 'assignedMs', 'routedMs')];
  return ready === undefined || routed === undefined ? undefined : Math.max(ready, routed);
}

function gap({ steps }: Move, from: keyof Move['steps'], to: keyof Move['steps']): number | undefined {
  const [a, b] = [steps[from], steps[to]];
  return a === undefined || b === undefined || b < a ? undefined : b - a;
}
