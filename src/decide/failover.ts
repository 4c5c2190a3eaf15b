import { MOVE_TO_ANNOTATION, type Move, RELEASE_FINALIZER } from '../crds/failovergroup.ts';
import type { GroupReport } from '../crds/failovernode.ts';
import type { GroupReason } from '../crds/reasons.ts';
import { followChangedDisk } from './changeddisk.ts';
import { leaveClaimedEpoch } from './claimedepoch.ts';
import { hasAged, isInTouch } from './fitness.ts';
import { callTheRoll } from './loststatus.ts';
import { assign, destination, moveUnderWay, optional, provenAt, stop } from './move.ts';
import { isUnread, livesOnDisk } from './neighbours.ts';
import { missingProof } from './openepochs.ts';
import { holdWhileOutOfTouch, waitForRelease, whenOutOfTouch } from './outoftouch.ts';
import type { Deed, GroupPlan } from './plan.ts';
import { outness } from './proof.ts';
import { type GroupSeen, groupReportOf, type Now, nodeSeen } from './seen.ts';
import { fateOf } from './sharedfate.ts';
import { type Situation, situationOf } from './situation.ts';
import { stopLostInstance, stopUnsettledInstance, withInstanceStarted } from './stopinstance.ts';
import { leadsTo } from './vip.ts';

/** How long the first start waits for nodes that come earlier in the order, when they have not shown up yet. */
export const STARTUP_PATIENCE_MS = 5_000;

type Check = (situation: Situation) => GroupPlan | undefined;

/** The decision, read from the top: the first check that answers is the plan. */
const CHECKS: readonly Check[] = [
  keepUntilProvenOut,
  callTheRoll,
  letGo,
  stayStopped,
  startFirst,
  assignNext,
  stopUnsettledInstance,
  waitToSettle,
  stopAsWished,
  stopLostInstance,
  fenceLostNode,
  moveAsRequested,
  leaveCordonedNode,
  leaveFailedProcess,
  leaveClaimedEpoch,
  followChangedDisk,
  leaveNodeThatCannotStart,
  leaveFailedDisk,
  waitForRelease,
  holdWhileOutOfTouch,
  waitForStart,
  waitForRoutes,
  serve,
];

export function planFailover(seen: GroupSeen, now: Now): GroupPlan {
  const situation = situationOf(seen, now);
  for (const check of CHECKS) {
    const plan = check(situation);
    if (plan) return withInstanceStarted(situation, withFulfilledWish(situation, plan));
  }
  return { reason: 'Pending', message: 'nothing is known yet', deeds: [] };
}

// --- the checks, in order ---------------------------------------------------------------------------------------

/** Before anything may run, the group must be kept from vanishing while it does. */
function keepUntilProvenOut({ seen, deleting }: Situation): GroupPlan | undefined {
  if (deleting || seen.group.metadata.finalizers.includes(RELEASE_FINALIZER)) return undefined;
  const plan = { reason: 'Pending', message: 'the group has just been seen' } as const;
  // That it is new is stored before anything else is: from then on an absent status is a lost one.
  if (seen.group.status === undefined) return { ...plan, neverAssigned: true, deeds: [] };
  return { ...plan, deeds: [{ kind: 'AddFinalizer' }] };
}

/** Being deleted, and nobody has it any more. */
function letGo({ seen, assignment, deleting, now }: Situation): GroupPlan | undefined {
  if (!deleting) return undefined;
  if (assignment && !outness(seen, assignment, now).out) return undefined;
  return { reason: 'Deleting', message: 'no node has the group any more', deeds: [{ kind: 'RemoveFinalizer' }] };
}

function stayStopped({ seen, assignment, wished, now }: Situation): GroupPlan | undefined {
  if (wished || (assignment && !outness(seen, assignment, now).out)) return undefined;
  return { reason: 'Stopped', message: 'stopped, as spec.running asks', deeds: [] };
}

function startFirst(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, fitness, now } = situation;
  if (assignment) return undefined;
  const chosen = fitness.find(({ fit }) => fit);
  const patientUntilMs = (seen.unassignedSinceMs ?? now.ms) + STARTUP_PATIENCE_MS;
  if (!chosen || (chosen !== fitness[0] && now.ms < patientUntilMs)) {
    const waiting = now.ms < patientUntilMs ? { lookAgainAtMs: patientUntilMs } : {};
    return { ...noFitNode(situation, 'Cannot start the group'), ...waiting };
  }
  const diskId = groupReportOf(nodeSeen(seen, chosen.name), situation.name)?.diskId;
  const move: Move = {
    to: chosen.name,
    generation: seen.group.metadata.generation,
    reason: 'Startup',
    message: `first start, on ${chosen.name}`,
    startedAt: now.iso,
    steps: { detectedMs: 0 },
  };
  return assign(situation, chosen.name, move, diskId);
}

/** The old node is proven out: the next epoch goes to the best node there is. */
function assignNext(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, now } = situation;
  if (!assignment) return undefined;
  const proven = outness(seen, assignment, now);
  if (!proven.out) return undefined;
  const move = moveUnderWay(situation, proven);
  const missing = missingProof(seen, assignment, proven.proof);
  if (missing !== undefined)
    return { reason: 'ProofMissing', message: `Cannot start the group: ${missing}`, deeds: [], move };
  const chosen = destination(situation, move);
  if (!chosen) return { ...noFitNode(situation, `Cannot start the group after ${proven.message}`), move };
  const diskId =
    seen.group.status?.diskId ??
    assignment.basis.diskId ??
    groupReportOf(nodeSeen(seen, chosen), situation.name)?.diskId;
  return assign(
    situation,
    chosen,
    { ...move, to: chosen, proof: proven.proof, steps: provenAt(situation, move, proven) },
    diskId,
  );
}

function waitToSettle({ seen, assignment, now }: Situation): GroupPlan | undefined {
  if (!assignment) return undefined;
  const proven = outness(seen, assignment, now);
  if (proven.out || !proven.unsettled) return undefined;
  const waiting =
    proven.acceptedAtMs === undefined
      ? 'under fencing.policy Instance a reboot of it settles that, or its instance is stopped as soon as another node can take the group'
      : 'waiting until what it wrote can no longer land';
  return {
    reason: 'WaitingToSettle',
    message: `${assignment.node} has ended the process, but its disk did not take the end; ${waiting}`,
    deeds: [],
    ...optional('lookAgainAtMs', proven.acceptedAtMs),
  };
}

function stopAsWished(situation: Situation): GroupPlan | undefined {
  const { assignment, wished, deleting } = situation;
  if (wished || assignment?.state !== 'Active') return undefined;
  return stop(situation, deleting ? 'Deleting' : 'Stopping', `${assignment.node} is told to stop the group`);
}

/**
 * The holder's Lease aged. Fencing it is the proof, but only when there is somewhere to go: when no other node is seen
 * alive either, the trouble is more likely ours. With a second channel one that has read the disk must miss it there.
 */
function fenceLostNode(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, now, wished, deleting, fitness } = situation;
  if (!assignment || !holder) return undefined;
  const { lease } = holder;
  if (lease.kind === 'missing') {
    const message = `the Lease of ${assignment.node} is missing; it is made anew, held by nobody, and must age`;
    const deeds: Deed[] = [{ kind: 'CreateLease', node: assignment.node, incarnation: assignment.incarnation }];
    return { reason: 'WaitingForLease', message, deeds };
  }
  if (lease.kind === 'unknown' || isInTouch(holder, now)) return undefined;
  if (!hasAged(holder, now) || livesOnDisk(seen, assignment, now)) return undefined;
  const elsewhere = fitness.some(({ name, fit, inNeed }) => (fit || inNeed) && name !== assignment.node);
  // One that is to end needs the proof as well, and then another node in touch is enough: the trouble is not ours. After
  // one that is deleted nothing starts, so nothing can be moved by a mistake.
  const wanted = wished ? elsewhere : deleting || seen.nodes.some((node) => isInTouch(node, now));
  if (!wanted) return hold(situation, `Cannot move the group from ${assignment.node}, whose Lease aged`);
  if (wished) {
    const missing = missingProof(seen, assignment, 'LeaseExpired');
    if (missing !== undefined)
      return {
        reason: 'ProofMissing',
        message: `Cannot move the group from ${assignment.node}: ${missing}`,
        deeds: [],
      };
  }
  if (isUnread(seen, assignment, now)) return undefined;
  return {
    reason: 'NodeLost',
    message: `${assignment.node} has not renewed its Lease for ${now.ms - lease.firstSeenMs} ms; it is fenced`,
    deeds: [{ kind: 'Fence', node: assignment.node, resourceVersion: lease.resourceVersion }],
    loss: { epoch: assignment.epoch, sinceMs: lease.firstSeenMs, detectedMs: now.ms - lease.firstSeenMs },
  };
}

function moveAsRequested(situation: Situation): GroupPlan | undefined {
  const { assignment, fitness } = situation;
  const to = wishOf(situation);
  if (to === undefined || assignment?.state !== 'Active' || to === assignment.node) return undefined;
  const target = fitness.find(({ name }) => name === to);
  if (!target?.fit && !target?.inNeed) {
    const why = target
      ? `${target.reason}: ${target.message}`
      : `spec.nodes does not name it; name one of ${nodeList(situation)}`;
    const rest = planWithoutWish(situation);
    return { ...rest, refused: `Cannot move to "${to}": ${why}`, deeds: [...rest.deeds, { kind: 'RemoveMoveWish' }] };
  }
  const plan = stop(situation, 'Requested', `moving from ${assignment.node} to ${to}, as requested`, to);
  return { ...plan, deeds: [{ kind: 'RemoveMoveWish' }] };
}

function leaveCordonedNode(situation: Situation): GroupPlan | undefined {
  const { seen, assignment, holder, fitness } = situation;
  if (assignment?.state !== 'Active') return undefined;
  if (!fitness.some(({ name, fit }) => fit && name !== assignment.node)) return undefined;
  const leave = (reason: GroupReason, what: string) =>
    stop(situation, reason, `moving from ${assignment.node}, which ${what}`);
  if (holder?.node === undefined || holder.node.metadata.deletionTimestamp !== undefined)
    return leave('NodeDeleted', 'is deleted');
  if (!holder.node.spec.schedulable) return leave('NodeCordoned', 'is cordoned');
  if (!seen.group.spec.nodes.includes(assignment.node))
    return leave('NodeRemoved', 'spec.nodes does not name any more');
  return undefined;
}

function leaveFailedProcess(situation: Situation): GroupPlan | undefined {
  const { assignment, holder, name, fitness } = situation;
  if (assignment?.state !== 'Active') return undefined;
  const report = groupReportOf(holder, name);
  if (report?.epoch !== assignment.epoch || report.state !== 'Failed') return undefined;
  const what = `the process fails on ${assignment.node}: ${report.lastExit ?? report.message ?? 'no reason known'}`;
  if (fitness.some((other) => other.fit && other.name !== assignment.node))
    return stop(situation, 'ProcessFailed', what);
  // A spec that has just been changed is a new try, also where there is nowhere else to go.
  const { status, metadata } = situation.seen.group;
  if (status?.observedGeneration !== undefined && status.observedGeneration !== metadata.generation) {
    return stop(situation, 'Startup', 'started again, because the spec was changed');
  }
  return {
    reason: 'ProcessFailed',
    message: `${what}; no other node can take the group: ${listUnfit(situation)}`,
    deeds: [],
  };
}

/** Assigned, not running, and the agent says that it cannot. */
function leaveNodeThatCannotStart(situation: Situation): GroupPlan | undefined {
  const { assignment, holder, name, fitness, now } = situation;
  if (assignment?.state !== 'Active' || !holder || !isInTouch(holder, now)) return undefined;
  const report = groupReportOf(holder, name);
  if (!report || report.fit || report.state === 'Running' || report.state === 'Starting') return undefined;
  if (holder.node?.status?.report?.incarnation !== assignment.incarnation) return undefined;
  const what = `${assignment.node} cannot run the group: ${report.message ?? report.reason ?? 'no reason known'}`;
  if (fitness.some((other) => other.fit && other.name !== assignment.node)) return stop(situation, 'NodeUnfit', what);
  return { reason: 'NoFitNode', message: `${what}; no other node can take it: ${listUnfit(situation)}`, deeds: [] };
}

function leaveFailedDisk(situation: Situation): GroupPlan | undefined {
  const { seen, assignment } = situation;
  if (assignment?.state !== 'Active') return undefined;
  for (const monitor of seen.monitors) {
    const { onFailure } = monitor.spec;
    const disk = diskReportOf(situation, assignment.node, monitor.metadata.name);
    if (onFailure === 'Report' || disk?.state !== 'Failed') continue;
    const what = `DiskMonitor "${monitor.metadata.name}" fails on ${assignment.node}: ${disk.message ?? ''}`;
    if (onFailure === 'Stop') return stop(situation, 'DiskFailed', what, assignment.node);
    const fate = fateOf(situation, monitor);
    switch (fate.kind) {
      case 'leave':
        return stop(situation, 'DiskFailed', what, fate.to);
      case 'wait':
        return { reason: 'DiskFailed', message: `${what}; ${fate.message}`, deeds: [], ...whenKnown(fate) };
      case 'shared': {
        const message = `${what}; it fails on every node, so nothing is moved: ${fate.message}; look at the file system itself`;
        return { reason: 'DiskFailedEverywhere', message, deeds: [], ...whenKnown(fate) };
      }
      case 'nowhere': {
        const message = `${what}; no other node can take the group: ${listUnfit(situation)}`;
        return { reason: 'DiskFailed', message, deeds: [] };
      }
    }
  }
  return undefined;
}

function whenKnown({ lookAgainAtMs }: { readonly lookAgainAtMs?: number }): { lookAgainAtMs?: number } {
  return lookAgainAtMs === undefined ? {} : { lookAgainAtMs };
}

function waitForStart({ assignment, holder, name }: Situation): GroupPlan | undefined {
  if (!assignment) return undefined;
  const report = groupReportOf(holder, name);
  if (report?.epoch === assignment.epoch && report.state === 'Running' && report.ready) return undefined;
  const here = report?.epoch === assignment.epoch ? report : undefined;
  const detail = here?.lastExit && here.restarts > 0 ? `; it ended before: ${here.lastExit}` : '';
  const doing = `the process ${WHILE_STARTING[here?.state ?? 'Stopped']}`;
  return {
    reason: 'Starting',
    message: `${doing} on ${assignment.node}${detail}`,
    deeds: [],
    ...whenOutOfTouch(holder),
  };
}

function waitForRoutes({ seen, assignment, holder }: Situation): GroupPlan | undefined {
  if (!assignment) return undefined;
  const waiting = seen.vips.filter((vip) => !leadsTo(vip, assignment.epoch));
  const first = waiting[0];
  if (!first) return undefined;
  const ready = first.status?.conditions.find(({ type }) => type === 'Ready');
  const message = `VipResource "${first.metadata.name}" does not lead to ${assignment.node}: ${ready?.message ?? 'it has not been looked at yet'}`;
  return { reason: 'RoutesPending', message, deeds: [], ...whenOutOfTouch(holder) };
}

function serve({ assignment, holder }: Situation): GroupPlan | undefined {
  if (!assignment) return undefined;
  return { reason: 'Serving', message: `${assignment.node} serves the group`, deeds: [], ...whenOutOfTouch(holder) };
}

// --- what the checks are made of --------------------------------------------------------------------------------

const WHILE_STARTING: Readonly<Record<GroupReport['state'], string>> = {
  Stopped: 'has not been started yet',
  Starting: 'is being started',
  Running: 'runs and is not ready yet',
  Stopping: 'is being stopped',
  Failed: 'has failed',
};

function wishOf({ seen }: Situation): string | undefined {
  return seen.group.metadata.annotations[MOVE_TO_ANNOTATION];
}

/** A wish that is already fulfilled, or that can't be while the group is stopped, is taken off beside the plan. */
function withFulfilledWish(situation: Situation, plan: GroupPlan): GroupPlan {
  const to = wishOf(situation);
  if (to === undefined || plan.deeds.some(({ kind }) => kind === 'RemoveMoveWish')) return plan;
  const { assignment, wished } = situation;
  if (!wished) {
    const refused = `Cannot move to "${to}": the group is stopped; set spec.running to true first`;
    return { ...plan, refused, deeds: [...plan.deeds, { kind: 'RemoveMoveWish' }] };
  }
  if (assignment?.state !== 'Active' || assignment.node !== to) return plan;
  return { ...plan, deeds: [...plan.deeds, { kind: 'RemoveMoveWish' }] };
}

function planWithoutWish({ seen, now }: Situation): GroupPlan {
  const { [MOVE_TO_ANNOTATION]: _, ...annotations } = seen.group.metadata.annotations;
  const group = { ...seen.group, metadata: { ...seen.group.metadata, annotations } };
  return planFailover({ ...seen, group }, now);
}

function diskReportOf({ seen }: Situation, node: string, monitor: string) {
  return nodeSeen(seen, node)?.node?.status?.report?.disks.find((disk) => disk.name === monitor);
}

/** There is nowhere to go, or everybody seems gone: nothing is done, and the message says what would help. */
function hold(situation: Situation, action: string): GroupPlan {
  const { seen, now } = situation;
  if (seen.nodes.some((node) => isInTouch(node, now))) return noFitNode(situation, action);
  const message = `${action}: no node renews its Lease, so the trouble is more likely between them and the API server; nothing is moved`;
  return { reason: 'AllNodesOutOfTouch', message, deeds: [] };
}

function noFitNode(situation: Situation, action: string): GroupPlan {
  return { reason: 'NoFitNode', message: `${action}: no node can take it: ${listUnfit(situation)}`, deeds: [] };
}

function listUnfit({ fitness }: Situation): string {
  const unfit = fitness.filter(({ fit }) => !fit);
  return (
    unfit.map(({ name, reason, message }) => `${name}: ${reason}: ${message}`).join('; ') ||
    'every node is still being looked at'
  );
}

function nodeList({ seen }: Situation): string {
  return seen.group.spec.nodes.join(', ');
}
