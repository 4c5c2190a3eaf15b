import type { Move } from '../crds/failovergroup.ts';
import type { GroupReason } from '../crds/reasons.ts';
import { hasAged, isInTouch } from './fitness.ts';
import {
  fencedSinceMs,
  type InstanceSeen,
  instanceIdOf,
  isHibernated,
  losesMemory,
  startCommand,
  stopCommand,
} from './instance.ts';
import { optional } from './move.ts';
import { diskView, isPromised, livesOnDisk } from './neighbours.ts';
import { missingProof } from './openepochs.ts';
import type { Deed, GroupPlan } from './plan.ts';
import { outness } from './proof.ts';
import type { Situation } from './situation.ts';

/** How soon to look at the answers of EC2 again; the questions have a pace of their own. */
const LOOK_EVERY_MS = 1_000;

/**
 * `policy: Instance`, and the node has ended the epoch on a disk that did not take the end: no wait is a proof of that
 * under this policy. The node is alive, so its instance is stopped first, and fenced when its Lease has aged.
 */
export function stopUnsettledInstance(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, now } = situation;
  if (!assignment || seen.group.spec.fencing.policy !== 'Instance') return undefined;
  const state = outness(seen, assignment, now);
  if (state.out || !state.unsettled) return undefined;
  const what = `${assignment.node} has ended epoch ${assignment.epoch}, but its disk did not take the end`;
  return stopInstance(situation, 'NodeEnded', what, now.ms);
}

/** `policy: Instance`, and the Lease of the node has aged or was fenced: EC2 must say that its instance is off. */
export function stopLostInstance(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, now, wished } = situation;
  if (!assignment || holder?.lease.kind !== 'present' || seen.group.spec.fencing.policy !== 'Instance')
    return undefined;
  const { lease } = holder;
  const fenced = fencedSinceMs(lease, assignment) !== undefined;
  if (!fenced && (isInTouch(holder, now) || !hasAged(holder, now))) return undefined;
  // As for the fence alone: a node that serves on by the disk is left alone, and so is one of which nobody can tell.
  if (livesOnDisk(seen, assignment, now)) return undefined;
  const unread = diskView(seen, assignment, now).state === 'unknown' && !isPromised(seen.group, assignment);
  if (wished && ((unread && !fenced) || missingProof(seen, assignment, 'InstanceStopped') !== undefined))
    return undefined;
  const what = fenced
    ? `${assignment.node} was lost and fenced`
    : `${assignment.node} has not renewed its Lease for ${now.ms - lease.firstSeenMs} ms`;
  return stopInstance(situation, 'NodeLost', what, lease.firstSeenMs);
}

/**
 * An instance that was stopped for this group is started again when the plan does not need it stopped: the group has
 * nowhere else to go, or is not wished for. One that no assignment names is started without being asked for.
 */
export function withInstanceStarted({ holder, now }: Situation, plan: GroupPlan): GroupPlan {
  if (holder?.node?.status?.stop === undefined) return plan;
  if (plan.deeds.some(({ kind }) => kind === 'StopInstance' || kind === 'StartInstance')) return plan;
  const lookAgainAtMs = Math.min(plan.lookAgainAtMs ?? Number.POSITIVE_INFINITY, now.ms + LOOK_EVERY_MS);
  return { ...plan, deeds: [...plan.deeds, { kind: 'StartInstance', node: holder.name }], lookAgainAtMs };
}

function stopInstance(situation: Situation, reason: GroupReason, what: string, sinceMs: number): GroupPlan | undefined {
  const { seen, assignment, holder, now, wished, deleting, fitness } = situation;
  if (!assignment) return undefined;
  const { node, epoch } = assignment;
  const fenced = fencedSinceMs(holder?.lease, assignment) !== undefined;
  const fence: Deed[] =
    holder && !fenced && holder.lease.kind === 'present' && !isInTouch(holder, now) && hasAged(holder, now)
      ? [{ kind: 'Fence', node, resourceVersion: holder.lease.resourceVersion }]
      : [];
  const somewhere = fitness.some(({ name, fit, inNeed }) => (fit || inNeed) && name !== node);
  const another = seen.nodes.some((one) => one.name !== node && isInTouch(one, now));
  // After one that is deleted nothing starts; but another node must be in touch, or the trouble is more likely ours.
  if (!(wished ? somewhere : deleting && another)) {
    if (wished) return fenced ? nowhereToGo(situation, what) : undefined;
    if (deleting)
      return {
        reason: 'InstanceNotStopped',
        message: `${what}; no other node is in touch, so the trouble may be elsewhere, and its instance is not stopped`,
        deeds: [],
      };
    // Nobody needs it to be proven: a fence keeps it from starting anything, and no server is stopped for nothing.
    const deeds = another ? fence : [];
    return {
      reason: 'Stopping',
      message: `${what}; that it runs nothing is proven when it is back, or when the group is wished for again`,
      deeds,
    };
  }
  const instanceId = instanceIdOf(assignment);
  if (instanceId === undefined || holder?.node === undefined) {
    const message = `${what}; there is no FailoverNode "${node}" any more that names its instance: create it again, with the same instance`;
    return { reason: 'InstanceNotStopped', message, deeds: [] };
  }
  const { reason: state, message } = words(
    what,
    fenced,
    {
      id: instanceId,
      region: seen.instance?.region ?? holder.node.spec.region ?? '',
      ...sameInstance(seen.instance, instanceId),
    },
    now.ms,
  );
  const promise = assignment.state === 'Active' ? promised(situation, reason, what, sinceMs) : {};
  // One that renews no more is fenced first; one that renews is stopped first.
  const stop: Deed[] = fence.length > 0 ? [] : [{ kind: 'StopInstance', node, instanceId, epoch }];
  // Without a Lease there would be nothing to fence, and no word of EC2 would ever be a proof.
  const lease: Deed[] =
    holder.lease.kind === 'missing' ? [{ kind: 'CreateLease', node, incarnation: assignment.incarnation }] : [];
  const deeds = [...lease, ...fence, ...stop];
  return { reason: state, message, ...promise, deeds, lookAgainAtMs: now.ms + LOOK_EVERY_MS };
}

function sameInstance(seen: InstanceSeen | undefined, id: string): Partial<InstanceSeen> {
  return seen?.id === id ? seen : {};
}

/** `Stopping` and the move are stored before anything is done to the node. */
function promised(
  { seen, assignment, now }: Situation,
  reason: GroupReason,
  message: string,
  sinceMs: number,
): Partial<GroupPlan> {
  if (!assignment) return {};
  const detectedMs = now.ms - sinceMs;
  const move: Move = {
    from: assignment.node,
    generation: seen.group.metadata.generation,
    reason,
    message,
    startedAt: now.iso,
    steps: { detectedMs },
  };
  return {
    assignment: { ...assignment, state: 'Stopping' },
    move,
    ...optional('loss', reason === 'NodeLost' ? { epoch: assignment.epoch, sinceMs, detectedMs } : undefined),
  };
}

function nowhereToGo({ seen, fitness, now }: Situation, what: string): GroupPlan {
  if (!seen.nodes.some((node) => isInTouch(node, now))) {
    const message = `${what}, but no node renews its Lease, so the trouble is more likely between them and the API server; its instance is not stopped`;
    return { reason: 'AllNodesOutOfTouch', message, deeds: [] };
  }
  const unfit = fitness.filter(({ fit }) => !fit).map(({ name, reason, message }) => `${name}: ${reason}: ${message}`);
  return {
    reason: 'NoFitNode',
    message: `${what}, and no other node can take the group: ${unfit.join('; ')}`,
    deeds: [],
  };
}

/** What is waited for, and what a person can do about it. */
function words(
  what: string,
  fenced: boolean,
  seen: InstanceSeen,
  nowMs: number,
): { reason: GroupReason; message: string } {
  const { id, read, stop, problem } = seen;
  const byHand = `to do it by hand: ${stopCommand(seen)}`;
  const waiting = (state: string) => ({ reason: 'StoppingInstance' as const, message: `${what}; ${state}; ${byHand}` });
  const held = (state: string) => ({ reason: 'InstanceNotStopped' as const, message: `${what}; ${state}` });
  if (read?.state === 'missing')
    return held(
      `EC2 knows no instance ${id} in ${seen.region}, which proves nothing: correct spec.region of its FailoverNode; if it was terminated, set spec.fencing.policy to Lease for this move`,
    );
  if (read !== undefined && isHibernated(read))
    return held(
      `its instance ${id} was hibernated, so what it ran would go on: start it, and its agent ends everything: ${startCommand(seen)}; or terminate it`,
    );
  if (read?.state === 'stopped' && !losesMemory(read))
    return held(
      `EC2 says that its instance ${id} is stopped, with reason ${read.reason ?? 'unknown'}, which does not prove that what it ran is gone: start it, and its agent ends everything: ${startCommand(seen)}; or terminate it`,
    );
  if (problem !== undefined)
    return held(
      `its instance ${id} is not proven to be off: ${problem}; it is tried again; ${byHand}; where the controller may not stop it itself, set spec.fencing.policy to Lease afterwards`,
    );
  if (stop === undefined) return waiting(`its instance ${id} is being stopped by EC2`);
  if (!fenced) return waiting(`its instance ${id} is being stopped by EC2, and its Lease is fenced when it has aged`);
  const said = read === undefined ? '' : `, which says "${read.state}" ${Math.max(0, nowMs - read.sentMs)} ms ago`;
  return waiting(`waiting for EC2 to say that its instance ${id} is off${said}`);
}
