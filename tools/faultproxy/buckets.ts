import type { Bucket } from './faults.ts';

/** Token buckets by action, `*` for all that have none of their own. */
export class Buckets {
  readonly #buckets = new Map<string, Bucket & { tokens: number; atMs: number }>();

  set(action: string, bucket: Bucket): void {
    this.#buckets.set(action, { ...bucket, tokens: bucket.size, atMs: performance.now() });
  }

  clear(): void {
    this.#buckets.clear();
  }

  /** Takes a token; false when there is none. */
  take(action: string): boolean {
    const bucket = this.#buckets.get(action) ?? this.#buckets.get('*');
    if (bucket === undefined) return true;
    const nowMs = performance.now();
    bucket.tokens = Math.min(bucket.size, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * bucket.perSecond);
    bucket.atMs = nowMs;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }
}
