/** How long a record has been as it is, by our own clock and our own eyes. */
export interface LeaseAge {
  /** When this process first saw the record as it is now. */
  readonly firstSeenMs: number;
  /** When this process itself saw the record change; undefined until it did. */
  readonly changedMs?: number;
}

/**
 * The age of Leases: it counts from our own first sight of a record, by our own clock; `renewTime` is compared with
 * nothing. Pure: the caller brings the time.
 */
export class LeaseAges {
  readonly #seen = new Map<string, LeaseAge & { readonly resourceVersion: string }>();

  /** Call with every sight of a Lease, changed or not. */
  saw(name: string, resourceVersion: string, nowMs: number): LeaseAge {
    const known = this.#seen.get(name);
    if (known && !isNewer(resourceVersion, known.resourceVersion)) return known;
    const age = known
      ? { resourceVersion, firstSeenMs: nowMs, changedMs: nowMs }
      : { resourceVersion, firstSeenMs: nowMs };
    this.#seen.set(name, age);
    return age;
  }

  get(name: string): LeaseAge | undefined {
    return this.#seen.get(name);
  }

  forget(name: string): void {
    this.#seen.delete(name);
  }

  /**
   * All counts start again: after the API could not be read for a while. So an outage of the API
   * ages nothing, and nobody counts as seen alive.
   */
  reset(): void {
    this.#seen.clear();
  }
}

/**
 * A stale copy after a fresh one (a watch behind a read) is no change. Versions grow within one history of etcd; a
 * restored etcd breaks every watch, and the caller resets.
 */
function isNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than;
  return BigInt(version) > BigInt(than);
}
