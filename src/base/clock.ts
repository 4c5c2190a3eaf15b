import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Time, as everything here that waits or measures sees it. The simulator and the tests bring their own.
 *
 * `nowMs` is the boot clock: it never goes back and goes on while the machine is suspended, so a node that stood still
 * does not wake believing its lease fresh. Wall clocks are for people only and never enter a decision.
 */
export interface Clock {
  /** Milliseconds since boot. */
  nowMs(): number;
  /** The wall clock, for people. */
  wall(): Date;
  /** Resolves after `ms`, or rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms`; the returned function cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** The real one. Never keeps the process alive by a pending {@link Clock.after}. */
export const bootClock: Clock = {
  nowMs: bootNowMs,
  wall: () => new Date(),
  sleep: async (ms, signal) => {
    await delay(Math.max(0, ms), undefined, signal ? { signal } : {});
  },
  after: (ms, run) => {
    const timer = setTimeout(run, Math.max(0, ms));
    return () => clearTimeout(timer);
  },
};

/**
 * `/proc/uptime` follows CLOCK_BOOTTIME; Node's `process.hrtime` and `performance.now` follow CLOCK_MONOTONIC, which
 * stands still during a suspend (proc(5), clock_gettime(2)). Its steps are 10 ms, rounded down: a send time taken from
 * it is never later than the truth, which is the safe side for a deadline.
 */
function bootNowMs(): number {
  const text = readFileSync('/proc/uptime', 'latin1');
  return Math.round(Number(text.slice(0, text.indexOf(' '))) * 1000);
}
