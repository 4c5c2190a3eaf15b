import { once } from 'node:events';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { CallOptions, KubeApi } from './api.ts';
import { AlreadyExists, Conflict } from './errors.ts';
import { renewLease } from './lease.ts';
import { microTime } from './microtime.ts';
import { leases, type NodeLease } from './resources.ts';

export interface ElectionOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly log: Log;
  /** A number in [0, 1), for jitter. */
  readonly random: () => number;
  readonly namespace: string;
  /** The Lease. */
  readonly name: string;
  /** Unlike any other candidate's, also of an earlier start of this process. */
  readonly identity: string;
  /** Others wait so long after the last change they saw, in whole seconds. Default 5 000. */
  readonly leaseDurationMs?: number;
  /** Leadership ends by itself so long after the last renewal that succeeded was sent. Default 3 000. */
  readonly renewDeadlineMs?: number;
  /** Between two attempts, and the time-out of each; it doubles while answers fail to come. Default 1 000. */
  readonly retryEveryMs?: number;
  /** How long the leader's work may take to end; {@link Election.run} throws after it. Default 10 000. */
  readonly stopWithinMs?: number;
}

export interface Election {
  /**
   * Campaigns, calls `lead` once elected, and campaigns again when leadership was lost; until `signal` aborts or `lead`
   * ends by itself. `lead`'s signal aborts when it must end. The Lease is given back only after it has ended.
   *
   * Throws what `lead` throws, and when `lead` does not end in time: then the process must exit.
   */
  run(signal: AbortSignal, lead: (leading: AbortSignal, term: number) => Promise<void>): Promise<void>;
  /**
   * Whether this process leads at this very moment, by the boot clock: to be asked before every deed, because a pause of
   * the process may outlive the Lease before any timer fires.
   */
  isLeader(): boolean;
}

/**
 * Leader election on a Lease. It lets at most one candidate believe that it leads, as long as clocks run at about the
 * same rate; like client-go's it does not fence (see the package comment of client-go `tools/leaderelection`), so
 * whatever must never be done twice is written under `resourceVersion` as well.
 */
export function createElection(options: ElectionOptions): Election {
  return new Elector(options);
}

class Elector implements Election {
  readonly #o: Required<ElectionOptions>;
  readonly #log: Log;
  /** Somebody else's record, and when it was first seen as it is. */
  #watched: { resourceVersion: string; sinceMs: number } | undefined;
  #leadsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: ElectionOptions) {
    this.#o = {
      leaseDurationMs: 5_000,
      renewDeadlineMs: 3_000,
      retryEveryMs: 1_000,
      stopWithinMs: 10_000,
      ...options,
    };
    this.#log = options.log.with({ election: options.name, identity: options.identity });
    const { leaseDurationMs, renewDeadlineMs, retryEveryMs } = this.#o;
    if (!(leaseDurationMs > renewDeadlineMs && renewDeadlineMs > retryEveryMs && retryEveryMs > 0)) {
      throw new Error(
        `Cannot elect by ${leaseDurationMs}/${renewDeadlineMs}/${retryEveryMs} ms: each must be longer than the next; write for example 5000/3000/1000`,
      );
    }
  }

  isLeader(): boolean {
    return this.#o.clock.nowMs() < this.#leadsUntilMs;
  }

  async run(signal: AbortSignal, lead: (leading: AbortSignal, term: number) => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      const won = await this.#campaign(signal);
      if (!won) return;
      this.#log.info('elected', { term: won.transitions });
      const ended = await this.#reign(won, signal, lead);
      if (ended) return;
    }
  }

  async #campaign(signal: AbortSignal): Promise<NodeLease | undefined> {
    const { clock, retryEveryMs, random } = this.#o;
    let unanswered = 0;
    while (!signal.aborted) {
      try {
        const won = await this.#tryTake({ signal, timeoutMs: this.#attemptMs(unanswered) });
        if (won) return won;
        unanswered = 0;
      } catch (error) {
        if (signal.aborted) return undefined;
        unanswered += 1;
        this.#log.warn('no answer to the campaign', { error: describeError(error) });
      }
      await clock.sleep(retryEveryMs * (1 + random() / 5), signal).catch(() => {});
    }
    return undefined;
  }

  /**
   * Short at first, so that a lost packet costs little; longer while nothing is answered, or a server slower than one
   * attempt would never get a leader: each taking would land unheard and start everybody's count anew.
   */
  #attemptMs(unanswered: number): number {
    return Math.min(this.#o.retryEveryMs * 2 ** unanswered, this.#o.renewDeadlineMs);
  }

  async #tryTake(o: CallOptions): Promise<NodeLease | undefined> {
    const { api, clock, namespace, name, identity } = this.#o;
    const seen = await api.get(leases, namespace, name, o);
    if (seen && !this.#mayTake(seen)) return undefined;
    const now = microTime(clock);
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#o.leaseDurationMs / 1000),
      leaseTransitions: (seen?.transitions ?? 0) + 1,
      acquireTime: now,
      renewTime: now,
    };
    const sentMs = clock.nowMs();
    try {
      const won = seen
        ? await api.replace(leases, namespace, { metadata: seen.metadata, spec }, o)
        : await api.create(leases, namespace, { metadata: { name }, spec }, o);
      this.#leadsUntilMs = sentMs + this.#o.renewDeadlineMs;
      return won;
    } catch (error) {
      // Another candidate was faster.
      if (error instanceof Conflict || error instanceof AlreadyExists) return undefined;
      throw error;
    }
  }

  /** By the time that we ourselves saw the record unchanged; no clock of another machine enters. */
  #mayTake(seen: NodeLease): boolean {
    const { identity, clock, leaseDurationMs } = this.#o;
    if (seen.holder === '' || seen.holder === identity) return true;
    const nowMs = clock.nowMs();
    const { resourceVersion } = seen.metadata;
    if (this.#watched?.resourceVersion !== resourceVersion) this.#watched = { resourceVersion, sinceMs: nowMs };
    return nowMs - this.#watched.sinceMs >= Math.max(leaseDurationMs, seen.durationSeconds * 1000);
  }

  /** True when the whole run is over, false when only leadership was lost. */
  async #reign(
    won: NodeLease,
    signal: AbortSignal,
    lead: (leading: AbortSignal, term: number) => Promise<void>,
  ): Promise<boolean> {
    const { clock, stopWithinMs } = this.#o;
    const leading = new AbortController();
    const stop = () => leading.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();

    // Over: the work has ended, or has not within its time.
    const over = new AbortController();
    let working = true;
    const work = lead(leading.signal, won.transitions).finally(() => {
      working = false;
      over.abort();
    });
    // Awaited below; without this a failure before then would count as unhandled.
    work.catch(() => {});
    const armOverdue = () => clock.after(stopWithinMs, () => over.abort());
    leading.signal.addEventListener('abort', armOverdue, { once: true });
    if (leading.signal.aborted) armOverdue();

    const held = await this.#hold(won, leading, over.signal);
    if (!over.signal.aborted) await once(over.signal, 'abort');
    signal.removeEventListener('abort', stop);
    if (!working && held && this.isLeader()) await this.#release(held);
    this.#leadsUntilMs = Number.NEGATIVE_INFINITY;
    this.#watched = undefined;
    if (working) {
      throw new Error(
        `Cannot leave the leadership of ${this.#o.name}: its work has not ended within ${stopWithinMs} ms; exit the process`,
      );
    }
    if (held || signal.aborted) {
      await work;
      return true;
    }
    await work.catch((error) => this.#log.warn('the work of a lost term failed', { error: describeError(error) }));
    return false;
  }

  /** Renews until the work is over; the Lease as last known, or undefined as soon as leadership is lost. */
  async #hold(won: NodeLease, leading: AbortController, over: AbortSignal): Promise<NodeLease | undefined> {
    const { api, clock, namespace, name, renewDeadlineMs, retryEveryMs, leaseDurationMs } = this.#o;
    const site = { api, clock, namespace, node: name };
    let lease = won;
    let unanswered = 0;
    let cancel = this.#armDeadline(leading);
    try {
      for (;;) {
        await clock.sleep(retryEveryMs, over).catch(() => {});
        // Lost by the timer, the work ends before we come to look: that is no end of ours.
        if (over.aborted) return this.isLeader() ? lease : undefined;
        if (!this.isLeader()) return this.#lose(leading, 'not renewed in time');
        const timeoutMs = this.#attemptMs(unanswered);
        const renewal = await renewLease(site, lease, Math.ceil(leaseDurationMs / 1000), { timeoutMs });
        if (renewal.type === 'lost') return this.#lose(leading, `taken by "${renewal.seen?.holder ?? ''}"`);
        lease = renewal.lease;
        if (renewal.type === 'unknown') {
          unanswered += 1;
          this.#log.warn('the renewal is unanswered', { error: describeError(renewal.error) });
          continue;
        }
        // A deadline once missed is final, even if an answer comes in after it.
        if (!this.isLeader()) return this.#lose(leading, 'not renewed in time');
        unanswered = 0;
        this.#leadsUntilMs = renewal.sentMs + renewDeadlineMs;
        cancel();
        cancel = this.#armDeadline(leading);
      }
    } finally {
      cancel();
    }
  }

  #armDeadline(leading: AbortController): () => void {
    const { clock } = this.#o;
    return clock.after(this.#leadsUntilMs - clock.nowMs(), () => this.#lose(leading, 'not renewed in time'));
  }

  #lose(leading: AbortController, why: string): undefined {
    if (this.#leadsUntilMs === Number.NEGATIVE_INFINITY) return;
    this.#leadsUntilMs = Number.NEGATIVE_INFINITY;
    this.#log.warn('leadership is lost', { why });
    leading.abort(new Error(`Cannot go on leading ${this.#o.name}: ${why}`));
  }

  /** Best effort: whoever finds it still held waits out its duration. */
  async #release(lease: NodeLease): Promise<void> {
    const { api, clock, namespace, retryEveryMs } = this.#o;
    const spec = {
      holderIdentity: '',
      leaseTransitions: lease.transitions,
      leaseDurationSeconds: 1,
      renewTime: microTime(clock),
    };
    try {
      await api.replace(leases, namespace, { metadata: lease.metadata, spec }, { timeoutMs: retryEveryMs });
      this.#log.info('leadership given back');
    } catch (error) {
      this.#log.warn('leadership could not be given back', { error: describeError(error) });
    }
  }
}
