import type { Assignment } from '../crds/failovergroup.ts';

/**
 * The second channel, on the shared disk: what the nodes of a group write there of themselves, and what may be concluded
 * from it. The rules stand in docs/protocol.md, "The second channel".
 */

/** What a node says of itself: the content of its own file. */
export interface ChannelRecord {
  /**
   * - `claiming`: it has been assigned `claim`, and asks whether everybody else is out.
   * - `running`: its process lives, under `epoch`.
   * - `idle`: it has died and was not started again.
   * - `ended`: nothing of epoch `ended` is left, and the disk has taken all of it.
   */
  readonly state: 'claiming' | 'running' | 'idle' | 'ended';
  /** The highest epoch this node has ended. */
  readonly ended: number;
  /** The highest epoch it has claimed; 0 without a gate. */
  readonly claim: number;
  /** The epoch it is in, or was in last. */
  readonly epoch: number;
  /** Never there before, whatever the write changed: "the same content" means the same beat. */
  readonly beat: string;
  /** How long this record must be left to age. */
  readonly takeoverAfterSeconds: number;
}

/** How one file was found. */
export type FileRead = { readonly node: string } & (
  | { readonly kind: 'record'; readonly record: ChannelRecord }
  /** It is there, and its node has never written it. */
  | { readonly kind: 'empty' }
  /** It was not there, and has been made now, empty. */
  | { readonly kind: 'missing' }
  /** No whole record, or none that this version understands. `content` is the same as long as its bytes are. */
  | { readonly kind: 'torn'; readonly content: string }
  /** Nothing was learned. */
  | { readonly kind: 'failed'; readonly message: string }
);

/** One look at the files of all other nodes. */
export interface Round {
  /** When it was asked for, and when the answer came. By the boot clock. */
  readonly startedMs: number;
  readonly answeredMs: number;
  readonly reads: readonly FileRead[];
}

/** What is known of one other node's file, by all looks so far. */
export interface Sight {
  /** As it was read last. Undefined: it never was. */
  readonly found: Found | undefined;
  /** When that very content was seen first: when the answer came. */
  readonly firstSeenMs: number;
  readonly lastReadMs: number;
  /** Why the latest look learned nothing. */
  readonly failure: string | undefined;
}
export type Found = Exclude<FileRead, { readonly kind: 'failed' }>;
/** By node. Of no other nodes than the latest round was of. */
export type Sights = ReadonlyMap<string, Sight>;

export function sightsAfter(before: Sights, { answeredMs, reads }: Round): Sights {
  return new Map(reads.map((read) => [read.node, sightAfter(before.get(read.node), read, answeredMs)]));
}

function sightAfter(before: Sight | undefined, read: FileRead, atMs: number): Sight {
  if (read.kind === 'failed') {
    const never: Sight = { found: undefined, firstSeenMs: atMs, lastReadMs: Number.NEGATIVE_INFINITY, failure: '' };
    return { ...(before ?? never), failure: read.message };
  }
  const same = before?.found !== undefined && contentOf(before.found) === contentOf(read);
  return { found: read, firstSeenMs: same ? before.firstSeenMs : atMs, lastReadMs: atMs, failure: undefined };
}

/** A beat was never there before, so the same beat is the same content, also after looks that learned nothing. */
function contentOf(found: Found): string {
  switch (found.kind) {
    case 'record':
      return `record ${found.record.beat}`;
    case 'torn':
      return `torn ${found.content}`;
    case 'missing': // it is empty from now on
    case 'empty':
      return 'empty';
  }
}

/** The other nodes whose files count for an assignment: of its own basis, and of every earlier epoch that is open. */
export function othersOf({ node, basis }: Assignment, self: string): readonly string[] {
  const earlier = basis.earlier.flatMap((one) => [one.node, ...one.nodes.map(({ name }) => name)]);
  const all = new Set([node, ...basis.nodes.map(({ name }) => name), ...earlier]);
  return [...all].filter((name) => name !== self);
}

/** How long a file without a number of its own must age: by the greatest that its writer could have gone by. */
export function fallbackAgeMs({ basis }: Assignment, ownMs: number): number {
  const nodes = [basis, ...basis.earlier].flatMap((one) => one.nodes);
  return Math.max(ownMs, ...nodes.map(({ takeoverAfterSeconds }) => takeoverAfterSeconds * 1000));
}

/** Where every earlier epoch is closed by a proof that covers everything, or never ran by this channel, none is open. */
export function isOpen({ basis }: Assignment): boolean {
  return basis.earlier.some(({ heartbeat }) => heartbeat);
}

/** The highest number that another node's file names, and whose it is. */
export function highestIn(sights: Sights): { readonly epoch: number; readonly node: string } | undefined {
  let highest: { epoch: number; node: string } | undefined;
  for (const [node, { found }] of sights) {
    const epoch = found?.kind === 'record' ? highestOf(found.record) : 0;
    if (epoch > (highest?.epoch ?? 0)) highest = { epoch, node };
  }
  return highest;
}

export function highestOf({ claim, epoch, ended }: Pick<ChannelRecord, 'claim' | 'epoch' | 'ended'>): number {
  return Math.max(claim, epoch, ended);
}

/**
 * What keeps a tick from extending the deadline of `epoch`; undefined when it does extend it. An empty file is no
 * obstacle: a claim is on the disk before its node reads, so in an empty file there is none.
 */
export function tickObstacle(round: Round, others: readonly string[], epoch: number): string | undefined {
  for (const node of others) {
    if (!round.reads.some((read) => read.node === node)) return `the file of ${node} was not read`;
  }
  for (const read of round.reads) {
    const { node } = read;
    switch (read.kind) {
      case 'failed':
        return `the file of ${node} cannot be read: ${read.message}`;
      case 'torn':
        return `the file of ${node} holds no valid record`;
      case 'missing':
        return `the file of ${node} was missing`;
      case 'record':
        if (highestOf(read.record) >= epoch) return `${node} has claimed epoch ${highestOf(read.record)}`;
        break;
      case 'empty':
        break;
    }
  }
  return undefined;
}

export interface GateAsked {
  /** The epoch that is to start. */
  readonly epoch: number;
  /** The files that must be among those read. */
  readonly others: readonly string[];
  /** What this node's own file says; undefined: not known. */
  readonly own: Pick<ChannelRecord, 'claim' | 'epoch' | 'ended'> | undefined;
  /** Since when the disk is known to have this node's claim of this epoch. */
  readonly claimedMs: number | undefined;
  /** No round from before counts: since when the deadline has been without a gap. */
  readonly notBeforeMs: number;
  /** Whether an earlier epoch that had a second channel is not closed by a proof that covers everything. */
  readonly open: boolean;
  /** How long a file without a number of its own must age. */
  readonly fallbackMs: number;
}

export type Gate =
  | { readonly state: 'passed' }
  /** The claim is to be written. */
  | { readonly state: 'unclaimed' }
  /** A round of reads is needed. */
  | { readonly state: 'unread' }
  /** Somebody has a number at or above this epoch: it will not start. */
  | { readonly state: 'outnumbered'; readonly message: string }
  /** Somebody may still be running. `untilMs`: when that may be over, if nothing changes. */
  | { readonly state: 'closed'; readonly message: string; readonly untilMs: number | undefined };

/** Whether all others are out, by their files on the disk. */
export function judgeGate(asked: GateAsked, sights: Sights, round: Round | undefined): Gate {
  const { epoch, own, claimedMs, notBeforeMs } = asked;
  if (own === undefined) return { state: 'closed', message: 'its own file has not been read yet', untilMs: undefined };
  const outnumbered = numberAbove(asked, own, sights);
  if (outnumbered !== undefined) return { state: 'outnumbered', message: outnumbered };
  if (own.claim < epoch || claimedMs === undefined) return { state: 'unclaimed' };
  if (round === undefined || round.startedMs < Math.max(claimedMs, notBeforeMs)) return { state: 'unread' };
  const closed = asked.others.flatMap((node) => (sights.has(node) ? [] : [`the file of ${node} was not read`]));
  let untilMs: number | undefined;
  for (const [node, sight] of sights) {
    const problem = holdsUp(asked, node, sight, round);
    if (problem === undefined) continue;
    closed.push(problem.message);
    if (problem.untilMs !== undefined) untilMs = Math.max(untilMs ?? 0, problem.untilMs);
  }
  return closed.length === 0 ? { state: 'passed' } : { state: 'closed', message: closed.join('; '), untilMs };
}

/** Our own claim may stand at the epoch; a number above it means that epochs have gone back. */
function numberAbove({ epoch }: GateAsked, own: NonNullable<GateAsked['own']>, sights: Sights): string | undefined {
  const highest = highestIn(sights);
  if (highest !== undefined && highest.epoch >= epoch) return `${highest.node} has claimed epoch ${highest.epoch}`;
  return highestOf(own) > epoch ? `this node has been in epoch ${highestOf(own)} already` : undefined;
}

interface HoldUp {
  readonly message: string;
  readonly untilMs?: number;
}

function holdsUp(
  { epoch, open, fallbackMs }: GateAsked,
  node: string,
  { found, failure, firstSeenMs }: Sight,
  round: Round,
): HoldUp | undefined {
  if (found === undefined || failure !== undefined)
    return { message: `the file of ${node} cannot be read: ${failure}` };
  if (found.kind === 'record' && hasEnded(found.record, epoch - 1)) return undefined;
  // Its node has never claimed anything; and where nothing is open, nothing needs to be asked of it.
  if ((found.kind === 'empty' || found.kind === 'missing') && !open) return undefined;
  const mustAgeMs = found.kind === 'record' ? found.record.takeoverAfterSeconds * 1000 : fallbackMs;
  const untilMs = firstSeenMs + mustAgeMs;
  if (round.answeredMs >= untilMs) return undefined;
  const what = found.kind === 'record' ? `says ${found.record.state}` : `is ${found.kind}`;
  return { message: `the file of ${node} ${what} and has not been the same for ${mustAgeMs} ms`, untilMs };
}

function hasEnded({ state, ended, claim, epoch }: ChannelRecord, before: number): boolean {
  return state === 'ended' && ended >= before && ended >= claim && ended >= epoch;
}

export type NeighbourState = 'seen' | 'notSeen' | 'unknown';

/**
 * Whether a node is alive, by its file. A record that says running counts as a change when it is first seen: who has just
 * begun to look must not call a node lost that is only cut from the API server, and could not start in its place sooner.
 */
export function neighbourState(sight: Sight | undefined, nowMs: number, fenceAfterMs: number): NeighbourState {
  if (sight?.found === undefined || nowMs - sight.lastReadMs > fenceAfterMs) return 'unknown';
  const { found, firstSeenMs } = sight;
  if (found.kind !== 'record' || found.record.state !== 'running') return 'notSeen';
  return nowMs - firstSeenMs < found.record.takeoverAfterSeconds * 1000 ? 'seen' : 'notSeen';
}

/** A beat that is late is looked for so much more often, for a while. */
const FINER = 8;
const LATE_PERIODS = 3;

/**
 * How long a node that does not tick may wait for its next look. It looks when the next beat is due, and a few times
 * more until that is there: so the last beat of a node that dies is first seen soon after it was written, and the gate
 * is through with it no later than the Lease.
 */
export function lookAgainAfterMs(sights: Sights, nowMs: number, renewEveryMs: number): number {
  let nextMs = renewEveryMs;
  for (const { found, firstSeenMs } of sights.values()) {
    if (found?.kind !== 'record' || found.record.state !== 'running') continue;
    const ageMs = nowMs - firstSeenMs;
    if (ageMs >= renewEveryMs * LATE_PERIODS) continue;
    nextMs = Math.min(nextMs, ageMs < renewEveryMs ? renewEveryMs - ageMs : renewEveryMs / FINER);
  }
  return Math.max(renewEveryMs / FINER, nextMs);
}
