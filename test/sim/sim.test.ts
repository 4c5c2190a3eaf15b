import { describe, expect, test } from 'vitest';
import { API_AWAY, CALM } from './faults.ts';
import { allBeat, ONE_GROUP, type Shape, shapeFrom } from './shape.ts';
import { type Run, type RunOptions, run } from './world.ts';

/** About twenty seconds of them on a quiet machine. `make sim SEEDS=…` runs more. */
const SEEDS = 200;
const FIRST = 1;

interface Kept {
  readonly seed: number;
  /** Of its time. The seed's own choice unless given. */
  readonly shape?: Shape;
  readonly quietMs?: number;
  readonly found: string;
}

/** Seeds that have failed once, with what they found. */
const KEPT: readonly Kept[] = [
  {
    seed: 16491,
    found: 'somebody started an instance again that our stop had found stopped, and it was stopped no more',
  },
  { seed: 25601, found: 'the same, where the group had never been anywhere else' },
  {
    seed: 17275,
    found: 'an agent died between the word of an end on the disk and the end of the address; the next one told of it',
  },
  {
    seed: 13890,
    found: 'the only node left had an unsettled end, and nobody did what the condition asks for: to reboot it',
  },
  {
    seed: 5244,
    shape: {
      nodes: 2,
      groups: [
        { name: 'group', heartbeat: true, policy: 'Instance' },
        { name: 'other', heartbeat: false },
      ],
    },
    found: 'the Lease of a node with an unsettled end was gone, so that no word of EC2 came after a fence',
  },
  {
    seed: 1746,
    shape: { nodes: 2, groups: [{ name: 'group', heartbeat: true, policy: 'Instance' }] },
    found:
      'the only node had been rebooted, and an end from before that its disk had not taken was waited for for ever',
  },
  { seed: 101568, found: 'a watch of a controller that had stood still told an older version after a newer one' },
  { seed: 102318, found: 'a status lost twice: its node had not heard that it was to end, and kept its epoch' },
  {
    seed: 21796,
    quietMs: 15_000,
    found: 'a start that waited for its shim through a new incarnation put the address back on the interface',
  },
  { seed: 1077, quietMs: 15_000, found: 'an agent whose second channel had failed once claimed nothing any more' },
  {
    seed: 568,
    quietMs: 15_000,
    shape: ONE_GROUP,
    found: 'an agent that was told to end while a disk had not taken an end looped without a pause, for ever',
  },
  {
    seed: 319,
    quietMs: 15_000,
    shape: ONE_GROUP,
    found: 'an agent that wanted a process stopped whose start was not answered yet asked without a pause',
  },
  {
    seed: 1,
    quietMs: 15_000,
    shape: ONE_GROUP,
    found: 'a controller that lost its leadership by the clock ended instead of campaigning again',
  },
];

describe('the simulator', () => {
  test('finds no violation in the first seeds', { timeout: 240_000 }, async () => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) await expectClean(seed);
  });

  test.each(KEPT)('finds none in seed $seed: $found', async ({ seed, found: _, ...options }) => {
    await expectClean(seed, options);
  });

  test('moves nothing while there is no fault', async () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const { violation, epochs } = await run({ seed, profile: CALM, shape: shapeFrom(seed) });
      expect(violation, `seed ${seed}`).toBeUndefined();
      expect(epochs).toBe(shapeFrom(seed).groups.length);
    }
  });

  test('loses nobody and stops nothing while the API server is away and every group has a second channel', async () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      await expectClean(seed, { profile: API_AWAY, shape: allBeat(shapeFrom(seed)), faultyMs: 60_000 });
    }
  });

  test('does the same again from the same seed', async () => {
    const [first, second] = [await run({ seed: 32, told: true }), await run({ seed: 32, told: true })];
    expect(second.story).toEqual(first.story);
    expect(first.story.length).toBeGreaterThan(50);
  });
});

async function expectClean(seed: number, options: Partial<RunOptions> = {}): Promise<void> {
  const { violation } = await run({ ...options, seed });
  if (violation) expect.fail(`seed ${seed}\n${storyOf(await run({ ...options, seed, told: true }))}`);
}

function storyOf({ story }: Run): string {
  return story.join('\n');
}
