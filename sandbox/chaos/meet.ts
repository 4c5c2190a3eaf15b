import { monotonicMs } from '../prober.ts';
import type { Sample } from '../watch.ts';
import type { Fault } from './fault.ts';
import { judge, outagesOf, type Wrong } from './judge.ts';
import type { Situation, World } from './world.ts';

/** What one fault, or several at once, did to the service. */
export interface Spell {
  readonly faults: readonly string[];
  /** The longest time without an acknowledged write. */
  readonly outageMs: number;
  /** Written and acknowledged in this world so far. */
  readonly acknowledged: number;
  readonly wrong: readonly Wrong[];
  /** How long two processes ran that were neither stopped nor dying. */
  readonly twiceMs: number;
  readonly epochs: { readonly before: number; readonly after: number };
}

/** Generous: the longest sum is the hung disk's, some 30 s; a busy machine and a reboot come on top. */
export const WELL_LIMIT_MS = 150_000;
const READ_LIMIT_MS = 60_000;

/** One fault by itself, from a well world to a well world. @throws when it does not become well again */
export async function meet(world: World, fault: Fault): Promise<Spell> {
  const before = await world.served(WELL_LIMIT_MS);
  const fromMs = monotonicMs();
  const mend = await fault.begin(world, before);
  try {
    await fault.lasts?.(world, before);
  } finally {
    await mend();
  }
  return await settle(world, [fault.name], before, fromMs);
}

/** Waits until it is well, reads back what was written, and judges. */
export async function settle(
  world: World,
  faults: readonly string[],
  before: Situation,
  fromMs: number,
): Promise<Spell> {
  const after = await world.well(WELL_LIMIT_MS);
  await world.client.readBack('sinceLastTime', READ_LIMIT_MS);
  // Before it writes on: what is written after the last read has not been read.
  const { acknowledged, wrong } = judge(world.client.attempts());
  await world.client.write();
  const outages = outagesOf(world.client.attempts()).filter(({ toMs }) => toMs > fromMs);
  return {
    faults,
    outageMs: Math.round(Math.max(0, ...outages.map(({ ms }) => ms))),
    acknowledged,
    wrong,
    twiceMs: Math.round(twiceMs(world.watch.changes(), fromMs)),
    epochs: { before: before.epoch, after: after.epoch },
  };
}

/** Pure. From each look that saw two to the next change. */
export function twiceMs(changes: readonly Sample[], fromMs: number): number {
  return changes.reduce((sum, { atMs, running }, i) => {
    const next = changes[i + 1];
    if (running.filter(({ stopped }) => !stopped).length < 2) return sum;
    if (next !== undefined && next.atMs <= fromMs) return sum;
    return sum + Math.max(1, (next?.atMs ?? atMs) - atMs);
  }, 0);
}
