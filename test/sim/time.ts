import { setFlagsFromString } from 'node:v8';
import type { Clock } from '../../src/base/clock.ts';
import type { Chance } from './chance.ts';

/**
 * Something that lives, may be stopped and go on, and may die: a machine, an agent, a shim, a controller. Whatever is to
 * happen to it while it is stopped happens when it goes on; once it is dead, nothing does any more.
 */
export class Actor {
  readonly name: string;
  readonly #parent: Actor | undefined;
  #stopped = false;
  #dead = false;
  #lag = { atMs: -1, ms: 0 };
  /** Called as it goes on or dies, by what waits for it. */
  readonly #onGo: (() => void)[] = [];

  constructor(name: string, parent?: Actor) {
    this.name = name;
    this.#parent = parent;
  }

  get dead(): boolean {
    return this.#dead || this.#parent?.dead === true;
  }

  get stopped(): boolean {
    return this.#stopped || this.#parent?.stopped === true;
  }

  stop(): void {
    this.#stopped = true;
  }

  go(): void {
    this.#stopped = false;
    this.wake();
  }

  die(): void {
    this.#dead = true;
    this.#onGo.length = 0;
  }

  /** How long it takes to go on; drawn once for each time. */
  lagMs(time: Time): number {
    if (this.#lag.atMs !== time.nowMs) this.#lag = { atMs: time.nowMs, ms: time.chance.longTail(0, 60) };
    return this.#lag.ms;
  }

  /** Runs `then` when nothing holds it back any more. */
  whenItGoes(then: () => void): void {
    if (this.#stopped) this.#onGo.push(then);
    else if (this.#parent?.stopped) this.#parent.whenItGoes(() => (this.stopped ? this.whenItGoes(then) : then()));
    else then();
  }

  wake(): void {
    const waiting = this.#onGo.splice(0);
    for (const then of waiting) then();
  }
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly actor: Actor;
  run: () => void;
  cancelled: boolean;
}

/** True time, and all that is yet to happen, in one queue. Nothing real passes. */
export class Time {
  nowMs = 0;
  events = 0;
  readonly chance: Chance;
  #heap: Event[] = [];
  #order = 0;
  /** How many of the heap are cancelled, at most. */
  #cancelled = 0;

  constructor(chance: Chance) {
    this.chance = chance;
  }

  /** In `ms` of true time `actor` does `run`. The returned function cancels it. */
  in(ms: number, actor: Actor, run: () => void): () => void {
    const event = { atMs: this.nowMs + Math.max(0, ms), order: this.#order++, actor, run, cancelled: false };
    push(this.#heap, event);
    return () => {
      if (event.cancelled) return;
      event.cancelled = true;
      event.run = NOTHING;
      this.#cancelled += 1;
      if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) this.#sweep();
    };
  }

  /** Most limits are never reached: without this, those of the last minute are all that the heap holds. */
  #sweep(): void {
    this.#heap = this.#heap.filter(({ cancelled }) => !cancelled).sort((a, b) => (isBefore(a, b) ? -1 : 1));
    this.#cancelled = 0;
  }

  /** Until `untilMs`, or until `check` says that it is enough. `check` is asked after every event. */
  async pass(untilMs: number, check: () => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      realImmediate(() => {
        try {
          this.#pass(untilMs, check);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #pass(untilMs: number, check: () => boolean): void {
    drain();
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) break;
      pop(this.#heap);
      if (event.cancelled || event.actor.dead) continue;
      this.nowMs = Math.max(this.nowMs, event.atMs);
      if (event.actor.stopped) {
        // Each that was stopped goes on after a moment of its own; what has waited for it comes in its order.
        event.actor.whenItGoes(() => {
          this.in(event.actor.lagMs(this), event.actor, () => !event.cancelled && event.run());
        });
        continue;
      }
      this.events += 1;
      if (this.events > MOST_EVENTS) throw new BusyLoop(`more than ${MOST_EVENTS} things have happened`);
      event.run();
      drain();
      if (check()) return;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }
}

function NOTHING(): void {}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (isBefore(heap[parent]!, event)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
    if (isBefore(last, heap[child]!)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

const realImmediate = globalThis.setImmediate;
const immediates: (() => void)[] = [];

/** Until nothing is left to run but what waits for an event: every promise callback, and every turn that was asked for. */
function drain(): void {
  let turns = 0;
  do {
    if (immediates.length > 0) for (const run of immediates.splice(0)) run();
    runPromiseCallbacks();
    turns += 1;
    if (turns > MOST_TURNS) throw new BusyLoop(`somebody still wants one more turn of the loop after ${MOST_TURNS}`);
  } while (immediates.length > 0);
}

/**
 * All there are, at once. A real turn of the loop would do the same and take ten times as long. It does nothing from
 * within a promise callback, so {@link Time.pass} runs outside of any.
 */
const runPromiseCallbacks = nativePromiseCallbacks();

function nativePromiseCallbacks(): () => void {
  setFlagsFromString('--allow-natives-syntax');
  const run = new Function('%PerformMicrotaskCheckpoint()') as () => void; // its body says so
  setFlagsFromString('--no-allow-natives-syntax');
  return run;
}

/** A run has a few thousand. */
const MOST_EVENTS = 100_000;

/** Far more than anything takes that has something to do. */
const MOST_TURNS = 200;

/** Somebody keeps the processor busy without waiting for anything. */
export class BusyLoop extends Error {
  override name = 'BusyLoop';
}

/**
 * While `act` runs, the two things that code takes from the process without asking are ours: turns of the loop, so that
 * we know when there are no more, and chance.
 */
export async function withOwnWorld<T>(chance: Chance, act: () => Promise<T>): Promise<T> {
  const realRandom = Math.random;
  const ours = (run: (...args: unknown[]) => void, ...args: unknown[]) => void immediates.push(() => run(...args));
  globalThis.setImmediate = ours as unknown as typeof setImmediate;
  Math.random = () => chance.next();
  // Errors are answers here; where they were made is not asked, and would take longer than the rest of the answer.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return await act();
  } finally {
    globalThis.setImmediate = realImmediate;
    Math.random = realRandom;
    Error.stackTraceLimit = stackTraceLimit;
    immediates.length = 0;
  }
}

/** The clock of one machine since its boot: fast or slow by `rate`, in steps of 10 ms as /proc/uptime has them. */
export interface Crystal {
  readonly bootedAtMs: number;
  readonly rate: number;
}

const WALL_START_MS = Date.UTC(2026, 10, 23, 12);
/** How late a timer may fire on a busy machine; seldom near it. */
const LATEST_TIMER_MS = 40;

export function clockOf(time: Time, actor: Actor, { bootedAtMs, rate }: Crystal): Clock {
  const after = (ms: number, run: () => void) => {
    const lateMs = time.chance.longTail(0.1, LATEST_TIMER_MS);
    return time.in(Math.max(0, ms) / rate + lateMs, actor, run);
  };
  return {
    nowMs: () => Math.floor(((time.nowMs - bootedAtMs) * rate) / 10) * 10,
    wall: () => new Date(WALL_START_MS + Math.floor(time.nowMs)),
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const stop = () => {
          cancel();
          reject(signal?.reason);
        };
        const cancel = after(ms, () => {
          signal?.removeEventListener('abort', stop);
          resolve();
        });
        signal?.addEventListener('abort', stop, { once: true });
      }),
  };
}
