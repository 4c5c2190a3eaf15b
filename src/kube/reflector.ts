import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Resource, Stored, WatchApi, WatchEvent } from './api.ts';
import { Expired, refusalError, Throttled, Unanswered, unreadable } from './errors.ts';
import { rawNamesOf } from './key.ts';

export interface ReflectorOptions<T extends Stored> {
  readonly api: WatchApi;
  readonly resource: Resource<T>;
  /** Undefined: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** `metadata.name=server1` watches one object, which RBAC by name allows. */
  readonly fieldSelector?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** A number in [0, 1), for jitter. Default `Math.random`. */
  readonly random?: () => number;
  /** The stream is opened anew when nothing came for so long. Default 90 000: 1.5 times the period of bookmarks. */
  readonly idleMs?: number;
  /** The longest pause between two attempts. Default 1 000: an outage must not outlast the API server's own. */
  readonly maxBackOffMs?: number;
  /**
   * Told of every change; `key` is `namespace/name`. `now` is undefined when the object is gone, and also when it became
   * unreadable, which {@link Reflector.problem} tells. Meant to put the key into a queue; what it throws is logged.
   */
  readonly onChange: (key: string, now: T | undefined, before: T | undefined) => void;
}

export interface Reflector<T> {
  /** Lists and watches until `signal` aborts. Never throws. */
  run(signal: AbortSignal): Promise<void>;
  /** The object as last heard of, which may be old: see {@link lastAliveMs}. Undefined too while it is unreadable. */
  get(key: string): T | undefined;
  /** All readable objects. */
  list(): readonly T[];
  /** Why an object that exists cannot be read. */
  problem(key: string): string | undefined;
  /** All of them. */
  problems(): { readonly key: string; readonly message: string }[];
  /** Whether a first list has been taken in. */
  synced(): boolean;
  /** Whether a stream is open, as far as we can tell. */
  connected(): boolean;
  /** When the server was last heard, by the boot clock; -Infinity before. */
  lastAliveMs(): number;
  /** Grows whenever the stream broke, and when it is whole again: what was concluded from silence is void. */
  gaps(): number;
  /** What the last attempt failed on, until one succeeds. */
  failure(): string | undefined;
}

/**
 * Keeps a copy of a kind by list and watch, as client-go's reflector does (`tools/cache/reflector.go`), through every
 * kind of failure; client-node's informer ends for ever on a reset connection.
 */
export function createReflector<T extends Stored>(options: ReflectorOptions<T>): Reflector<T> {
  return new ListWatch(options);
}

const PAGE_SIZE = 500;
const LIST_TIMEOUT_MS = 10_000;
/** client-go's series begins at 800 ms and ends at 30 s: we have a handful of watches, and how fast one comes back is service lost. */
const BACK_OFF_MS = 200;
const QUIET_RESETS_MS = 120_000;
/** The first attempt after a break comes almost at once. */
const FIRST_JITTER_MS = 50;
/** A watch that ends sooner than this without a word is a failure in disguise (client-go: "very short watch"). */
const VERY_SHORT_MS = 1_000;

type Entry<T> = { readonly uid: string; readonly resourceVersion: string } & (
  | { readonly object: T; readonly problem?: undefined }
  | { readonly object?: undefined; readonly problem: string }
);

class ListWatch<T extends Stored> implements Reflector<T> {
  readonly #o: ReflectorOptions<T>;
  readonly #random: () => number;
  readonly #log: Log;
  readonly #entries = new Map<string, Entry<T>>();
  /** The readable ones, until one changes: every look at the world asks for them. */
  #list: readonly T[] | undefined;
  /** Where the next watch begins; undefined when a list is needed. */
  #resourceVersion: string | undefined;
  #synced = false;
  #connected = false;
  #running = false;
  #lastAliveMs = Number.NEGATIVE_INFINITY;
  #gaps = 0;
  #failure: string | undefined;
  #failures = 0;
  /** The last failure was that what we knew is too old. */
  #expired = false;
  #lastFailureMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReflectorOptions<T>) {
    this.#o = options;
    this.#random = options.random ?? Math.random;
    this.#log = options.log.with({ watch: options.resource.plural });
  }

  get = (key: string) => this.#entries.get(key)?.object;
  problem = (key: string) => this.#entries.get(key)?.problem;
  synced = () => this.#synced;
  connected = () => this.#connected;
  lastAliveMs = () => this.#lastAliveMs;
  gaps = () => this.#gaps;
  failure = () => this.#failure;

  list(): readonly T[] {
    this.#list ??= [...this.#entries.values()].flatMap(({ object }) => (object === undefined ? [] : [object]));
    return this.#list;
  }

  problems(): { key: string; message: string }[] {
    return [...this.#entries].flatMap(([key, { problem }]) =>
      problem === undefined ? [] : [{ key, message: problem }],
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#running) throw new Error(`Cannot watch ${this.#o.resource.plural}: it is being watched; stop that first`);
    this.#running = true;
    while (!signal.aborted) {
      let pauseMs = this.#random() * FIRST_JITTER_MS;
      try {
        this.#resourceVersion ??= await this.#relist(signal);
        await this.#watch(this.#resourceVersion, signal);
      } catch (error) {
        if (signal.aborted) break;
        pauseMs = this.#noteFailure(error);
      } finally {
        this.#connected = false;
      }
      await this.#o.clock.sleep(pauseMs, signal).catch(() => {});
    }
    this.#running = false;
  }

  /** Takes in a whole list and returns its version. */
  async #relist(signal: AbortSignal): Promise<string> {
    const { api, resource, namespace, labelSelector, fieldSelector } = this.#o;
    const seen = new Set<string>();
    const listed: unknown[] = [];
    let next = '';
    let resourceVersion: string;
    do {
      const page = await api.listPage(resource, namespace, {
        signal,
        timeoutMs: LIST_TIMEOUT_MS,
        labelSelector,
        fieldSelector,
        limit: PAGE_SIZE,
        continue: next,
      });
      this.#alive();
      listed.push(...page.items);
      // Every page carries the version of the first.
      resourceVersion = page.resourceVersion;
      next = page.continue;
    } while (next !== '');
    for (const raw of listed) seen.add(this.#take(raw));
    for (const key of [...this.#entries.keys()]) if (!seen.has(key)) this.#drop(key);
    this.#synced = true;
    return resourceVersion;
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    const { api, resource, namespace, labelSelector, fieldSelector, clock, idleMs = 90_000 } = this.#o;
    const startMs = clock.nowMs();
    let events = 0;
    const stream = api.watch(resource, namespace, {
      signal,
      labelSelector,
      fieldSelector,
      resourceVersion: from,
      // Between 5 and 10 minutes, so that many watches do not end together.
      timeoutSeconds: Math.round(300 * (1 + this.#random())),
      idleMs,
      onOpen: () => this.#opened(),
    });
    for await (const event of stream) {
      events += 1;
      this.#alive();
      this.#handle(event);
    }
    signal.throwIfAborted();
    if (events === 0 && clock.nowMs() - startMs < VERY_SHORT_MS) {
      throw new Unanswered(`Cannot watch ${resource.plural}: the stream ended at once; it is opened again`);
    }
  }

  #handle({ type, object }: WatchEvent): void {
    if (type === 'ERROR') throw statusError(`watch ${this.#o.resource.plural}`, object);
    const { key, resourceVersion } = rawNamesOf(object);
    if (type === 'DELETED') this.#drop(key);
    else if (type !== 'BOOKMARK') this.#take(object);
    // Only once the copy holds it: a stream that breaks in between tells it again.
    if (resourceVersion !== '') this.#resourceVersion = resourceVersion;
  }

  #take(raw: unknown): string {
    const { key, uid, resourceVersion } = rawNamesOf(raw);
    const before = this.#entries.get(key);
    if (before && before.uid === uid && before.resourceVersion === resourceVersion) return key;
    // Deleted and made anew while we did not look.
    if (before && before.uid !== uid) this.#drop(key);
    const entry = this.#read(key, uid, resourceVersion, raw);
    this.#entries.set(key, entry);
    this.#list = undefined;
    this.#tell(key, entry.object, before?.uid === uid ? before.object : undefined);
    return key;
  }

  #read(key: string, uid: string, resourceVersion: string, raw: unknown): Entry<T> {
    const { resource } = this.#o;
    try {
      return { uid, resourceVersion, object: resource.parse(withoutManagedFields(raw)) };
    } catch (error) {
      const problem = unreadable(`read ${resource.kind} ${key}`, error).message;
      this.#log.error(problem, { key });
      return { uid, resourceVersion, problem };
    }
  }

  #drop(key: string): void {
    const before = this.#entries.get(key);
    if (!before) return;
    this.#entries.delete(key);
    this.#list = undefined;
    this.#tell(key, undefined, before.object);
  }

  #tell(key: string, now: T | undefined, before: T | undefined): void {
    try {
      this.#o.onChange(key, now, before);
    } catch (error) {
      this.#log.error('a handler failed', { key, error: describeError(error) });
    }
  }

  #opened(): void {
    this.#connected = true;
    this.#alive();
    if (this.#failure !== undefined) {
      // The second half of a gap: what looked unchanged while we could not look starts to count only now.
      this.#gaps += 1;
      this.#log.info('watching again', { gaps: this.#gaps });
    }
    this.#failure = undefined;
  }

  #alive(): void {
    this.#lastAliveMs = this.#o.clock.nowMs();
  }

  /** How long to wait before the next attempt. */
  #noteFailure(error: unknown): number {
    const { clock, maxBackOffMs = 1_000 } = this.#o;
    const nowMs = clock.nowMs();
    if (nowMs - this.#lastFailureMs > QUIET_RESETS_MS) this.#failures = 0;
    this.#lastFailureMs = nowMs;
    this.#failure = describeError(error);
    this.#gaps += 1;
    // The server is there and only wants to be listed anew, as after every restart of it: that is no reason to wait,
    // unless it says so again and again.
    const expired = error instanceof Expired;
    if (expired) this.#resourceVersion = undefined;
    const listAtOnce = expired && !this.#expired;
    this.#expired = expired;
    const backOffMs =
      this.#failures === 0 || listAtOnce
        ? this.#random() * FIRST_JITTER_MS
        : Math.min(maxBackOffMs, BACK_OFF_MS * 2 ** Math.min(this.#failures - 1, 20) * (1 + this.#random()));
    this.#failures += 1;
    const pauseMs = Math.max(backOffMs, askedPauseMs(error));
    this.#log.warn(this.#failure, { failures: this.#failures, pauseMs: Math.round(pauseMs) });
    return pauseMs;
  }
}

function askedPauseMs(error: unknown): number {
  return error instanceof Throttled || error instanceof Unanswered ? (error.retryAfterMs ?? 0) : 0;
}

/** An ERROR event carries the Status that a refused request would have been answered with. */
function statusError(doing: string, status: unknown): Error {
  const code = typeof status === 'object' && status !== null && 'code' in status ? Number(status.code) : 500;
  return refusalError(doing, { status: code, body: status, headers: {} });
}

/** Half of a small object's size in memory (measured), and nobody here reads them. */
function withoutManagedFields(raw: unknown): unknown {
  if (typeof raw !== 'object' || raw === null || !('metadata' in raw)) return raw;
  const { metadata } = raw;
  if (typeof metadata !== 'object' || metadata === null || !('managedFields' in metadata)) return raw;
  const { managedFields: _, ...rest } = metadata;
  return { ...raw, metadata: rest };
}
