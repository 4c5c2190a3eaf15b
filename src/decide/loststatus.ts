import type { GroupReport } from '../crds/failovernode.ts';
import { hasAged, isInTouch } from './fitness.ts';
import { basisOf, nextEpoch, optional } from './move.ts';
import type { Deed, GroupPlan } from './plan.ts';
import { type GroupSeen, groupReportOf, type NodeSeen } from './seen.ts';
import type { Situation } from './situation.ts';

/**
 * The status was lost, and with it who has the group. Nothing is assigned before every node has answered a roll call or
 * is out. The call is a word in the status, made when there was no assignment: whoever names it in its report has seen
 * that, so it starts nothing any more under an assignment from before, and what it did start it names. Without it a
 * report might be older than the last assignment, and that epoch would be given again.
 */
export function callTheRoll(situation: Situation): GroupPlan | undefined {
  const { seen, assignment } = situation;
  if (assignment || !isLost(situation)) return undefined;
  const call = seen.group.status?.rollCall;
  if (call === undefined) {
    // The version at which it was found lost: no other loss has the same.
    const rollCall = seen.group.metadata.resourceVersion;
    return {
      reason: 'StatusLost',
      message: 'the status was lost; every node is asked what it runs',
      rollCall,
      deeds: [],
    };
  }
  const answers = seen.nodes.map((node) => answerOf(node, call, situation));
  const waiting = answers.filter((answer) => answer.state === 'waiting');
  if (waiting.length === 0) return adopt(situation, answers);
  const message = `Cannot assign the group, whose status was lost, before every node has said what it runs, or is out: ${waiting.map(({ node, why }) => `${node.name}: ${why}`).join('; ')}`;
  const lookAgain = waiting.flatMap(({ lookAgainAtMs }) => lookAgainAtMs ?? []);
  return {
    reason: 'StatusLost',
    message,
    deeds: waiting.flatMap(({ deed }) => deed ?? []),
    ...(lookAgain.length > 0 ? { lookAgainAtMs: Math.min(...lookAgain) } : {}),
  };
}

/** A group that is new says so in its status; but where a node runs it all the same, it was removed by force and made anew. */
function isLost({ seen, name }: Situation): boolean {
  const { status } = seen.group;
  if (status?.neverAssigned !== true || status.rollCall !== undefined) return true;
  return seen.nodes.some((node) => isIn(groupReportOf(node, name)));
}

type Answer = { readonly node: NodeSeen } & (
  | { readonly state: 'answered'; readonly report: GroupReport }
  | { readonly state: 'out' }
  | { readonly state: 'waiting'; readonly why: string; readonly deed?: Deed; readonly lookAgainAtMs?: number }
);

function answerOf(node: NodeSeen, call: string, situation: Situation): Answer {
  const { seen, name, now, deleting } = situation;
  const { lease } = node;
  const wait = (why: string, more: { deed?: Deed; lookAgainAtMs?: number } = {}): Answer => {
    return { node, state: 'waiting', why, ...more };
  };
  if (lease.kind === 'unknown') return wait('its Lease has not been read yet');
  if (lease.kind === 'missing') {
    const incarnation = node.node?.status?.report?.incarnation ?? 0;
    return wait('its Lease is missing', { deed: { kind: 'CreateLease', node: node.name, incarnation } });
  }
  const report = groupReportOf(node, name);
  const held = lease.holder !== '';
  const byInstance = seen.group.spec.fencing.policy === 'Instance';
  if (held && report?.rollCall === call && node.node?.status?.report?.incarnation === lease.incarnation) {
    // As after a move: a write of the dead process may still land, and is given its time.
    const acceptedAtMs = (seen.unsettledSinceMs ?? now.ms) + lease.takeoverAfterMs;
    if (!isUnsettled(report) || (!byInstance && now.ms >= acceptedAtMs)) return { node, state: 'answered', report };
    return byInstance
      ? wait('it has ended, but its disk did not take the end: bring its disk back, or reboot it')
      : wait('it has ended, but its disk did not take the end', { lookAgainAtMs: acceptedAtMs });
  }
  // An agent's Lease that nobody holds was fenced. One that was made anew held by nobody must age.
  if (!hasAged(node, now) && (held || lease.bootId === '')) {
    return wait('it has not answered yet', { lookAgainAtMs: lease.firstSeenMs + lease.takeoverAfterMs });
  }
  const seer = seen.nodes.find((other) => isInTouch(other, now) && sees(groupReportOf(other, name), node.name));
  if (seer) return wait(`it is out of touch with the API server and lives on the shared disk, by ${seer.name}`);
  // Whose instance would have to be off is not known any more, and nothing else counts.
  if (byInstance)
    return wait(
      'its Lease aged, which is no proof under fencing.policy Instance: bring it back; or see to it that its instance is off, and set spec.fencing.policy to Lease until the group is assigned',
    );
  if (!deleting && hadChannel(node, situation))
    return wait(
      `its Lease aged, which does not count for epoch ${groupReportOf(node, name)?.epoch}, because sharedDisk.heartbeat has been set to false since: set it back to true, or bring it back`,
    );
  if (!held) return { node, state: 'out' };
  if (!deleting && !seen.nodes.some((other) => isInTouch(other, now))) return wait('its Lease aged, as all do');
  return wait('its Lease aged', { deed: { kind: 'Fence', node: node.name, resourceVersion: lease.resourceVersion } });
}

/** The ends that their disks have not taken; a controller counts their time from its first sight of just these. */
export function unsettledEnds({ group, nodes }: GroupSeen): string | undefined {
  const ends = nodes.flatMap((node) => {
    const report = groupReportOf(node, group.metadata.name);
    return report !== undefined && isUnsettled(report) ? [`${node.name} ${report.ended}`] : [];
  });
  return ends.length > 0 ? ends.join(', ') : undefined;
}

function isUnsettled(report: GroupReport): boolean {
  return !report.settled && !isIn(report);
}

/**
 * The node whose process lives has the group: nothing can have followed its epoch, for it has neither ended it nor begun
 * a new incarnation since. One that is in an epoch and runs nothing, or less than another has read on the disk, ends
 * first, under a number that was never used. Where there is neither, the group may start anew.
 */
function adopt(situation: Situation, answers: readonly Answer[]): GroupPlan | undefined {
  const { seen } = situation;
  const told = answers.flatMap((answer) => (answer.state === 'answered' ? [answer] : []));
  const [last] = told.filter(({ report }) => isIn(report)).sort((a, b) => b.report.epoch - a.report.epoch);
  if (!last) return undefined;
  const { node, report } = last;
  const known = Math.max(...told.map((one) => Math.max(one.report.ended, one.report.highestRead)));
  const goesOn = lives(report) && report.epoch >= known;
  const basis = basisOf(situation, report.diskId ?? seen.group.status?.diskId);
  // What is in force where it runs, whatever the spec says by now: a node that is cut off goes on by that. Where it does
  // not say, with a channel too many nobody is let in too early.
  const heartbeat = basis.heartbeat || told.some((one) => isIn(one.report) && one.report.heartbeat !== false);
  return {
    reason: 'Adopted',
    message: `${node.name} reports epoch ${report.epoch}; ${goesOn ? 'the lost assignment is made again from that' : 'it is told to end it'}`,
    assignment: {
      node: node.name,
      incarnation: node.node?.status?.report?.incarnation ?? 0,
      ...optional('bootId', node.node?.status?.report?.bootId),
      epoch: goesOn ? report.epoch : nextEpoch(situation),
      state: goesOn ? 'Active' : 'Stopping',
      basis: { ...basis, heartbeat },
    },
    ...optional('diskId', report.diskId),
    deeds: [],
  };
}

/**
 * As missingProof has it with a status: it may live by the disk, and whoever starts next would not look there. By its
 * last word, which is from before the loss; after a deleted group nothing starts.
 */
function hadChannel(node: NodeSeen, { seen, name }: Situation): boolean {
  const report = groupReportOf(node, name);
  return !seen.group.spec.sharedDisk.heartbeat && isIn(report) && report?.heartbeat === true;
}

function lives({ state }: GroupReport): boolean {
  return state === 'Starting' || state === 'Running' || state === 'Stopping';
}

function isIn(report: GroupReport | undefined): boolean {
  return report !== undefined && report.epoch > report.ended;
}

function sees(report: GroupReport | undefined, name: string): boolean {
  return report?.neighbours.some((one) => one.name === name && one.state === 'seen') === true;
}
