import type { Assignment, Proof } from '../crds/failovergroup.ts';
import type { Gate } from './channel.ts';

/**
 * What the agent of a node does next about one group. Pure: what is known goes in, one action comes out.
 *
 * The rules stand in docs/protocol.md, "What a node may do". A check is a function of what was seen; the first that
 * answers is the plan, so its place in the list is its priority.
 */
export function planAgent(seen: AgentSeen, now: AgentNow): AgentPlan {
  for (const check of CHECKS) {
    const plan = check(seen, now);
    if (plan !== undefined) return plan;
  }
  return nothing('Idle', 'nothing to do');
}

/** Why this node could not run the group now; undefined when it could. Asked of every node, assigned or not. */
export function unfitness(seen: AgentSeen): Problem | undefined {
  for (const check of FITNESS) {
    const problem = check(seen);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

export interface AgentNow {
  /** By the boot clock. */
  readonly ms: number;
}

export interface Problem {
  readonly reason: string;
  readonly message: string;
}

export interface AgentSeen {
  readonly node: string;
  /** What keeps the whole node from running anything: above all, that it is another instance. */
  readonly nodeProblem: Problem | undefined;
  /** Undefined while no Lease is held. */
  readonly incarnation: number | undefined;
  /** The later of the two channels. */
  readonly deadline: Deadline;
  /** The newest that watch or GET have shown. */
  readonly view: GroupView;
  /** What the last GET without resourceVersion showed, if any did since the agent started. */
  readonly confirmed: { readonly view: GroupView; readonly sentAtMs: number } | undefined;
  readonly record: GroupRecord;
  readonly process: ProcessSeen;
  readonly disk: DiskSeen;
  /** What the host says about the command and the user: not allowed, not there. */
  readonly hostProblem: Problem | undefined;
  /** Recorded at the first start, in the group's status; undefined before it. */
  readonly recordedDiskId: string | undefined;
  /** The proof by which the present epoch was assigned. */
  readonly proof: { readonly epoch: number; readonly proof: Proof } | undefined;
  /** The start under this epoch was refused because another holds the lock on the disk, and who that says it is. */
  readonly lockRefused: { readonly epoch: number; readonly holder: string; readonly atMs: number } | undefined;
  /** When the process ended by itself, or could not be started, oldest first. By the boot clock. */
  readonly failures: readonly number[];
  readonly restart: { readonly limit: number; readonly windowMs: number };
  /** What the shared disk says, where the present assignment has a second channel. */
  readonly channel: ChannelSeen | undefined;
  /** What is being done already. */
  readonly underWay: { readonly confirm: boolean; readonly end: boolean };
}

export interface ChannelSeen {
  /** The highest claim or epoch in the file of another node, and whose file that is. */
  readonly highest: { readonly epoch: number; readonly node: string } | undefined;
  /** The highest epoch that this node has claimed itself. */
  readonly claimed: number;
  /** For the assignment's epoch. */
  readonly gate: Gate;
}

/** `unbrokenSinceMs`: since when there has been a deadline in the future at every moment. */
export interface Deadline {
  readonly untilMs: number;
  readonly unbrokenSinceMs: number;
}

export type GroupView =
  /** The group exists. It may not have been assigned yet. */
  | { readonly exists: true; readonly assignment: Assignment | undefined }
  /** There is no such group. */
  | { readonly exists: false };

export interface GroupRecord {
  /** The highest epoch this node has ended. */
  readonly ended: number;
  /** Whether the disk has taken that end. */
  readonly settled: boolean;
  /** The highest epoch under which anything may have been spawned. */
  readonly spawned: number;
}

export interface ProcessSeen {
  readonly state: 'absent' | 'idle' | 'starting' | 'running' | 'stopping' | 'ending';
  /** Of the process that lives, or of the last one. */
  readonly epoch: number;
}

export type DiskSeen =
  /** `id` undefined: not read yet, or it cannot be read; `message` then says which. */
  | { readonly state: 'mounted'; readonly id: string | undefined; readonly message?: string }
  | { readonly state: 'notMounted'; readonly message: string }
  | { readonly state: 'unknown'; readonly message: string };

export type AgentPlan = {
  readonly reason: string;
  readonly message: string;
  /** Look again at this time even if nothing changes. */
  readonly lookAgainMs?: number;
  /** Whether the addresses belong on this node now. */
  readonly serving: boolean;
} & (
  | { readonly do: 'nothing' }
  /** Read the group without resourceVersion. */
  | { readonly do: 'confirm' }
  /** Write on the disk that this node claims the epoch. */
  | { readonly do: 'claim'; readonly epoch: number }
  /** Read the files of the other nodes on the disk. */
  | { readonly do: 'look' }
  | { readonly do: 'start'; readonly epoch: number; readonly lock: boolean }
  | { readonly do: 'stop' }
  /** Nothing of it lives: sync the disk, write it down, report it. */
  | { readonly do: 'endEpoch'; readonly epoch: number }
  /** It has ended too often: wait for the controller to move it. */
  | { readonly do: 'giveUp' }
);

type Check = (seen: AgentSeen, now: AgentNow) => AgentPlan | undefined;

/** From the most urgent to the least. */
const CHECKS: readonly Check[] = [
  isBeingEnded, //       what is dying is waited for
  mustStop, //           the view says that it is over, or this is another instance
  mayBeGone, //          the view shows no such group: ask before stopping
  runs, //               all is well
  mustEndEpoch, //       nothing lives any more and the epoch is over
  notAssignedHere, //    nothing to run
  nodeIsNotItself, //    runs nothing
  assignedByGet, //      condition 1
  epochNotEnded, //      condition 2
  deadlineUnbroken, //   condition 3
  diskInPlace, //        condition 4
  gatePassed, //         condition 5
  hostAllows, //         the host's owner has the last word
  lockIsFree, //         the last belt
  restartsLeft, //       failed too often
  restartPause, //       not at once, the second time
  start,
];

const FITNESS: readonly ((seen: AgentSeen) => Problem | undefined)[] = [
  (seen) => seen.nodeProblem,
  diskProblem,
  (seen) => seen.hostProblem,
  lockProblem,
];

function isBeingEnded({ process, underWay }: AgentSeen): AgentPlan | undefined {
  if (process.state === 'stopping' || process.state === 'ending') {
    return nothing('Ending', 'waiting until nothing of the process is left');
  }
  return underWay.end ? nothing('EndingEpoch', 'waiting for the disk to take the end of the epoch') : undefined;
}

/** "As soon as its view names another node, another incarnation, a higher epoch or Stopping." */
function mustStop({ process, view, node, incarnation, nodeProblem, channel }: AgentSeen): AgentPlan | undefined {
  if (!lives(process)) return undefined;
  if (nodeProblem !== undefined) return stop(nodeProblem.reason, nodeProblem.message);
  const assignment = assignmentOf(view);
  // An older view than the one it was started by says nothing.
  if (assignment === undefined || assignment.epoch < process.epoch) return undefined;
  if (assignment.node !== node) return stop('Superseded', `epoch ${assignment.epoch} belongs to ${assignment.node}`);
  if (assignment.epoch > process.epoch) return stop('Superseded', `epoch ${assignment.epoch} has begun`);
  if (assignment.state === 'Stopping') return stop('Stopping', `epoch ${assignment.epoch} is to end`);
  if (incarnation !== undefined && assignment.incarnation !== incarnation) {
    return stop('OtherIncarnation', `epoch ${assignment.epoch} was for incarnation ${assignment.incarnation}`);
  }
  const claim = channel?.highest;
  if (claim === undefined || claim.epoch < process.epoch) return undefined;
  return stop('Claimed', `${claim.node} has claimed epoch ${claim.epoch} on the shared disk`);
}

/**
 * The group was removed by force: whoever makes it anew may assign it without having heard of us. A group that is there
 * without an assignment has lost its status; the controller makes it again from our report, so the process stays.
 */
function mayBeGone({ process, view, confirmed, underWay }: AgentSeen): AgentPlan | undefined {
  if (!lives(process) || view.exists) return undefined;
  if (confirmed?.view.exists === false) return stop('GroupGone', 'there is no such group any more');
  return confirm('GroupGone', 'the group seems to be gone: asking the API server', underWay.confirm, true);
}

function runs({ process }: AgentSeen): AgentPlan | undefined {
  if (!lives(process)) return undefined;
  return { do: 'nothing', reason: 'Running', message: 'the process runs', serving: true };
}

/** Ending what does not run is always safe; it only takes from this node what it could not use any more. */
function mustEndEpoch(seen: AgentSeen): AgentPlan | undefined {
  const epoch = epochThatIsOver(seen);
  if (epoch === undefined || epoch <= seen.record.ended) return undefined;
  return { do: 'endEpoch', epoch, reason: 'EpochOver', message: `epoch ${epoch} is over here`, serving: false };
}

function epochThatIsOver({ view, confirmed, node, incarnation, record, channel }: AgentSeen): number | undefined {
  const assignment = assignmentOf(view);
  const begun = Math.max(record.spawned, channel?.claimed ?? 0);
  if (assignment === undefined) {
    return !view.exists && confirmed?.view.exists === false ? begun : undefined;
  }
  if (assignment.node !== node) return begun < assignment.epoch ? begun : undefined;
  if (assignment.state === 'Stopping') return assignment.epoch;
  if (incarnation !== undefined && assignment.incarnation < incarnation) return assignment.epoch;
  // Who has claimed it waits for the word that this one has ended.
  const claimed = record.spawned === assignment.epoch && (channel?.highest?.epoch ?? 0) >= assignment.epoch;
  return claimed ? assignment.epoch : undefined;
}

function notAssignedHere({ view, node, incarnation }: AgentSeen): AgentPlan | undefined {
  const assignment = assignmentOf(view);
  if (assignment === undefined) return nothing('NotAssigned', 'the group is assigned to no node');
  if (assignment.node !== node) return nothing('Elsewhere', `the group is assigned to ${assignment.node}`);
  if (assignment.state === 'Stopping') return nothing('Ended', `epoch ${assignment.epoch} has ended here`);
  if (incarnation === undefined) return nothing('NoLease', 'this node holds no Lease');
  if (assignment.incarnation === incarnation) return undefined;
  return nothing('OtherIncarnation', `the assignment is for incarnation ${assignment.incarnation}`);
}

function nodeIsNotItself({ nodeProblem }: AgentSeen): AgentPlan | undefined {
  return nodeProblem && nothing(nodeProblem.reason, nodeProblem.message);
}

/** Condition 1. A watch event or a list is no answer. */
function assignedByGet({ view, confirmed, deadline, underWay }: AgentSeen, now: AgentNow): AgentPlan | undefined {
  const assignment = assignmentOf(view);
  const known = confirmed && assignmentOf(confirmed.view);
  const same =
    assignment !== undefined &&
    known !== undefined &&
    known.epoch === assignment.epoch &&
    known.node === assignment.node &&
    known.incarnation === assignment.incarnation &&
    known.state === assignment.state;
  const sinceGap = confirmed !== undefined && confirmed.sentAtMs >= deadline.unbrokenSinceMs;
  if (same && sinceGap) return undefined;
  if (now.ms >= deadline.untilMs) return nothing('DeadlinePassed', 'waiting for the Lease to be renewed');
  return confirm('Confirming', 'asking the API server for the assignment', underWay.confirm, false);
}

/** Condition 2. */
function epochNotEnded({ view, record }: AgentSeen): AgentPlan | undefined {
  const epoch = assignmentOf(view)?.epoch ?? 0;
  if (epoch > record.ended) return undefined;
  return nothing('EpochEnded', `epoch ${epoch} has ended here: waiting for one above ${record.ended}`);
}

/** Condition 3; that there was no gap since the GET is looked at where the GET is. */
function deadlineUnbroken({ deadline }: AgentSeen, now: AgentNow): AgentPlan | undefined {
  if (now.ms < deadline.untilMs) return undefined;
  return nothing('DeadlinePassed', 'waiting for the Lease to be renewed');
}

/** Condition 4. */
function diskInPlace(seen: AgentSeen): AgentPlan | undefined {
  const problem = diskProblem(seen);
  return problem && nothing(problem.reason, problem.message);
}

/** Condition 6, where the group has a second channel. */
function gatePassed({ channel, view }: AgentSeen): AgentPlan | undefined {
  if (channel === undefined) return undefined;
  const { gate } = channel;
  const epoch = assignmentOf(view)?.epoch ?? 0;
  const message = (what: string) => `epoch ${epoch} waits for the shared disk: ${what}`;
  switch (gate.state) {
    case 'passed':
      return undefined;
    case 'unclaimed':
      return { do: 'claim', epoch, reason: 'Claiming', message: message('writing its claim'), serving: false };
    case 'unread':
      return { do: 'look', reason: 'GateUnread', message: message('reading what the others say'), serving: false };
    case 'outnumbered':
      return nothing('Outnumbered', message(gate.message));
    case 'closed':
      return nothing('GateClosed', message(gate.message), gate.untilMs);
  }
}

function hostAllows({ hostProblem }: AgentSeen): AgentPlan | undefined {
  return hostProblem && nothing(hostProblem.reason, hostProblem.message);
}

/** How often a lock that another holds is tried again. */
const LOCK_RETRY_MS = 1_000;

function lockIsFree(seen: AgentSeen, now: AgentNow): AgentPlan | undefined {
  const problem = lockProblem(seen);
  if (problem === undefined || seen.lockRefused === undefined) return undefined;
  const againMs = seen.lockRefused.atMs + LOCK_RETRY_MS;
  return now.ms < againMs ? nothing(problem.reason, problem.message, againMs) : undefined;
}

/** The limit is what may happen within the window without a move. */
function restartsLeft({ failures, restart }: AgentSeen, now: AgentNow): AgentPlan | undefined {
  const recent = failuresWithin(failures, restart.windowMs, now);
  if (recent.length <= restart.limit) return undefined;
  const message = `the process ended ${recent.length} times within ${restart.windowMs} ms; ${restart.limit} restarts are allowed`;
  // When the oldest has left the window there is one more try: this node may be the only one.
  const lookAgainMs = (recent[0] ?? now.ms) + restart.windowMs;
  return { do: 'giveUp', reason: 'RestartLimit', message, lookAgainMs, serving: false };
}

function restartPause({ failures, restart }: AgentSeen, now: AgentNow): AgentPlan | undefined {
  const recent = failuresWithin(failures, restart.windowMs, now);
  const untilMs = (recent.at(-1) ?? Number.NEGATIVE_INFINITY) + restartPauseMs(recent.length);
  if (now.ms >= untilMs) return undefined;
  const message = `the process ended ${recent.length} times: a pause before the next start`;
  return { do: 'nothing', reason: 'RestartPause', message, lookAgainMs: untilMs, serving: true };
}

/** None the first time; then 250 ms, doubled each time, up to 5 s. */
export function restartPauseMs(failures: number): number {
  return failures < 2 ? 0 : Math.min(5_000, 250 * 2 ** (failures - 2));
}

/** Restarts of the present window, for the report. */
export function failuresWithin(failures: readonly number[], windowMs: number, now: AgentNow): readonly number[] {
  return failures.filter((atMs) => now.ms - atMs < windowMs);
}

function start(seen: AgentSeen): AgentPlan {
  const epoch = assignmentOf(seen.view)?.epoch ?? 0;
  const lock = !(lockWasRefused(seen) && mayIgnoreLock(seen));
  const message = lock ? `starting under epoch ${epoch}` : `starting under epoch ${epoch} without the lock on the disk`;
  return { do: 'start', epoch, lock, reason: 'Starting', message, serving: true };
}

function diskProblem({ disk, recordedDiskId, view }: AgentSeen): Problem | undefined {
  if (disk.state === 'notMounted') return { reason: 'DiskNotMounted', message: disk.message };
  if (disk.state === 'unknown') return { reason: 'DiskUnknown', message: disk.message };
  if (disk.id === undefined) return { reason: 'DiskUnknown', message: disk.message ?? 'its id has not been read yet' };
  const expected = assignmentOf(view)?.basis.diskId ?? recordedDiskId;
  if (expected === undefined || disk.id === expected) return undefined;
  const message = `another disk is mounted: its id is ${disk.id}, the group's is ${expected}; mount the group's file system`;
  return { reason: 'OtherDisk', message };
}

/**
 * The last belt, never the proof. After a release nobody may hold the lock, so somebody has started the server by hand.
 * After an expired Lease the file server may keep the lock of a dead client for minutes.
 */
function lockProblem(seen: AgentSeen): Problem | undefined {
  if (seen.lockRefused === undefined || !lockWasRefused(seen) || mayIgnoreLock(seen)) return undefined;
  const message = `another process holds the lock on the shared disk (${seen.lockRefused.holder}); end it`;
  return { reason: 'LockHeld', message };
}

function lockWasRefused({ lockRefused, view }: AgentSeen): boolean {
  return lockRefused !== undefined && lockRefused.epoch === assignmentOf(view)?.epoch;
}

function mayIgnoreLock({ proof, view }: AgentSeen): boolean {
  const deadClient = proof?.proof === 'LeaseExpired' || proof?.proof === 'InstanceStopped';
  return deadClient && proof.epoch === assignmentOf(view)?.epoch;
}

function assignmentOf(view: GroupView): Assignment | undefined {
  return view.exists ? view.assignment : undefined;
}

function lives(process: ProcessSeen): boolean {
  return process.state === 'starting' || process.state === 'running';
}

function nothing(reason: string, message: string, lookAgainMs?: number): AgentPlan {
  return { do: 'nothing', reason, message, serving: false, ...(lookAgainMs === undefined ? {} : { lookAgainMs }) };
}

function stop(reason: string, message: string): AgentPlan {
  return { do: 'stop', reason, message, serving: false };
}

/** One question at a time. */
function confirm(reason: string, message: string, underWay: boolean, serving: boolean): AgentPlan {
  return { do: underWay ? 'nothing' : 'confirm', reason, message, serving };
}
