import type { Situation, World } from './world.ts';

/** Something that goes wrong, and how it is put right again. */
export interface Fault {
  readonly name: string;
  /** Resolves to what puts it right. May be begun in any state; what it cannot find it leaves. */
  begin(world: World, before: Situation): Promise<Mend>;
  /** Alone: until it has done what it can, before it is put right. Left out: it is put right at once. */
  lasts?(world: World, before: Situation): Promise<void>;
  /** The sum of timings that the outage should obey, for people. */
  readonly sum: string;
  /** What `LeaseExpired` does not cover (docs/protocol.md), so that the judge leaves it out. */
  readonly excuses?: 'twoProcesses';
}

export type Mend = () => Promise<void>;

export const NOTHING_TO_MEND: Mend = async () => {};

/** Generous: a slow machine makes it later, never wrong. */
const SERVED_LIMIT_MS = 90_000;

/** Until the other server serves. */
export async function servedElsewhere({ cluster }: World, { other, epoch }: Situation): Promise<void> {
  await cluster.untilServed(SERVED_LIMIT_MS, { node: other, above: epoch });
}

/** Time itself is the fault. */
export function forMs(ms: number): (world: World) => Promise<void> {
  return async ({ cluster }) => {
    const fromMs = performance.now();
    await cluster.until(`${ms} ms gone by`, ms + 60_000, () => performance.now() - fromMs >= ms);
  };
}

export function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}
