import type { Clock } from './clock.ts';
import { describeError, PersonNeededError, WaitError } from './errors.ts';
import type { Log } from './log.ts';

export interface QueueOptions {
  /** Names the queue in logs. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /** A number in [0, 1), for jitter. */
  readonly random: () => number;
  /** How many keys are worked on at once. */
  readonly workers: number;
  /**
   * Looks at the object behind `key` and brings it on. Returns when to look again, if the time matters. `signal` aborts
   * when the queue stops or the time-out has passed.
   */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Reconciled>;
  /** The delay after a first error; it doubles with every further one. Default 5. */
  readonly baseDelayMs?: number;
  /** The longest delay after an error. Default 30 000. */
  readonly maxDelayMs?: number;
  /** A reconcile's signal aborts after so long. Default 60 000. */
  readonly timeoutMs?: number;
  /** Keys the queue knows at once; {@link Queue.add} refuses more. Default 10 000. */
  readonly capacity?: number;
  /** Told after every pass, for metrics. */
  readonly onPass?: (pass: QueuePass) => void;
}

/** Nothing more to do until something changes, or: look again in `afterMs`. */
// biome-ignore lint/suspicious/noConfusingVoidType: an async function that returns nothing has the type Promise<void>.
export type Reconciled = void | { readonly afterMs: number };

export interface QueuePass {
  readonly key: string;
  readonly outcome: 'done' | 'later' | 'error' | 'personNeeded';
  /** From the key becoming due to the start of the pass. */
  readonly waitedMs: number;
  readonly tookMs: number;
}

export interface Queue {
  /** Makes `key` due now. False when the queue is full: the key is not taken. */
  add(key: string): boolean;
  /** Makes `key` due in `ms`, unless it is due earlier anyway. False when the queue is full. */
  addAfter(key: string, ms: number): boolean;
  /** Drops what is remembered of a key that is gone: its errors and the time it was to be looked at again. */
  forget(key: string): void;
  /** Works until `signal` aborts; resolves when the last pass under way has ended. May be called once at a time. */
  run(signal: AbortSignal): Promise<void>;
  /** Keys that are due and wait for a worker. */
  depth(): number;
}

/**
 * A queue of keys. A key stands in it once, is never worked on twice at the same time, and is looked at once more when
 * it was added during its own pass. Errors are retried with back-off per key, see `errors.ts` for the kinds.
 */
export function createQueue(options: QueueOptions): Queue {
  return new KeyQueue(options);
}

interface Later {
  readonly atMs: number;
  readonly cancel: () => void;
}

class KeyQueue implements Queue {
  readonly #options: Required<Omit<QueueOptions, 'onPass'>> & Pick<QueueOptions, 'onPass'>;
  readonly #log: Log;
  /** Key → when it became due, in the order of becoming so. */
  readonly #due = new Map<string, number>();
  readonly #later = new Map<string, Later>();
  readonly #working = new Set<string>();
  /** Added while being worked on. */
  readonly #again = new Set<string>();
  /** Errors in a row. */
  readonly #errors = new Map<string, number>();
  #running: AbortSignal | undefined;
  #onIdle: (() => void) | undefined;
  #full = false;

  constructor(options: QueueOptions) {
    this.#options = { baseDelayMs: 5, maxDelayMs: 30_000, timeoutMs: 60_000, capacity: 10_000, ...options };
    this.#log = options.log.with({ queue: options.name });
  }

  add(key: string): boolean {
    if (!this.#admits(key)) return false;
    this.#makeDue(key);
    return true;
  }

  addAfter(key: string, ms: number): boolean {
    if (ms <= 0) return this.add(key);
    if (!this.#admits(key)) return false;
    const atMs = this.#options.clock.nowMs() + ms;
    const planned = this.#later.get(key);
    if (planned && planned.atMs <= atMs) return true;
    planned?.cancel();
    const cancel = this.#options.clock.after(ms, () => {
      this.#later.delete(key);
      this.#makeDue(key);
    });
    this.#later.set(key, { atMs, cancel });
    return true;
  }

  forget(key: string): void {
    this.#errors.delete(key);
    this.#later.get(key)?.cancel();
    this.#later.delete(key);
  }

  depth(): number {
    return this.#due.size;
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#running) throw new Error(`Cannot run queue ${this.#options.name}: it runs already; stop it first`);
    if (signal.aborted) return;
    this.#running = signal;
    const ended = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const stop = () => this.#finishWhenIdle();
    signal.addEventListener('abort', stop, { once: true });
    this.#pump();
    await ended;
    for (const { cancel } of this.#later.values()) cancel();
    this.#later.clear();
    this.#running = undefined;
  }

  #makeDue(key: string): void {
    if (this.#working.has(key)) this.#again.add(key);
    else if (!this.#due.has(key)) this.#due.set(key, this.#options.clock.nowMs());
    this.#pump();
  }

  #admits(key: string): boolean {
    if (this.#due.has(key) || this.#later.has(key) || this.#working.has(key)) return true;
    if (this.#due.size + this.#later.size + this.#working.size < this.#options.capacity) {
      this.#full = false;
      return true;
    }
    // Said once per overflow: a full queue is a fault of ours, and must not fill the log as well.
    if (!this.#full) this.#log.error('the queue is full; keys are refused', { key, capacity: this.#options.capacity });
    this.#full = true;
    return false;
  }

  #pump(): void {
    while (this.#running && !this.#running.aborted && this.#working.size < this.#options.workers) {
      const next = this.#due.entries().next();
      if (next.done) return;
      const [key, sinceMs] = next.value;
      this.#due.delete(key);
      this.#working.add(key);
      void this.#pass(key, sinceMs, this.#running);
    }
  }

  async #pass(key: string, dueSinceMs: number, stop: AbortSignal): Promise<void> {
    const { clock, reconcile, timeoutMs, onPass } = this.#options;
    const startMs = clock.nowMs();
    const limit = linkedAbort(stop);
    const cancel = clock.after(timeoutMs, () => {
      this.#log.warn('a pass takes too long; told to stop', { key, timeoutMs });
      limit.abort(new Error(`Cannot finish ${key} in time: still at work after ${timeoutMs} ms; the pass is cut off`));
    });
    let outcome: QueuePass['outcome'];
    try {
      outcome = this.#settle(key, await reconcile(key, limit.signal));
    } catch (error) {
      outcome = this.#settleError(key, error, stop.aborted);
    } finally {
      cancel();
      limit.unlink();
      this.#working.delete(key);
    }
    if (this.#again.delete(key)) this.#makeDue(key);
    this.#pump();
    this.#finishWhenIdle();
    onPass?.({ key, outcome, waitedMs: startMs - dueSinceMs, tookMs: clock.nowMs() - startMs });
  }

  #settle(key: string, result: Reconciled): QueuePass['outcome'] {
    this.#errors.delete(key);
    if (!result) return 'done';
    // Never at once: an answer of "in 0 ms" that repeats would be a loop without an end.
    this.addAfter(key, Math.max(result.afterMs, this.#options.baseDelayMs));
    return 'later';
  }

  #settleError(key: string, error: unknown, stopping: boolean): QueuePass['outcome'] {
    if (stopping) return 'error';
    if (error instanceof WaitError) {
      this.#log.info(describeError(error), { key, afterMs: error.afterMs });
      return this.#settle(key, { afterMs: error.afterMs });
    }
    if (error instanceof PersonNeededError) {
      this.#errors.delete(key);
      this.#log.error(describeError(error), { key });
      return 'personNeeded';
    }
    const errors = (this.#errors.get(key) ?? 0) + 1;
    this.#errors.set(key, errors);
    const afterMs = this.#backOffMs(errors);
    this.#log.warn(describeError(error), { key, errors, afterMs });
    this.addAfter(key, afterMs);
    return 'error';
  }

  /** Between half and the whole of base × 2^(n-1), so that keys that failed together do not come back together. */
  #backOffMs(errors: number): number {
    const { baseDelayMs, maxDelayMs, random } = this.#options;
    return Math.min(maxDelayMs, baseDelayMs * 2 ** Math.min(errors - 1, 30)) * (1 - random() / 2);
  }

  #finishWhenIdle(): void {
    if (this.#running?.aborted && this.#working.size === 0) this.#onIdle?.();
  }
}

/** A controller that aborts with `parent`. By hand: `AbortSignal.any` keeps an entry in a long-lived parent. */
function linkedAbort(parent: AbortSignal): AbortController & { unlink(): void } {
  const child = new AbortController();
  const follow = () => child.abort(parent.reason);
  if (parent.aborted) follow();
  else parent.addEventListener('abort', follow, { once: true });
  return Object.assign(child, { unlink: () => parent.removeEventListener('abort', follow) });
}
