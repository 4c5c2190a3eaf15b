/** The durations of a small world, in ticks of a second each: `records.ts` says the same to the decisions. */
export interface Ticks {
  readonly fence: number;
  readonly kill: number;
  readonly takeover: number;
}

export const TICK_MS = 1_000;

/** The smallest that keep the order of things: (1 + 1) x 1.002 + 0.5 is above 2, so three. */
export const TICKS: Ticks = { fence: 1, kill: 1, takeover: 3 };
