import type { Assignment, Move, Proof } from '../crds/failovergroup.ts';
import type { GroupReason } from '../crds/reasons.ts';
import { type OpenEpoch, openAfter } from './openepochs.ts';
import type { GroupPlan } from './plan.ts';
import type { Outness } from './proof.ts';
import { type GroupSeen, groupReportOf, type Now, nodeSeen } from './seen.ts';
import type { Situation } from './situation.ts';
import { timingOf } from './timing.ts';

/** The next epoch, for `node`: written before anything is done about it. */
export function assign(situation: Situation, node: string, move: Move, diskId: string | undefined): GroupPlan {
  const { seen, now } = situation;
  const lease = nodeSeen(seen, node)?.lease;
  const epoch = nextEpoch(situation);
  const assignment: Assignment = {
    node,
    incarnation: lease?.kind === 'present' ? lease.incarnation : 0,
    ...(lease?.kind === 'present' && lease.bootId !== '' ? { bootId: lease.bootId } : {}),
    epoch,
    state: 'Active',
    basis: basisOf(situation, diskId, opened(situation, move.proof)),
  };
  const steps = { ...move.steps, assignedMs: sinceStart(seen, move, now) };
  return {
    reason: 'Starting',
    message: `${node} is assigned epoch ${epoch}: ${move.message}`,
    assignment,
    move: { ...move, epoch, steps },
    ...optional('diskId', diskId),
    deeds: [],
  };
}

/** The node that has the group is told to end it; `to` is where the group is to go, where that is known. */
export function stop(situation: Situation, reason: GroupReason, message: string, to?: string): GroupPlan {
  const { seen, assignment, now } = situation;
  if (!assignment) return { reason, message, deeds: [] };
  const move: Move = {
    from: assignment.node,
    ...optional('to', to),
    generation: seen.group.metadata.generation,
    reason,
    message,
    startedAt: now.iso,
    steps: { detectedMs: 0 },
  };
  return { reason, message, assignment: { ...assignment, state: 'Stopping' }, move, deeds: [] };
}

/** The move that the stored one continues, or the one that the proof itself begins. */
export function moveUnderWay({ seen, assignment, now }: Situation, proven: Extract<Outness, { out: true }>): Move {
  const stored = seen.group.status?.move;
  if (stored && stored.epoch === undefined) return stored.reason === 'Stopping' ? restarted(now, assignment) : stored;
  if (assignment?.state === 'Stopping') return restarted(now, assignment);
  const reason: GroupReason = {
    Released: 'NodeEnded',
    Rejoined: 'NodeRejoined',
    LeaseExpired: 'NodeLost',
    InstanceStopped: 'NodeLost',
  }[proven.proof] as GroupReason;
  const loss = seen.loss?.epoch === assignment?.epoch ? seen.loss : undefined;
  return {
    ...optional('from', assignment?.node),
    reason,
    message: proven.message,
    startedAt: now.iso,
    steps: { detectedMs: loss?.detectedMs ?? 0 },
  };
}

/** The group was stopped on purpose and is wished for again. */
function restarted(now: Now, assignment: Assignment | undefined): Move {
  return {
    ...optional('from', assignment?.node),
    reason: 'Startup',
    message: 'started again',
    startedAt: now.iso,
    steps: { detectedMs: 0 },
  };
}

export function provenAt({ seen, now }: Situation, move: Move, proven: Extract<Outness, { out: true }>): Move['steps'] {
  const atMs = sinceStart(seen, move, now);
  if (proven.proof === 'InstanceStopped') return { ...move.steps, stoppedMs: atMs };
  return proven.proof === 'LeaseExpired' ? { ...move.steps, fencedMs: atMs } : { ...move.steps, releasedMs: atMs };
}

/** Milliseconds since the first sign of this move. */
function sinceStart(seen: GroupSeen, move: Move, now: Now): number {
  const stored = seen.group.status?.move;
  if (stored?.startedAt === move.startedAt && stored.epoch === undefined && seen.moveStartMs !== undefined)
    return now.ms - seen.moveStartMs;
  return move.steps.detectedMs ?? 0;
}

/** Where the group goes: where it was asked to, else the first fit node that it does not flee from. */
export function destination({ fitness, assignment }: Situation, move: Move): string | undefined {
  const fit = fitness.filter((node) => node.fit).map((node) => node.name);
  const inNeed = fitness.filter((node) => node.inNeed).map((node) => node.name);
  if (move.to !== undefined && [...fit, ...inNeed].includes(move.to)) return move.to;
  if (move.to !== undefined && move.to === move.from) return undefined; // DiskMonitor with onFailure: Stop
  if (move.reason === 'EpochClaimed' && fit.includes(assignment?.node ?? '')) return assignment?.node;
  const flees = move.reason === 'ProcessFailed' || move.reason === 'NodeUnfit' || move.reason === 'DiskFailed';
  return fit.find((name) => !flees || name !== assignment?.node) ?? fit[0] ?? inNeed[0];
}

/**
 * One above everything that the assignment, the reports, the disk as the nodes have read it, and the routes name. Where
 * the status was lost, above the version of the group as well: each epoch was a write of it, so none was ever above.
 */
export function nextEpoch({ seen, name, assignment }: Situation): number {
  const named = seen.nodes.flatMap((node) => {
    const report = groupReportOf(node, name);
    return report ? [report.ended, report.epoch, report.highestRead] : [];
  });
  const routed = seen.vips.map((vip) => vip.status?.target?.epoch ?? 0);
  const moves = [seen.group.status?.move, ...(seen.group.status?.history ?? [])].map((move) => move?.epoch ?? 0);
  const lost = Number(/^\d+$/.exec(seen.group.status?.rollCall ?? '')?.[0] ?? 0);
  return 1 + Math.max(lost, assignment?.epoch ?? 0, ...named, ...moves, ...routed);
}

/** What the proofs of an epoch rest on, as it is now. */
export function basisOf(
  { seen }: Situation,
  diskId: string | undefined,
  earlier: OpenEpoch[] = [],
): Assignment['basis'] {
  const { spec } = seen.group;
  const nodes = spec.nodes.flatMap((name) => {
    const node = nodeSeen(seen, name)?.node;
    if (!node) return [];
    return [
      {
        name,
        instanceId: node.spec.instanceId,
        takeoverAfterSeconds: timingOf(node.spec.timing).takeoverAfterMs / 1000,
      },
    ];
  });
  const { mountPath, heartbeat } = spec.sharedDisk;
  return { mountPath, ...optional('diskId', diskId), heartbeat, nodes, earlier };
}

/** What stays open beside the next epoch. Without a proof there was no epoch before. */
function opened({ seen, assignment }: Situation, proof: Proof | undefined): OpenEpoch[] {
  return assignment && proof ? openAfter(seen, assignment, proof) : [];
}

/** `{key: value}`, or nothing: an optional property must not be there and undefined. */
export function optional<Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } {
  return value === undefined ? {} : ({ [key]: value } as { [K in Key]?: Value });
}
