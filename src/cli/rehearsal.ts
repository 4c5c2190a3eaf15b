import type { Assignment, FailoverGroup, Move } from '../crds/failovergroup.ts';
import { planFailover } from '../decide/failover.ts';
import { isInTouch } from '../decide/fitness.ts';
import { groupStatus } from '../decide/groupstatus.ts';
import type { Deed, GroupPlan } from '../decide/plan.ts';
import { type GroupSeen, type LeaseSeen, type NodeSeen, type Now, nodeSeen } from '../decide/seen.ts';
import { timingOf } from '../decide/timing.ts';

/** What the controller would do, and when, by its own decision; times are from the last sign of life of the node. */
export type Rehearsal = { readonly said: readonly Said[] } & (
  | {
      readonly outcome: 'moved';
      readonly to: string;
      readonly epoch: number;
      readonly afterMs: number;
      readonly move: Move;
    }
  /** It comes to this, and nothing is done any more without a person. */
  | { readonly outcome: 'held'; readonly reason: string; readonly message: string }
);

export interface Said {
  readonly atMs: number;
  readonly reason: string;
  readonly message: string;
}

/**
 * Lets the node that has the group fall silent, as one that has lost its power does, and plans, stores and acts as the
 * controller does until another node is assigned, or nothing changes any more. Everybody else stays as they are seen now.
 * What takes time outside the decision (writes, EC2, the start of the process) takes none here.
 */
export function rehearseDeath(seen: GroupSeen, assignment: Assignment, now: Now): Rehearsal {
  const holder = nodeSeen(seen, assignment.node);
  const lastSignMs = lastSignOf(holder) ?? now.ms;
  const wallMs = Date.parse(now.iso) - now.ms + lastSignMs;
  const said: Said[] = [];
  let stage: Stage = { group: seen.group, lease: holder?.lease, instance: seen.instance, loss: seen.loss };
  let atMs = 0;
  for (let pass = 0; pass < PASSES_AT_MOST; pass += 1) {
    const then: Now = { ms: lastSignMs + atMs, iso: new Date(wallMs + atMs).toISOString() };
    const imagined = imagine(seen, assignment, stage, { then, now, silentMs: atMs });
    const plan = planFailover(imagined, then);
    if (plan.reason !== said.at(-1)?.reason) said.push({ atMs, reason: plan.reason, message: plan.message });
    const next = carriedOut(stage, imagined, plan, then);
    const got = next.group.status?.assignment;
    if (got && got.epoch > assignment.epoch && next.group.status?.move)
      return { outcome: 'moved', to: got.node, epoch: got.epoch, afterMs: atMs, move: next.group.status.move, said };
    const refusal = plan.deeds.some(({ kind }) => kind === 'StopInstance') ? stopRefusal(seen.group) : undefined;
    if (refusal) return { outcome: 'held', ...refusal, said };
    const changed = plan.assignment !== undefined || plan.deeds.length > 0;
    stage = next;
    if (changed) continue;
    const later = times(assignment, holder, plan, lastSignMs).filter((ms) => ms > atMs);
    if (later.length === 0) return { outcome: 'held', reason: plan.reason, message: plan.message, said };
    atMs = Math.min(...later);
  }
  const last = said.at(-1);
  return { outcome: 'held', reason: last?.reason ?? 'Pending', message: last?.message ?? '', said };
}

/** A decision goes through a handful. */
const PASSES_AT_MOST = 100;

interface Stage {
  readonly group: FailoverGroup;
  /** Of the node that has died. */
  readonly lease: LeaseSeen | undefined;
  readonly instance: GroupSeen['instance'];
  readonly loss: GroupSeen['loss'];
  /** When its move began, by the boot clock. */
  readonly moveStartMs?: number;
}

function lastSignOf(node: NodeSeen | undefined): number | undefined {
  return node?.lease.kind === 'present' ? (node.lease.changedMs ?? node.lease.firstSeenMs) : undefined;
}

/** What the controller would see then. */
function imagine(
  seen: GroupSeen,
  { node: dead, basis }: Assignment,
  stage: Stage,
  { then, now, silentMs }: { then: Now; now: Now; silentMs: number },
): GroupSeen {
  const own = basis.nodes.find(({ name }) => name === dead);
  const fileAged = silentMs >= (own?.takeoverAfterSeconds ?? 0) * 1000;
  const nodes = seen.nodes.map((one): NodeSeen => {
    if (one.name === dead) return { ...one, lease: stage.lease ?? one.lease };
    if (one.lease.kind !== 'present' || !isInTouch(one, now)) return one;
    const lease = { ...one.lease, firstSeenMs: then.ms, changedMs: then.ms };
    return { ...one, lease, node: fileAged ? missing(one.node, seen.group.metadata.name, dead) : one.node };
  });
  const { group, instance, loss, moveStartMs } = stage;
  return { ...seen, group, nodes, instance, loss, moveStartMs: moveStartMs ?? seen.moveStartMs };
}

/** Who saw the dead node live on the shared disk does not see it any more. */
function missing(node: NodeSeen['node'], group: string, dead: string): NodeSeen['node'] {
  const report = node?.status?.report;
  if (!node?.status || !report) return node;
  const groups = report.groups.map((one) => ({
    ...one,
    neighbours: one.neighbours.map((it) =>
      one.name === group && it.name === dead && it.state === 'seen' ? { ...it, state: 'notSeen' as const } : it,
    ),
  }));
  return { ...node, status: { ...node.status, report: { ...report, groups } } };
}

/** The plan stored and its deeds done. */
function carriedOut(stage: Stage, seen: GroupSeen, plan: GroupPlan, then: Now): Stage {
  const status = groupStatus(seen, plan, then);
  const began = status.move !== undefined && status.move.startedAt !== stage.group.status?.move?.startedAt;
  const moveStartMs = began ? then.ms - (status.move?.steps.detectedMs ?? 0) : stage.moveStartMs;
  const next: Stage = {
    ...stage,
    group: { ...stage.group, status },
    loss: plan.loss ?? stage.loss,
    ...(moveStartMs === undefined ? {} : { moveStartMs }),
  };
  return plan.deeds.reduce((before, deed) => afterDeed(before, deed, then), next);
}

function afterDeed(stage: Stage, deed: Deed, then: Now): Stage {
  const { lease } = stage;
  switch (deed.kind) {
    case 'Fence':
      if (lease?.kind !== 'present') return stage;
      return {
        ...stage,
        lease: { ...lease, holder: '', incarnation: lease.incarnation + 1, firstSeenMs: then.ms, changedMs: then.ms },
      };
    case 'StopInstance': {
      // As EC2 says it of an instance that was stopped; when, is not known here.
      const read = { state: 'stopped', reason: 'Client.UserInitiatedShutdown', sentMs: then.ms } as const;
      const stop = { answeredMs: then.ms, found: 'stopped' } as const;
      return { ...stage, instance: { region: '', ...stage.instance, id: deed.instanceId, stop, read } };
    }
    case 'RemoveMoveWish':
      return { ...stage, group: { ...stage.group, metadata: { ...stage.group.metadata, annotations: {} } } };
    case 'AddFinalizer':
    case 'RemoveFinalizer':
    case 'StartInstance':
    case 'CreateLease':
      return stage;
  }
}

/** What EC2 has said by a dry run. */
function stopRefusal({ status }: FailoverGroup): { reason: string; message: string } | undefined {
  const ready = status?.conditions.find(({ type }) => type === 'FencingReady');
  if (ready?.status !== 'False') return undefined;
  return { reason: ready.reason, message: ready.message };
}

/** When the next decision may come out otherwise, from the last sign of life on. */
function times(
  { node, basis }: Assignment,
  holder: NodeSeen | undefined,
  plan: GroupPlan,
  lastSignMs: number,
): number[] {
  const own = basis.nodes.find(({ name }) => name === node);
  return [
    ...(plan.lookAgainAtMs === undefined || !Number.isFinite(plan.lookAgainAtMs)
      ? []
      : [plan.lookAgainAtMs - lastSignMs]),
    ...(holder?.node ? [timingOf(holder.node.spec.timing).fenceAfterMs + 1] : []),
    ...(holder?.lease.kind === 'present' ? [holder.lease.firstSeenMs + holder.lease.takeoverAfterMs - lastSignMs] : []),
    ...(own ? [own.takeoverAfterSeconds * 1000] : []),
  ];
}
