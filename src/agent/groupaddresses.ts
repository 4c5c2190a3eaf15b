import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Addresses } from './address.ts';

/** Keeps a group's addresses on the interface while the group is served here, and off it otherwise. */
export interface GroupAddresses {
  /**
   * What belongs there until `untilMs` (boot clock), of all that could be ours; the rest of `all` is taken away. Returns
   * at once.
   */
  want(addresses: readonly string[], all: readonly string[], untilMs: number): void;
  /** Resolves when what was wanted last is so, or could not be made so. */
  settled(): Promise<void>;
  /** What is there, as far as we know. */
  present(): readonly string[];
}

export interface GroupAddressesOptions {
  /** Undefined while the interface is not known. */
  readonly addresses: () => Addresses | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly onChange: () => void;
}

const RETRY_MS = 500;

interface Wish {
  readonly addresses: readonly string[];
  readonly all: readonly string[];
  readonly untilMs: number;
}

export function createGroupAddresses({ addresses, clock, log, onChange }: GroupAddressesOptions): GroupAddresses {
  let wish: Wish | undefined;
  let done: Wish | undefined;
  let present: readonly string[] = [];
  let working: Promise<void> | undefined;

  function want(wanted: readonly string[], all: readonly string[], untilMs: number): void {
    const next = { addresses: wanted, all: [...new Set([...all, ...present])], untilMs };
    const same = wish !== undefined && sameSet(wish.addresses, wanted) && sameSet(wish.all, next.all);
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
        const lifetimeSeconds = Math.ceil((now.untilMs - clock.nowMs()) / 1000) + 1;
        const off = now.all.filter((address) => !now.addresses.includes(address));
        if (off.length > 0 && (done === undefined || !sameSet(off, offOf(done)))) await on.remove(off);
        if (now.addresses.length > 0 && lifetimeSeconds > 0) await on.put(now.addresses, lifetimeSeconds);
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

  return { want, settled: async () => working, present: () => present };
}

function offOf(wish: Wish): string[] {
  return wish.all.filter((address) => !wish.addresses.includes(address));
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item) => b.includes(item));
}
