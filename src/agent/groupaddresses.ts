import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Addresses } from './address.ts';

/** Keeps a group's addresses on the interface while the group is served here, and off it otherwise. */
export interface GroupAddresses {
  /**
   * What belongs there until `untilMs` (boot clock), of all that could be ours; the rest of `all` is taken away, but for
   * what `others` on this interface are served by. Where `all` is not known yet nothing is taken away. Returns at once.
   */
  want(
    addresses: readonly string[],
    all: readonly string[] | undefined,
    untilMs: number,
    others?: readonly string[],
  ): void;
  /** What was wanted last. */
  wanted(): readonly string[];
  /** Resolves when nothing is left of what was to be taken away: removed, or past its lifetime. */
  settled(): Promise<void>;
  /** What is there, as far as we know. */
  present(): readonly string[];
}

export interface GroupAddressesOptions {
  /** Undefined while the interface is not known. */
  readonly addresses: () => Addresses | undefined;
  /** Longer than any lifetime that an earlier agent has given one. */
  readonly earlierLifetimeMs: () => number;
  readonly clock: Clock;
  readonly log: Log;
  readonly onChange: () => void;
}

const RETRY_MS = 500;
const LOOK_EVERY_MS = 50;
/** The kernel looks for what has expired a little later than it has (check_lifetime in net/ipv4/devinet.c). */
const EXPIRY_LATE_MS = 1_000;

interface Wish {
  readonly addresses: readonly string[];
  readonly all: readonly string[];
  /** Whether `all` is all that there may be. */
  readonly known: boolean;
  readonly untilMs: number;
}

export function createGroupAddresses(options: GroupAddressesOptions): GroupAddresses {
  const { addresses, clock, log, onChange } = options;
  const createdMs = clock.nowMs();
  /** Known not to be there. */
  const gone = new Set<string>();
  /** What was put there has expired by then. */
  let expiredMs = Number.NEGATIVE_INFINITY;
  let wish: Wish | undefined;
  let done: Wish | undefined;
  let present: readonly string[] = [];
  let working: Promise<void> | undefined;

  function want(
    wanted: readonly string[],
    all: readonly string[] | undefined,
    untilMs: number,
    others: readonly string[] = [],
  ): void {
    const known = all !== undefined;
    const ours = [...new Set([...(all ?? []), ...present])].filter((address) => !others.includes(address));
    const next = { addresses: wanted, all: ours, known, untilMs };
    const same = wish?.known === known && sameSet(wish.addresses, wanted) && sameSet(wish.all, next.all);
    // A deadline that has moved only matters where there is something to prolong.
    if (same && (wanted.length === 0 || wish?.untilMs === untilMs)) return;
    wish = next;
    work();
  }

  function work(): void {
    working ??= apply().finally(() => {
      working = undefined;
    });
  }

  async function apply(): Promise<void> {
    while (wish !== undefined && wish !== done) {
      const on = addresses();
      if (on === undefined) return;
      const now = wish;
      try {
        const off = leftOf(now);
        if (off.length > 0) await on.remove(off);
        for (const address of off) gone.add(address);
        await put(on, now);
        done = now;
        if (!sameSet(present, now.addresses)) {
          present = now.addresses;
          onChange();
        }
      } catch (error) {
        log.warn('cannot set the addresses', { error: describeError(error) });
        clock.after(RETRY_MS, work);
        return;
      }
    }
  }

  /**
   * The kernel counts lifetimes in whole seconds, so the address outlives the deadline by less than one, by what `ip`
   * takes to be run, and by up to {@link EXPIRY_LATE_MS}: by default within the 3 s that `takeoverAfter` is above
   * `fenceAfter` (src/decide/timing.ts). Nothing is written by way of it: the process is gone `killWithin` after the
   * deadline, and what still comes to the address finds a closed port.
   */
  async function put(on: Addresses, { addresses: wanted, untilMs }: Wish): Promise<void> {
    const lifetimeSeconds = Math.ceil((untilMs - clock.nowMs()) / 1000);
    if (wanted.length === 0 || lifetimeSeconds <= 0) return;
    for (const address of wanted) gone.delete(address);
    try {
      await on.put(wanted, lifetimeSeconds);
    } finally {
      expiredMs = Math.max(expiredMs, clock.nowMs() + lifetimeSeconds * 1000 + EXPIRY_LATE_MS);
    }
  }

  async function settled(): Promise<void> {
    while (wish !== undefined && (!wish.known || leftOf(wish).length > 0)) {
      const earlierMs = createdMs + options.earlierLifetimeMs() + EXPIRY_LATE_MS;
      const leftMs = Math.max(expiredMs, earlierMs) - clock.nowMs();
      if (leftMs <= 0) return;
      if (working === undefined) await clock.sleep(Math.min(LOOK_EVERY_MS, leftMs));
      else await working;
    }
  }

  /** What does not belong there and may still be there. */
  function leftOf(of: Wish): string[] {
    return of.all.filter((address) => !of.addresses.includes(address) && !gone.has(address));
  }

  return { want, wanted: () => wish?.addresses ?? [], settled, present: () => present };
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item) => b.includes(item));
}
