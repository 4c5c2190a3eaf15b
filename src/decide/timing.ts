import { durationMs } from '../crds/duration.ts';
import type { FailoverNodeSpec } from '../crds/failovernode.ts';

/**
 * Every duration of the safety protocol, and every sum of them, in milliseconds.
 *
 * Why a take-over is safe: the last successful renewal of a node was sent at s, and its process is gone by
 * s + fenceAfter + killWithin. The controller saw that renewal at t >= s and fences at t + takeoverAfter at the
 * earliest. Two clocks measure the two sides, so the sum is stretched by what they may drift apart.
 */
export interface Timing {
  /** How often the agent renews its Lease. */
  readonly renewEveryMs: number;
  /** From the sending of a renewal until the node ends what it runs, if no later one succeeds. */
  readonly fenceAfterMs: number;
  /** From the deadline until no process is left. */
  readonly killWithinMs: number;
  /** How long a Lease is left to age, as its writer asks. In whole seconds: a Lease counts in seconds. */
  readonly takeoverAfterMs: number;
}

/** What one clock may run fast or slow: 0.1 %, ten times what chrony calls a bad crystal. */
export const CLOCK_DRIFT = 0.001;

/** What is kept in hand for the 10 ms steps of the boot clock, for timers that fire late, for scheduling. */
export const MARGIN_MS = 500;

/** The longest `takeoverAfter` that admission lets anybody ask for. */
export const LONGEST_TAKEOVER_MS = 600_000;

export function timingOf(spec: FailoverNodeSpec['timing']): Timing {
  return {
    renewEveryMs: durationMs(spec.renewEvery),
    fenceAfterMs: durationMs(spec.fenceAfter),
    killWithinMs: durationMs(spec.killWithin),
    takeoverAfterMs: durationMs(spec.takeoverAfter),
  };
}

/** The shortest safe `takeoverAfter`. The CEL rule of FailoverNode computes the same sum. */
export function shortestTakeoverMs(timing: Pick<Timing, 'fenceAfterMs' | 'killWithinMs'>): number {
  return (timing.fenceAfterMs + timing.killWithinMs) * (1 + 2 * CLOCK_DRIFT) + MARGIN_MS;
}

/** Undefined when the sum holds, else the sum in words. */
export function timingProblem(timing: Timing): string | undefined {
  const shortestMs = shortestTakeoverMs(timing);
  if (timing.takeoverAfterMs >= shortestMs) return undefined;
  return `takeoverAfter ${timing.takeoverAfterMs} ms is too short: (fenceAfter ${timing.fenceAfterMs} + killWithin ${timing.killWithinMs}) x ${1 + 2 * CLOCK_DRIFT} + ${MARGIN_MS} = ${shortestMs} ms`;
}

/** What the answer to "when is it served again" rests on beside the nodes' own timing. */
export interface Recovery {
  /** The longest `takeoverAfter` of any record that there may still be. */
  readonly takeoverAfterMs: number;
  /** From the last fault until every client hears of every change again. */
  readonly newsMs: number;
  /** Until there is a controller that leads: the others' wait for one that is gone, and their next look. */
  readonly electionMs: number;
  /** The longest pause before a process that has ended often is started again. */
  readonly restartPauseMs: number;
  /** From the assignment until the process serves: answers, the disk, the start itself. */
  readonly startMs: number;
  /** Whether a second channel is in force. */
  readonly heartbeat: boolean;
  /** Where a group has `fencing.policy: Instance`. */
  readonly power?: Power;
}

/** What the power of instances takes, each at its longest. */
export interface Power {
  /** From StopInstances until EC2 says `stopped`; from StartInstances until it says `running`. */
  readonly stopMs: number;
  readonly startMs: number;
  /** From then until the node is in touch. */
  readonly bootMs: number;
  /** The longest pause between two rounds of questions to EC2, and what a question that was sent before it may take. */
  readonly askMs: number;
  /** The shortest such pause, which it is again as soon as EC2 answers. */
  readonly roundMs: number;
  /** How long nobody must have needed an instance to be off before it is started again. */
  readonly startAfterMs: number;
  /** The pause after a start that was refused. */
  readonly refusedMs: number;
}

/**
 * Once nothing fails any more and one node of a group is well, the group is served within this: what may have to come
 * one after the other, each at its longest. Nobody waits for it; the simulator holds the product to it.
 */
export function servedWithinMs(r: Recovery): number {
  // A gap in the controller's watch starts the count of an aging Lease again.
  const agesMs = 2 * r.takeoverAfterMs;
  // A gate waits for each file of another node to age, all at the same time; a claim that it reads sends the group
  // through one more assignment, and one more gate.
  const gateMs = r.heartbeat ? 2 * r.takeoverAfterMs + r.startMs : 0;
  return r.newsMs + r.electionMs + agesMs + gateMs + powerMs(r.power) + r.restartPauseMs + r.startMs;
}

/**
 * The one node that is well may itself be on its way off, for a node that was well then: it is stopped, started again
 * because there is nowhere else to go, and boots. Another group may be on a node that is lost: that is fenced meanwhile,
 * but its instance is stopped only when there is somewhere to go.
 */
function powerMs(power: Power | undefined): number {
  if (power === undefined) return 0;
  const { stopMs, startMs, bootMs, askMs, roundMs, startAfterMs, refusedMs } = power;
  // After the stop: asked once more to stop, which finds it stopped; read; and the next look at what was read.
  const offMs = askMs + stopMs + 3 * roundMs;
  const onMs = startAfterMs + refusedMs + startMs + bootMs;
  return offMs + onMs + offMs;
}

/**
 * The HTTP time-out of one renewal. Shorter than a third of `fenceAfter`, so that a hung request leaves time for two
 * more (kubernetes/kubernetes#44887: a client time-out longer than the lease made two leaders).
 */
export function renewTimeoutMs(timing: Timing): number {
  return Math.max(50, Math.floor(timing.fenceAfterMs / 3) - 50);
}

/** The pace of retries after a renewal failed: fixed and short, never growing. */
export function renewRetryMs(timing: Timing): number {
  return Math.min(250, timing.renewEveryMs);
}
