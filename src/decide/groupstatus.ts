import type { ConditionWish } from '../crds/conditions.ts';
import type { FailoverGroupStatus, Move } from '../crds/failovergroup.ts';
import type { FitnessReason, GroupReason } from '../crds/reasons.ts';
import { mergeConditions } from './conditions.ts';
import { fencingReady } from './fencingready.ts';
import { type Fitness, fitnessOf, hasAged, isSilent } from './fitness.ts';
import { optional } from './move.ts';
import { diskView } from './neighbours.ts';
import type { GroupPlan } from './plan.ts';
import { type GroupSeen, groupReportOf, type Now, nodeSeen } from './seen.ts';
import { leadsTo } from './vip.ts';

/** Moves that status remembers beside the last one. */
const HISTORY = 10;

/** The whole status of a group, from what was seen and what was decided. Nothing else computes it. */
export function groupStatus(seen: GroupSeen, plan: GroupPlan, now: Now): FailoverGroupStatus {
  const stored = seen.group.status;
  const assignment = plan.assignment ?? stored?.assignment;
  const holder = assignment && nodeSeen(seen, assignment.node);
  const report = groupReportOf(holder, seen.group.metadata.name);
  const said = assignment !== undefined && report?.epoch === assignment.epoch && report.state === 'Running';
  const lives = assignment !== undefined && diskView(seen, assignment, now).state === 'seen';
  // A node whose Lease has aged has ended what it ran, whatever it said before; but for one that lives on the disk.
  const running = said && !(holder && hasAged(holder, now) && !lives);
  const fitness = seen.group.spec.nodes.map((name) =>
    fitnessOf(
      seen,
      nodeSeen(seen, name) ?? { name, node: undefined, lease: { kind: 'unknown' }, twin: undefined },
      now,
    ),
  );
  const move = movedOn(seen, plan, now);
  const diskId = stored?.diskId ?? plan.diskId;
  const { generation } = seen.group.metadata;
  const silent = holder !== undefined && isSilent(holder, now) && !lives;
  const service = !running || !report?.ready || plan.reason === 'RoutesPending' ? 'False' : silent ? 'Unknown' : 'True';
  const stalled = isStalled(plan, fitness, assignment?.node);
  const wishes = conditionsOf(plan, fitness, running ? assignment?.node : undefined, service, stalled);
  wishes.push(...fencingReady(seen));
  return {
    observedGeneration: generation,
    ...(running ? { activeNode: assignment?.node } : {}),
    ...(diskId === undefined ? {} : { diskId }),
    ...(assignment === undefined ? beforeAssigned(stored, plan) : { assignment }),
    ...(move === undefined ? {} : { move: { ...move, message: move.message.slice(0, 1024) } }),
    history: historyOf(seen, move),
    nodes: fitness.map(({ name, fit, reason, message }) => ({ name, fit, reason, message: message.slice(0, 1024) })),
    conditions: mergeConditions(stored?.conditions ?? [], wishes, generation, now.iso),
  };
}

function beforeAssigned(stored: FailoverGroupStatus | undefined, plan: GroupPlan) {
  const rollCall = plan.rollCall ?? stored?.rollCall;
  const neverAssigned = plan.neverAssigned ?? stored?.neverAssigned;
  return { ...optional('neverAssigned', neverAssigned), ...optional('rollCall', rollCall) };
}

/** Whether the move in `status` is over: served again, every step measured. */
export function isComplete(move: Move | undefined): boolean {
  return move?.steps.readyMs !== undefined && move.steps.routedMs !== undefined;
}

/** The present move with the steps that are reached now. */
function movedOn(seen: GroupSeen, plan: GroupPlan, now: Now): Move | undefined {
  if (plan.move) return plan.move;
  const stored = seen.group.status?.move;
  const assignment = seen.group.status?.assignment;
  if (!stored || stored.epoch === undefined || stored.epoch !== assignment?.epoch || seen.moveStartMs === undefined)
    return stored;
  const atMs = now.ms - seen.moveStartMs;
  const report = groupReportOf(nodeSeen(seen, assignment.node), seen.group.metadata.name);
  const here = report?.epoch === assignment.epoch ? report : undefined;
  const steps = { ...stored.steps };
  if (here?.state === 'Running') steps.startedMs ??= atMs;
  if (here?.state === 'Running' && here.ready) steps.readyMs ??= atMs;
  if (seen.vips.every((vip) => leadsTo(vip, assignment.epoch))) steps.routedMs ??= atMs;
  return { ...stored, steps };
}

function historyOf(seen: GroupSeen, move: Move | undefined): Move[] {
  const stored = seen.group.status;
  if (!stored?.move || !move || stored.move.startedAt === move.startedAt) return stored?.history ?? [];
  // A move that never got as far as an epoch was replaced, not made.
  return stored.move.epoch === undefined ? stored.history : [stored.move, ...stored.history].slice(0, HISTORY);
}

/** What each reason of a plan means for `Ready`, and whether the controller is still at work on it. */
const READY: Readonly<Record<GroupReason, { readonly ready: ConditionWish['status']; readonly working: boolean }>> = {
  Serving: { ready: 'True', working: false },
  Stopped: { ready: 'True', working: false },
  Pending: { ready: 'Unknown', working: true },
  NodeOutOfTouch: { ready: 'Unknown', working: true },
  AllNodesOutOfTouch: { ready: 'Unknown', working: true },
  SeenOnDisk: { ready: 'True', working: false },
  DiskUnread: { ready: 'Unknown', working: true },
  ProofMissing: { ready: 'False', working: true },
  EpochClaimed: { ready: 'False', working: true },
  StatusLost: { ready: 'Unknown', working: true },
  Adopted: { ready: 'Unknown', working: true },
  Starting: { ready: 'False', working: true },
  RoutesPending: { ready: 'False', working: true },
  Stopping: { ready: 'False', working: true },
  WaitingToSettle: { ready: 'False', working: true },
  WaitingForLease: { ready: 'False', working: true },
  StoppingInstance: { ready: 'False', working: true },
  InstanceNotStopped: { ready: 'False', working: true },
  ProcessStuck: { ready: 'False', working: true },
  NodeLost: { ready: 'False', working: true },
  NodeRejoined: { ready: 'False', working: true },
  NodeEnded: { ready: 'False', working: true },
  NodeCordoned: { ready: 'False', working: true },
  NodeDeleted: { ready: 'False', working: true },
  NodeUnfit: { ready: 'False', working: true },
  NodeRemoved: { ready: 'False', working: true },
  Requested: { ready: 'False', working: true },
  Startup: { ready: 'False', working: true },
  Fenced: { ready: 'False', working: true },
  Deleting: { ready: 'False', working: true },
  NoFitNode: { ready: 'False', working: true },
  ProcessFailed: { ready: 'False', working: true },
  DiskFailed: { ready: 'False', working: true },
  DiskFailedEverywhere: { ready: 'False', working: true },
  MoveRefused: { ready: 'False', working: true },
  ProcessRestarted: { ready: 'False', working: true },
  Redundant: { ready: 'True', working: false },
  NotRedundant: { ready: 'True', working: false },
};

/** Waiting cannot mend these: somebody has to change the spec, the host or the cluster. */
const PERSON_NEEDED: ReadonlySet<string> = new Set<FitnessReason>([
  'NodeMissing',
  'InstanceTwice',
  'InstanceMismatch',
  'OtherDisk',
  'CommandNotAllowed',
  'CommandMissing',
  'UserNotAllowed',
  'UserUnknown',
]);

/** Whether nothing that may come by itself would start the group. */
function isStalled({ reason, assignment }: GroupPlan, fitness: readonly Fitness[], holder: string | undefined) {
  const mayCome = fitness.filter(({ fit, reason }) => fit || !PERSON_NEEDED.has(reason));
  if (reason === 'NoFitNode') return mayCome.length === 0;
  // Held, not on its way to another: where it failed it is started again only under a changed spec.
  if (reason === 'ProcessFailed' && assignment === undefined) return mayCome.every(({ name }) => name === holder);
  return false;
}

function conditionsOf(
  plan: GroupPlan,
  fitness: readonly Fitness[],
  active: string | undefined,
  service: ConditionWish['status'],
  stalled: boolean,
): ConditionWish[] {
  const { reason, message } = plan;
  const { ready: status, working } = READY[reason];
  const wishes: ConditionWish[] = [{ type: 'Ready', status, reason, message }];
  wishes.push({ type: 'Available', status: service, reason, message });
  const others = fitness.filter(({ name, fit }) => fit && name !== active);
  wishes.push(
    others.length > 0
      ? {
          type: 'Degraded',
          status: 'False',
          reason: 'Redundant',
          message: `${others.map(({ name }) => name).join(', ')} could take the group`,
        }
      : { type: 'Degraded', status: 'True', reason: 'NotRedundant', message: notRedundant(fitness, active) },
  );
  if (stalled) wishes.push({ type: 'Stalled', status: 'True', reason, message });
  else if (working) wishes.push({ type: 'Reconciling', status: 'True', reason, message });
  return wishes;
}

function notRedundant(fitness: readonly Fitness[], active: string | undefined): string {
  const others = fitness.filter(({ name }) => name !== active);
  if (others.length === 0) return 'no other node could take the group: spec.nodes names none';
  return `no other node could take the group: ${others.map(({ name, reason, message }) => `${name}: ${reason}: ${message}`).join('; ')}`;
}
