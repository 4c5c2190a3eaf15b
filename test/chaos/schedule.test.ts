import { describe, expect, it } from 'vitest';
import { schedule } from '../../sandbox/chaos/schedule.ts';

const first = (seed: number, spells: number, count = 40) => [...schedule(seed, count).take(spells)];

describe('a schedule of faults', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(first(1, 50)).toEqual(first(1, 50));
    expect(first(1, 50)).not.toEqual(first(2, 50));
  });

  it('meets every fault, alone and together with others, each once in a spell', () => {
    const spells = first(3, 500);
    expect(new Set(spells.flatMap(({ faults }) => faults.map(({ index }) => index))).size).toBe(40);
    expect(new Set(spells.map(({ faults }) => faults.length))).toEqual(new Set([1, 2, 3]));
    for (const { faults } of spells) expect(new Set(faults.map(({ index }) => index)).size).toBe(faults.length);
  });

  it('works with a single fault to choose from', () => {
    expect(first(4, 3, 1).map(({ faults }) => faults.length)).toEqual([1, 1, 1]);
  });
});
