import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Assignment } from '../crds/failovergroup.ts';
import type { GroupReport } from '../crds/failovernode.ts';
import type { ChannelSeen, Deadline, ProcessSeen } from '../decide/agent.ts';
import {
  fallbackAgeMs,
  type Gate,
  highestIn,
  highestOf,
  isOpen,
  judgeGate,
  lookAgainAfterMs,
  neighbourState,
  othersOf,
  type Round,
  type Sights,
  sightsAfter,
  tickObstacle,
} from '../decide/channel.ts';
import { renewRetryMs, type Timing } from '../decide/timing.ts';
import type { Disk, OwnRecord } from './disk.ts';
import { Hung } from './helper.ts';
import type { WrittenMount } from './mounts.ts';

/**
 * The second channel of one group on this node: the beat in its own file while its process lives, the look at those of
 * the others, its claim, and the word of an end. docs/protocol.md, "The second channel".
 */
export interface GroupChannel {
  /** Something has changed that decides what there is to do. */
  poke(): void;
  /** The Lease has been renewed: a beat that leaves with it ages with it. */
  renewed(): void;
  /** Writes the claim of `epoch`, then looks. */
  claim(epoch: number): void;
  /** Looks now. */
  look(): void;
  /** Undefined where the assignment has no second channel. */
  seen(assignment: Assignment | undefined, deadline: Deadline): ChannelSeen | undefined;
  /** Writes that nothing of `epoch` is left. Also for a group without a second channel. */
  end(epoch: number, on: WrittenMount, limitMs: number): Promise<void>;
  report(assignment: Assignment | undefined): Pick<GroupReport, 'highestRead' | 'neighbours'>;
  leave(): void;
}

/** What the channel rests on, as it is now. */
export interface Footing {
  readonly assignment: Assignment;
  /** The group's disk. */
  readonly on: WrittenMount;
  readonly process: ProcessSeen;
}

export interface GroupChannelOptions {
  readonly group: string;
  readonly node: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly disk: (mountPath: string) => Disk;
  readonly timing: () => Timing;
  /** Undefined: no second channel is in force here, or its disk is not in place. */
  readonly footing: () => Footing | undefined;
  /** A tick extends the deadline of the process of `epoch`. */
  readonly onExtended: (epoch: number, untilMs: number) => void;
  /** No deadline of the group is later than this, when it resolves. */
  readonly cutDeadline: (untilMs: number) => Promise<void>;
  /** Something new was read or written. */
  readonly onChange: () => void;
}

const BLANK: OwnRecord = { state: 'idle', ended: 0, claim: 0, epoch: 0, takeoverAfterSeconds: 1 };
/** A report names this many at most (FailoverNode's schema). */
const NEIGHBOURS_MAX = 16;

export function createGroupChannel(options: GroupChannelOptions): GroupChannel {
  const { group, node, clock, log } = options;
  /** What our own file says, or may say: what was asked of the disk last. */
  let own: { readonly diskId: string | undefined; readonly record: OwnRecord } | undefined;
  /** The claim that the disk is known to have, and since when it is known. */
  let claimed = { epoch: 0, sinceMs: 0 };
  let claimAsked = 0;
  let sights: Sights = new Map();
  let sightsOf: string | undefined;
  let round: Round | undefined;
  /** The numbers of the last record that may have left. What an earlier agent's said is not known. */
  let sent: Timing | undefined;
  /** The last round did not come back: no beat before one does. */
  let hung = false;
  let failure: string | undefined;
  /** Since when the process of the last beat is known to be dead. */
  let deadSinceMs: number | undefined;
  let passed: { readonly epoch: number; readonly sinceMs: number } | undefined;
  let startedMs = Number.NEGATIVE_INFINITY;
  let told = '';
  let working = false;
  let again = false;
  let left = false;
  let cancelTimer = () => {};

  function wake(): void {
    cancelTimer();
    if (left) return;
    if (working) {
      again = true;
      return;
    }
    working = true;
    again = false;
    void work().then((nextMs) => {
      working = false;
      if (left) return;
      // What failed keeps its pace, whoever asks.
      if (again && failure === undefined) wake();
      else if (nextMs !== undefined) cancelTimer = clock.after(nextMs, wake);
      tell();
    });
  }

  /** Whoever waits for the gate waits for each look; everybody else for what is new. */
  function tell(): void {
    const footing = options.footing();
    const waits = footing?.assignment.node === node && !isAlive(footing);
    const now = JSON.stringify([highestIn(sights), failure, report(footing?.assignment)]);
    if (now === told && !waits) return;
    told = now;
    options.onChange();
  }

  /** One tick or look. How long until the next; undefined: until something changes. */
  async function work(): Promise<number | undefined> {
    const footing = options.footing();
    if (footing === undefined || sightsOf !== footing.on.diskId) {
      sights = new Map();
      round = undefined;
      sightsOf = footing?.on.diskId;
    }
    if (footing === undefined) {
      // What failed keeps its pace by its timer, and there is none from here on: whoever comes next begins at once.
      failure = undefined;
      return undefined;
    }
    startedMs = clock.nowMs();
    const timing = options.timing();
    const limitMs = () => Math.max(1, startedMs + timing.fenceAfterMs - clock.nowMs());
    try {
      const epoch = await writeDue(footing, timing, limitMs);
      const read = await readOthers(footing, limitMs());
      if (epoch !== undefined) extend(epoch, read, footing, timing);
      if (failure !== undefined) log.info('the second channel works again');
      failure = undefined;
    } catch (error) {
      const message = describeError(error);
      if (failure !== message) log.warn('the second channel does not work', { error: message });
      failure = message;
      return renewRetryMs(timing);
    }
    const sinceMs = clock.nowMs() - startedMs;
    const nextMs = isAlive(options.footing())
      ? timing.renewEveryMs
      : lookAgainAfterMs(sights, clock.nowMs(), timing.renewEveryMs) + sinceMs;
    return Math.max(0, nextMs - sinceMs);
  }

  /** What is to be written before the look. The epoch that ticks, if one does. */
  async function writeDue(footing: Footing, timing: Timing, limitMs: () => number): Promise<number | undefined> {
    const { assignment, process } = footing;
    const known = await ownRecord(footing.on, limitMs());
    deadSinceMs = isDead(process) ? (deadSinceMs ?? clock.nowMs()) : undefined;
    const { epoch } = assignment;
    const claims = claimAsked === epoch && known.ended < epoch && claimed.epoch < epoch;
    claimAsked = 0;
    if (claims) {
      const claim = (now: OwnRecord): OwnRecord => ({ ...now, state: 'claiming', claim: Math.max(now.claim, epoch) });
      await write(claim, footing.on, timing, limitMs());
      claimed = { epoch, sinceMs: clock.nowMs() };
      return undefined;
    }
    const on = mountOf(footing.on);
    if (isAlive(footing)) {
      if (hung) return undefined;
      await write((now) => running(now, epoch), on, timing, limitMs());
      return epoch;
    }
    const waitedMs = deadSinceMs === undefined ? 0 : clock.nowMs() - deadSinceMs;
    if (known.state === 'running' && waitedMs >= timing.fenceAfterMs) {
      await write((now) => ({ ...now, state: now.state === 'running' ? 'idle' : now.state }), on, timing, limitMs());
    }
    return undefined;
  }

  async function readOthers({ assignment, on }: Footing, limitMs: number): Promise<Round> {
    const askedMs = clock.nowMs();
    try {
      const reads = await options.disk(on.path).readOthers(group, othersOf(assignment, node), limitMs, mountOf(on));
      round = { startedMs: askedMs, answeredMs: clock.nowMs(), reads };
    } catch (error) {
      hung ||= error instanceof Hung;
      throw error;
    }
    // The beats begin anew with the next tick, which comes at once.
    if (hung) again = true;
    hung = false;
    sights = sightsAfter(sights, round);
    return round;
  }

  /** "Start of the tick + fenceAfter": the smaller of the number it carried and the number in force when it is answered. */
  function extend(epoch: number, read: Round, { assignment }: Footing, carried: Timing): void {
    const obstacle = tickObstacle(read, othersOf(assignment, node), epoch);
    if (obstacle !== undefined) throw new Error(`Cannot extend the deadline: ${obstacle}`);
    const now = options.footing();
    if (now === undefined || !isAlive(now) || now.process.epoch !== epoch) return;
    options.onExtended(epoch, startedMs + Math.min(carried.fenceAfterMs, options.timing().fenceAfterMs));
  }

  /** What our own file says; read once, since nobody else writes it. */
  async function ownRecord(on: WrittenMount, limitMs: number): Promise<OwnRecord> {
    if (own !== undefined && own.diskId === on.diskId) return own.record;
    const record = (await options.disk(on.path).own(group, limitMs)) ?? BLANK;
    // Written meanwhile: what was read may be older.
    if (own !== undefined && own.diskId === on.diskId) return own.record;
    own = { diskId: on.diskId, record };
    claimed = { epoch: record.claim, sinceMs: clock.nowMs() };
    return record;
  }

  /**
   * Before the first record with a smaller number leaves, no deadline is later than now + the new `fenceAfter`: whoever
   * reads that record waits no longer than it says.
   */
  async function write(
    change: (now: OwnRecord) => OwnRecord,
    on: WrittenMount,
    timing: Timing,
    limitMs: number,
  ): Promise<void> {
    const smaller =
      sent === undefined || timing.fenceAfterMs < sent.fenceAfterMs || timing.takeoverAfterMs < sent.takeoverAfterMs;
    if (smaller) await options.cutDeadline(clock.nowMs() + timing.fenceAfterMs);
    sent = timing;
    const takeoverAfterSeconds = Math.ceil(timing.takeoverAfterMs / 1000);
    const record = { ...change(own?.record ?? BLANK), takeoverAfterSeconds };
    // From now on it may be there, whatever the disk answers: no later write takes a number back.
    own = { diskId: own?.diskId, record };
    await options.disk(on.path).writeOwn(group, record, limitMs, on);
  }

  async function end(epoch: number, on: WrittenMount, limitMs: number): Promise<void> {
    const untilMs = clock.nowMs() + limitMs;
    await ownRecord(on, limitMs);
    const ended = (now: OwnRecord): OwnRecord => {
      return { ...now, state: 'ended', ended: Math.max(now.ended, epoch), epoch: Math.max(now.epoch, epoch) };
    };
    await write(ended, on, options.timing(), Math.max(1, untilMs - clock.nowMs()));
  }

  function seen(assignment: Assignment | undefined, deadline: Deadline): ChannelSeen | undefined {
    if (assignment?.basis.heartbeat !== true) return undefined;
    const { epoch } = assignment;
    const highest = highestIn(sights);
    return { highest, claimed: own?.record.claim ?? 0, gate: gateOf(assignment, epoch, deadline) };
  }

  /** Once for each epoch, and again after a gap in the deadline; a new agent knows of none. */
  function gateOf(assignment: Assignment, epoch: number, { unbrokenSinceMs }: Deadline): Gate {
    if (passed?.epoch === epoch && passed.sinceMs >= unbrokenSinceMs) return { state: 'passed' };
    const asked = {
      epoch,
      others: othersOf(assignment, node),
      own: own?.record,
      claimedMs: claimed.epoch >= epoch ? claimed.sinceMs : undefined,
      notBeforeMs: unbrokenSinceMs,
      open: isOpen(assignment),
      fallbackMs: fallbackAgeMs(assignment, options.timing().takeoverAfterMs),
    };
    const gate = judgeGate(asked, sights, round);
    if (gate.state === 'passed' && round !== undefined) passed = { epoch, sinceMs: round.startedMs };
    return gate;
  }

  function report(assignment: Assignment | undefined): Pick<GroupReport, 'highestRead' | 'neighbours'> {
    if (assignment?.basis.heartbeat !== true) return { highestRead: 0, neighbours: [] };
    const { fenceAfterMs } = options.timing();
    const others = othersOf(assignment, node).slice(0, NEIGHBOURS_MAX);
    // Our own claim of this epoch is no obstacle to it; a number above it is, wherever it was read.
    const mine = own === undefined || highestOf(own.record) <= assignment.epoch ? 0 : highestOf(own.record);
    return {
      highestRead: Math.max(highestIn(sights)?.epoch ?? 0, mine),
      neighbours: others
        .map((name) => ({ name, state: neighbourState(sights.get(name), clock.nowMs(), fenceAfterMs) }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    };
  }

  return {
    poke: () => {
      if (!working && options.footing() !== undefined && round === undefined && failure === undefined) wake();
    },
    renewed: () => {
      const dueMs = startedMs + options.timing().renewEveryMs / 2;
      if (!working && failure === undefined && clock.nowMs() >= dueMs && isAlive(options.footing())) wake();
    },
    claim: (epoch) => {
      claimAsked = epoch;
      if (failure === undefined) wake();
    },
    look: () => {
      if (failure === undefined) wake();
    },
    ...{ seen, end, report },
    leave: () => {
      left = true;
      cancelTimer();
    },
  };
}

/** The shim confirms a live process of the assignment's epoch. */
function isAlive(footing: Footing | undefined): boolean {
  return footing?.process.state === 'running' && footing.process.epoch === footing.assignment.epoch;
}

function isDead({ state }: ProcessSeen): boolean {
  return state === 'idle' || state === 'absent';
}

function running(now: OwnRecord, epoch: number): OwnRecord {
  if (now.ended >= epoch) throw new Error(`Cannot say that epoch ${epoch} runs: it has ended here`);
  return { ...now, state: 'running', epoch };
}

/** The kernel's own numbers say whether it is the mount that the id was read on; another read of that for each beat says no more. */
function mountOf({ diskId: _, ...mount }: WrittenMount): WrittenMount {
  return mount;
}
