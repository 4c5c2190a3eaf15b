import { bootClock, type Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Ec2, RouteOrder, RouteTable } from './ec2.ts';
import { NoSuchRoute, RouteExists, Throttled, Unanswered } from './errors.ts';

/** Where an address belongs: in each of these tables, a route to this interface. */
export interface RouteWish {
  /** In CIDR notation, canonical: `10.1.0.20/32`. */
  readonly destination: string;
  readonly tableIds: readonly string[];
  readonly networkInterfaceId: string;
}

/**
 * How one route stands, as AWS showed it last:
 * - InPlace: it leads where it belongs, and there is something there.
 * - Blackhole: it leads where it belongs, and AWS says that nothing takes its traffic.
 * - Elsewhere: it leads to something else.
 * - Missing: there is no route.
 * - Refused: it is not in place, and AWS said no to putting it there, or there is no such table.
 * - Unknown: AWS did not tell. Never read this as any of the others.
 */
export type RouteState = 'InPlace' | 'Blackhole' | 'Elsewhere' | 'Missing' | 'Refused' | 'Unknown';

export interface RouteFinding {
  readonly destination: string;
  readonly tableId: string;
  readonly state: RouteState;
  /** What it leads to, where there is a route. */
  readonly target?: string;
  /** For every state but InPlace: what is wrong, for people. */
  readonly message?: string;
  /** When AWS accepted the change, counted from the call of {@link ensureRoutes}; absent when none was accepted. */
  readonly acceptedAfterMs?: number;
}

export interface ReadOptions {
  /** Everything ends within this time; what is not known by then is Unknown. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Default: the real ones. */
  readonly clock?: Clock;
  /** From 0 to 1, for the jitter of the back-off. */
  readonly random?: () => number;
}

export interface EnsureOptions extends ReadOptions {
  /** Asked before every single change: false once another controller leads, or another epoch has begun. */
  readonly stillMine: () => boolean;
}

/** The first pause after a throttled or unanswered call, doubled up to the longest. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 800;

/** What is kept of `timeoutMs` for reading back, so that one table that hangs does not leave the others unknown. */
const READ_BACK_SHARE = 1 / 3;

/**
 * "The EC2 API follows an eventual consistency model": a read right after an accepted change may show the state before
 * it (Amazon EC2 API Reference, Ensure idempotency and eventual consistency). So often it is read again.
 */
const READ_BACK_TIMES = 4;

/** No error leads from replace to create and back more often than somebody else's changes explain. */
const MOST_VERB_CHANGES = 4;

/**
 * Points every route at its interface, all at once, and reads back what came of it. Without looking first: a look costs
 * a round trip, and a route that is right already is not harmed. A route that is not there is created.
 *
 * Every route is on its own: one that is throttled, refused or hangs delays no other. Never rejects.
 */
export async function ensureRoutes(
  ec2: Ec2,
  wishes: readonly RouteWish[],
  options: EnsureOptions,
): Promise<RouteFinding[]> {
  const orders = ordersOf(wishes);
  if (orders.length === 0) return [];
  const span = new Span(options);
  try {
    const moving = new Span({
      ...options,
      timeoutMs: options.timeoutMs * (1 - READ_BACK_SHARE),
      signal: span.signal,
    });
    const attempts = await Promise.all(orders.map((order) => move(ec2, order, options.stillMine, moving)));
    moving.close();
    return await readBack(ec2, orders, attempts, span);
  } finally {
    span.close();
  }
}

/** Looks, and changes nothing. One question for all tables of all wishes. Never rejects. */
export async function readRoutes(
  ec2: Ec2,
  wishes: readonly RouteWish[],
  options: ReadOptions,
): Promise<RouteFinding[]> {
  const orders = ordersOf(wishes);
  if (orders.length === 0) return [];
  const span = new Span(options);
  try {
    const seen = await readTables(ec2, orders, span, false);
    return orders.map((order) => judgeRoute(order, seen, undefined));
  } finally {
    span.close();
  }
}

/** What came of trying to change one route. */
export type Attempt =
  | { readonly outcome: 'accepted'; readonly afterMs: number }
  | { readonly outcome: 'refused'; readonly message: string }
  | { readonly outcome: 'unanswered'; readonly message: string }
  | { readonly outcome: 'notMine' };

/** What a look at the tables brought: them, or why not. */
export type Seen = ReadonlyMap<string, RouteTable | 'missing'> | { readonly unread: string };

/** Pure: how a route stands, from what was seen and, if one was made, from what came of the attempt to change it. */
export function judgeRoute(order: RouteOrder, seen: Seen, attempt: Attempt | undefined): RouteFinding {
  const { destination, tableId, networkInterfaceId: wanted } = order;
  const accepted = attempt?.outcome === 'accepted' ? { acceptedAfterMs: attempt.afterMs } : {};
  const finding = { destination, tableId, ...accepted };
  const tried = attempt === undefined ? undefined : attemptInWords(attempt);
  const because = tried === undefined ? '' : `; ${tried}`;

  if ('unread' in seen) {
    if (attempt?.outcome === 'refused') return { ...finding, state: 'Refused', message: attempt.message };
    return { ...finding, state: 'Unknown', message: tried === undefined ? seen.unread : `${seen.unread}; ${tried}` };
  }

  const table = seen.get(tableId) ?? 'missing';
  if (table === 'missing') {
    return {
      ...finding,
      state: 'Refused',
      message: `Cannot lead ${destination} to ${wanted}: route table ${tableId} does not exist in this region; correct routeTableIds`,
    };
  }

  const route = table.routes.find((candidate) => sameCidr(candidate.destination, destination));
  const state = attempt?.outcome === 'refused' ? 'Refused' : undefined;
  if (route === undefined) {
    const message = state ? tried! : `Route table ${tableId} has no route to ${destination}${because}`; // Refused has an attempt
    return { ...finding, state: state ?? 'Missing', message };
  }
  if (route.target !== wanted) {
    const message = `Route table ${tableId} leads ${destination} to ${route.target} and not to ${wanted}${because}`;
    return { ...finding, state: state ?? 'Elsewhere', target: route.target, message };
  }
  if (route.state === 'blackhole') {
    const message = `Route table ${tableId} leads ${destination} to ${wanted}, which takes no traffic: it is detached, or its instance does not run`;
    return { ...finding, state: 'Blackhole', target: wanted, message };
  }
  return { ...finding, state: 'InPlace', target: wanted };
}

function attemptInWords(attempt: Attempt): string | undefined {
  switch (attempt.outcome) {
    case 'accepted':
      return undefined;
    case 'refused':
    case 'unanswered':
      return attempt.message;
    case 'notMine':
      return 'not changed: another controller leads, or a newer assignment holds';
  }
}

/** EC2 answers in canonical form; one spelling of an IPv6 address is compared with another by its parts. */
function sameCidr(a: string, b: string): boolean {
  return a === b || (a.includes(':') && b.includes(':') && canonicalV6(a) === canonicalV6(b));
}

function canonicalV6(cidr: string): string {
  const [address, length] = cidr.split('/');
  const url = `http://[${address}]/`;
  return URL.canParse(url) ? `${new URL(url).hostname}/${length}` : cidr;
}

function ordersOf(wishes: readonly RouteWish[]): RouteOrder[] {
  return wishes.flatMap(({ destination, tableIds, networkInterfaceId }) =>
    tableIds.map((tableId) => ({ tableId, destination, networkInterfaceId })),
  );
}

async function move(ec2: Ec2, order: RouteOrder, stillMine: () => boolean, span: Span): Promise<Attempt> {
  let verb: Verb = 'replaceRoute';
  let verbChanges = 0;
  for (let pauseMs = FIRST_PAUSE_MS; ; ) {
    if (!stillMine()) return { outcome: 'notMine' };
    try {
      await ec2[verb](order, { timeoutMs: span.leftMs(), signal: span.signal, urgent: true });
      return { outcome: 'accepted', afterMs: span.elapsedMs() };
    } catch (error) {
      const other: Verb = verbInstead(error) ?? verb;
      if (other !== verb && verbChanges < MOST_VERB_CHANGES) {
        verb = other;
        verbChanges += 1;
        continue;
      }
      const message = describeError(error);
      if (!isPassing(error)) return { outcome: 'refused', message };
      if (!(await span.pause(pauseMs))) return { outcome: 'unanswered', message };
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
  }
}

type Verb = 'replaceRoute' | 'createRoute';

/** EC2 has a call for a route that is there and one for a route that is not, and says when it was the wrong one. */
function verbInstead(error: unknown): Verb | undefined {
  if (error instanceof NoSuchRoute) return 'createRoute';
  if (error instanceof RouteExists) return 'replaceRoute';
  return undefined;
}

/** A change may be repeated when it is not known what came of it: each of them says what is to be, not what to do. */
function isPassing(error: unknown): boolean {
  return error instanceof Throttled || error instanceof Unanswered;
}

async function readBack(ec2: Ec2, orders: RouteOrder[], attempts: Attempt[], span: Span): Promise<RouteFinding[]> {
  let pauseMs = FIRST_PAUSE_MS;
  for (let time = 1; ; time += 1) {
    const seen = await readTables(ec2, orders, span, true);
    const findings = orders.map((order, i) => judgeRoute(order, seen, attempts[i]));
    const stale = findings.some(
      (finding) =>
        finding.acceptedAfterMs !== undefined && (finding.state === 'Elsewhere' || finding.state === 'Missing'),
    );
    if (!stale || time === READ_BACK_TIMES || !(await span.pause(pauseMs))) return findings;
    pauseMs *= 2;
  }
}

async function readTables(ec2: Ec2, orders: readonly RouteOrder[], span: Span, urgent: boolean): Promise<Seen> {
  const tableIds = [...new Set(orders.map((order) => order.tableId))];
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      const call = { timeoutMs: span.leftMs(), signal: span.signal, urgent };
      return await ec2.describeRoutes(tableIds, call);
    } catch (error) {
      const unread = describeError(error);
      if (!isPassing(error) || !(await span.pause(pauseMs))) return { unread };
    }
  }
}

/** A stretch of time with an end. */
class Span {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #startMs: number;
  readonly #timeoutMs: number;
  readonly #end = new AbortController();
  readonly #cancel: () => void;
  readonly signal: AbortSignal;

  constructor(options: ReadOptions) {
    this.#clock = options.clock ?? bootClock;
    this.#random = options.random ?? Math.random;
    this.#startMs = this.#clock.nowMs();
    this.#timeoutMs = options.timeoutMs;
    this.#cancel = this.#clock.after(options.timeoutMs, () => this.#end.abort());
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#end.signal]) : this.#end.signal;
  }

  elapsedMs(): number {
    return this.#clock.nowMs() - this.#startMs;
  }

  leftMs(): number {
    return Math.max(0, this.#timeoutMs - this.elapsedMs());
  }

  /** Waits about `ms` and says true; false at once when that would not end in time. */
  async pause(ms: number): Promise<boolean> {
    const jitteredMs = ms * (0.5 + this.#random() / 2);
    if (this.signal.aborted || this.leftMs() <= jitteredMs) return false;
    return await this.#clock.sleep(jitteredMs, this.signal).then(
      () => true,
      () => false,
    );
  }

  close(): void {
    this.#cancel();
  }
}
