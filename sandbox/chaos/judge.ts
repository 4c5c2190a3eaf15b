/**
 * Proves, from nothing but what one client sent and was told, that no acknowledged object was lost, replaced by an older
 * one, or torn. Pure.
 *
 * The client works on a key one attempt after the other, with growing versions. So at each moment the key can hold: what
 * the last acknowledged write or the last read says, or any write whose end the client never learned, since such a write
 * may take effect at any time later, once. Everything else that a read finds is wrong. (This is linearizability for one
 * client with operations that stay open: Herlihy and Wing, 1990; Knossos calls them "info".)
 */
export interface Attempt {
  readonly key: string;
  readonly operation: 'put' | 'get';
  /** Of a put: 1 for the first of a key, growing. Of a get: 0. */
  readonly version: number;
  /** By the machine's monotonic clock. */
  readonly startMs: number;
  readonly endMs: number;
  /**
   * `done`: answered. `notSent`: there was never a connection to send it over. `unknown`: cut off, out of time, or
   * refused with an error, which does not say that nothing was done.
   */
  readonly outcome: 'done' | 'notSent' | 'unknown';
  /** What a get that is done has found: a version of this very key, nothing, or bytes that are no version of it. */
  readonly found?: number | 'missing' | 'torn';
}

export interface Wrong {
  readonly kind: 'lost' | 'older' | 'torn' | 'neverWritten' | 'notRead';
  readonly key: string;
  readonly message: string;
}

/** From the last acknowledged write before to the first one after. */
export interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
  readonly ms: number;
  /** Attempts in it that failed. */
  readonly failed: number;
}

export interface Verdict {
  readonly acknowledged: number;
  readonly unknown: number;
  readonly keys: number;
  readonly wrong: readonly Wrong[];
}

export function judge(attempts: readonly Attempt[]): Verdict {
  const byKey = Map.groupBy(attempts, ({ key }) => key);
  const puts = attempts.filter(({ operation }) => operation === 'put');
  return {
    acknowledged: puts.filter(({ outcome }) => outcome === 'done').length,
    unknown: puts.filter(({ outcome }) => outcome === 'unknown').length,
    keys: byKey.size,
    wrong: [...byKey].flatMap(([key, all]) => wrongOf(key, all)),
  };
}

/** Every time the client's writes failed in a row, however short. */
export function outagesOf(attempts: readonly Attempt[]): Outage[] {
  const puts = attempts.filter(({ operation }) => operation === 'put');
  const acknowledged = puts.filter(({ outcome }) => outcome === 'done').toSorted((a, b) => a.endMs - b.endMs);
  const failed = puts.filter(({ outcome }) => outcome !== 'done');
  return acknowledged.flatMap((first, i) => {
    const next = acknowledged[i + 1];
    if (next === undefined) return [];
    const between = failed.filter(({ startMs, endMs }) => endMs > first.endMs && startMs < next.endMs);
    // One that a neighbour's success overtook on both sides is a lost request, not an outage.
    if (!between.some(({ endMs }) => endMs <= next.endMs)) return [];
    return [{ fromMs: first.endMs, toMs: next.endMs, ms: next.endMs - first.endMs, failed: between.length }];
  });
}

/** What a key may hold: the versions whose reading now would be right. 0 stands for no object. */
interface Possible {
  readonly held: number;
  /** Writes that may still take effect. */
  readonly open: readonly number[];
}

function wrongOf(key: string, unordered: readonly Attempt[]): Wrong[] {
  const all = unordered.toSorted((a, b) => a.startMs - b.startMs);
  refuseOverlaps(key, all);
  const wrong: Wrong[] = [];
  let now: Possible = { held: 0, open: [] };
  let highestSent = 0;
  let lastChangeMs = Number.NEGATIVE_INFINITY;
  let lastReadMs = Number.NEGATIVE_INFINITY;
  for (const attempt of all) {
    if (attempt.outcome === 'notSent') continue;
    if (attempt.operation === 'put') {
      highestSent = Math.max(highestSent, attempt.version);
      lastChangeMs = attempt.endMs;
      now =
        attempt.outcome === 'done'
          ? { held: attempt.version, open: now.open }
          : { held: now.held, open: [...now.open, attempt.version] };
      continue;
    }
    if (attempt.outcome !== 'done') continue;
    lastReadMs = attempt.startMs;
    const found = attempt.found === 'missing' ? 0 : attempt.found;
    const problem = problemOf(now, found, highestSent);
    if (problem !== undefined) wrong.push({ key, ...problem });
    // Judged once: what comes after is judged by what was found.
    if (typeof found === 'number') now = { held: found, open: now.open.filter((version) => version !== found) };
  }
  if (lastChangeMs > lastReadMs && highestSent > 0) {
    wrong.push({
      kind: 'notRead',
      key,
      message: `${key} was not read after its last write, so nothing is known of it`,
    });
  }
  return wrong;
}

function problemOf(
  { held, open }: Possible,
  found: number | 'torn' | undefined,
  highestSent: number,
): Omit<Wrong, 'key'> | undefined {
  const allowed = [held, ...open].map((version) => (version === 0 ? 'none' : version)).join(' or ');
  if (found === undefined || found === 'torn') {
    return { kind: 'torn', message: `read bytes that are no version; right were: ${allowed}` };
  }
  if (found === held || open.includes(found)) return undefined;
  if (found === 0) return { kind: 'lost', message: `read nothing; right were: ${allowed}` };
  if (found > highestSent) return { kind: 'neverWritten', message: `read version ${found}, which was never sent` };
  return { kind: 'older', message: `read version ${found}; right were: ${allowed}` };
}

function refuseOverlaps(key: string, ordered: readonly Attempt[]): void {
  for (const [i, attempt] of ordered.entries()) {
    const next = ordered[i + 1];
    if (next !== undefined && next.startMs < attempt.endMs) {
      throw new Error(`Cannot judge ${key}: two attempts on it at once; the client must work on a key one by one`);
    }
  }
}
