import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Deadline } from '../decide/agent.ts';
import { renewRetryMs, renewTimeoutMs, type Timing } from '../decide/timing.ts';
import { type LeaseSite, renewLease, takeLease } from '../kube/lease.ts';
import { leases, type NodeLease } from '../kube/resources.ts';

/** Keeps this node's Lease, and says how long what it runs may live. */
export interface LeaseKeeper {
  /** Until the signal aborts; the Lease is left as it is. Never throws. */
  run(signal: AbortSignal): Promise<void>;
  /** Undefined while no Lease is held. */
  incarnation(): number | undefined;
  deadline(): Deadline;
  /** The timing in force has changed. */
  timingChanged(): void;
  /** What the last attempt failed on. */
  failure(): string | undefined;
}

/** What must be true before the Lease may be taken as a new incarnation. */
export interface Prepared {
  /** Nothing that ran before has anything under way on a disk. */
  readonly settled: boolean;
  /** The new incarnation is above this. */
  readonly floor: number;
}

export interface LeaseKeeperOptions {
  readonly site: LeaseSite;
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: Log;
  /** The timing of the spec, as last seen. */
  readonly timing: () => Timing;
  /** What an earlier agent of this boot held; undefined: there was none, or it is not known. */
  readonly remembered: () => number | undefined;
  /** Ends everything this node ever started; resolves when two scans have found nothing. */
  readonly prepare: (found: NodeLease | undefined, signal: AbortSignal) => Promise<Prepared>;
  /** No deadline is later than this, when it resolves: each shim has said yes, or is dead with its group. */
  readonly cutDeadlines: (untilMs: number) => Promise<void>;
  /** Stored before anything may start under it. */
  readonly onTaken: (incarnation: number) => void;
  /** Held, and renewed: deadlines may go up to this. */
  readonly onDeadline: (deadline: Deadline) => void;
  /** Nothing may start and everything must end. */
  readonly onLost: () => void;
}

/** How long one request to take or read the Lease may take. */
const TAKE_LIMIT_MS = 3_000;

const NEVER: Deadline = { untilMs: Number.NEGATIVE_INFINITY, unbrokenSinceMs: Number.POSITIVE_INFINITY };

export function createLeaseKeeper(options: LeaseKeeperOptions): LeaseKeeper {
  const { site, bootId, clock, log } = options;
  let held: NodeLease | undefined;
  let deadline = NEVER;
  let failure: string | undefined;
  let wake = () => {};
  /** The numbers of the last record that may have left. What an earlier agent's said is not known. */
  let sent: Timing | undefined;

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const startedMs = clock.nowMs();
      try {
        const again = held === undefined ? await obtain(signal) : await renew(held, signal);
        await pause(startedMs + again - clock.nowMs(), signal);
      } catch (error) {
        if (signal.aborted) return;
        failed(error);
        await pause(renewRetryMs(options.timing()), signal);
      }
    }
  }

  /** Goes on with the incarnation of an earlier agent of this boot, or takes a new one. How long until the next step. */
  async function obtain(signal: AbortSignal): Promise<number> {
    const found = await site.api.get(leases, site.namespace, site.node, { signal, timeoutMs: TAKE_LIMIT_MS });
    const remembered = options.remembered();
    const ours = found !== undefined && found.holder === site.node && found.bootId === bootId;
    if (ours && found.transitions === remembered) {
      log.info('going on with the incarnation of an earlier agent', { incarnation: remembered });
      held = found;
      return 0; // a read extends nothing: renew at once
    }
    options.onLost();
    const prepared = await options.prepare(found, signal);
    const timing = await cutToSmaller();
    const taken = await takeLease(
      site,
      { ...prepared, bootId, durationSeconds: timing.takeoverAfterMs / 1000 },
      { signal, timeoutMs: TAKE_LIMIT_MS },
    );
    options.onTaken(taken.lease.transitions);
    held = taken.lease;
    log.info('took a new incarnation', { incarnation: held.transitions, settled: prepared.settled });
    extend(taken.sentMs, timing);
    return timing.renewEveryMs;
  }

  async function renew(lease: NodeLease, signal: AbortSignal): Promise<number> {
    if (options.remembered() !== lease.transitions) {
      lose('what /run said of this incarnation is lost: everything ends here', lease);
      return 0;
    }
    const timing = await cutToSmaller();
    const renewal = await renewLease(site, lease, timing.takeoverAfterMs / 1000, {
      signal,
      timeoutMs: renewTimeoutMs(timing),
    });
    switch (renewal.type) {
      case 'renewed':
        held = renewal.lease;
        extend(renewal.sentMs, timing);
        return timing.renewEveryMs;
      case 'unknown':
        held = renewal.lease;
        failed(renewal.error);
        return 0; // the request itself has taken its time; the pause follows from `pause`
      case 'lost':
        lose('the Lease is lost: everything ends here', lease);
        return 0;
    }
  }

  function lose(message: string, lease: NodeLease): void {
    log.warn(message, { incarnation: lease.transitions });
    held = undefined;
    deadline = NEVER;
    options.onLost();
  }

  /** "The smaller of the number it carried and the number in force when it is answered." */
  function extend(sentMs: number, carried: Timing): void {
    failure = undefined;
    const now = clock.nowMs();
    const untilMs = sentMs + Math.min(carried.fenceAfterMs, options.timing().fenceAfterMs);
    if (untilMs <= now) return;
    deadline = { untilMs, unbrokenSinceMs: deadline.untilMs > now ? deadline.unbrokenSinceMs : now };
    options.onDeadline(deadline);
  }

  /**
   * Before the first record with a smaller number leaves, no deadline is later than now + the new `fenceAfter`: whoever
   * reads that record waits no longer than it says.
   */
  async function cutToSmaller(): Promise<Timing> {
    const timing = options.timing();
    const smaller =
      sent === undefined || timing.fenceAfterMs < sent.fenceAfterMs || timing.takeoverAfterMs < sent.takeoverAfterMs;
    if (smaller) {
      const untilMs = clock.nowMs() + timing.fenceAfterMs;
      if (deadline.untilMs > untilMs) deadline = { ...deadline, untilMs };
      await options.cutDeadlines(untilMs);
    }
    sent = timing;
    return timing;
  }

  function failed(error: unknown): void {
    failure = describeError(error);
    log.warn('cannot renew the Lease', { error: failure });
  }

  /** At a fixed short interval after a failure, never a growing one. */
  async function pause(ms: number, signal: AbortSignal): Promise<void> {
    const pauseMs = failure === undefined ? ms : renewRetryMs(options.timing());
    if (signal.aborted) return;
    // By hand, as in src/kube/deadline.ts: this signal lives as long as the agent, and a pause comes every second.
    const over = new AbortController();
    wake = () => over.abort();
    signal.addEventListener('abort', wake, { once: true });
    await clock.sleep(Math.max(0, pauseMs), over.signal).catch(() => {});
    signal.removeEventListener('abort', wake);
  }

  return {
    run,
    incarnation: () => held?.transitions,
    deadline: () => deadline,
    timingChanged: () => wake(),
    failure: () => failure,
  };
}
