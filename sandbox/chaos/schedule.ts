/** Which faults meet the cluster when. Pure: a seed is a run. */
export interface Spell {
  readonly faults: readonly {
    readonly index: number;
    /** After the spell began. */
    readonly beginAfterMs: number;
    /** After it was begun. */
    readonly mendAfterMs: number;
  }[];
}

const TOGETHER_MAX = 3;
const BEGIN_WITHIN_MS = 6_000;
/** Beyond `takeoverAfter`, so that a fault ends before, while and after another server takes over. */
const LAST_AT_MOST_MS = 14_000;

/** An endless row of spells, each of one to three different faults out of `count`. */
export function* schedule(seed: number, count: number): Generator<Spell> {
  const random = randomOf(seed);
  const below = (n: number) => Math.floor(random() * n);
  for (;;) {
    const indices = new Set<number>();
    const together = 1 + below(Math.min(TOGETHER_MAX, count));
    while (indices.size < together) indices.add(below(count));
    yield {
      faults: [...indices].map((index, i) => ({
        index,
        beginAfterMs: i === 0 ? 0 : below(BEGIN_WITHIN_MS),
        // Half of them short: the most orders are met in the first second.
        mendAfterMs: below(2) === 0 ? below(1_500) : below(LAST_AT_MOST_MS),
      })),
    };
  }
}

/** mulberry32 (Tommy Ettinger, public domain): small, and good enough to choose faults. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
