import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PersonNeededError, RetryError, WaitError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { createQueue, type Queue, type QueueOptions, type Reconciled } from '../../src/base/queue.ts';
import { FakeClock } from './fakeclock.ts';

interface Bench {
  readonly queue: Queue;
  readonly clock: FakeClock;
  /** The keys of all passes, in the order they began. */
  readonly begun: string[];
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

function bench(
  reconcile: (key: string, signal: AbortSignal) => Promise<Reconciled>,
  options: Partial<QueueOptions> = {},
): Bench {
  const clock = new FakeClock();
  const begun: string[] = [];
  const queue = createQueue({
    name: 'test',
    clock,
    log: silentLog,
    random: () => 0,
    workers: 2,
    reconcile: (key, signal) => {
      begun.push(key);
      return reconcile(key, signal);
    },
    ...options,
  });
  const stop = new AbortController();
  return { queue, clock, begun, stop, ended: queue.run(stop.signal) };
}

/** A pass that goes on until it is released. */
function gate(): { pass: () => Promise<void>; open: () => void } {
  const waiting: (() => void)[] = [];
  return {
    pass: () => new Promise((resolve) => waiting.push(resolve)),
    open: () => {
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}

test('a key added many times before its pass is worked on once', async () => {
  const { pass, open } = gate();
  const { queue, clock, begun } = bench(pass, { workers: 1 });
  queue.add('x');
  for (let i = 0; i < 5; i += 1) queue.add('a');
  expect(queue.depth()).toBe(1);
  open();
  await clock.advance(0);
  open();
  await clock.advance(0);
  expect(begun).toEqual(['x', 'a']);
});

test('a key added during its own pass is worked on once more, and never twice at once', async () => {
  const { pass, open } = gate();
  const { queue, clock, begun } = bench(pass);
  queue.add('a');
  queue.add('a');
  queue.add('a');
  await clock.advance(0);
  expect(begun).toEqual(['a']);
  open();
  await clock.advance(0);
  expect(begun).toEqual(['a', 'a']);
  open();
  await clock.advance(60_000);
  expect(begun).toEqual(['a', 'a']);
});

test('whatever is added and whenever passes end, no key is worked on twice at once and none is left out', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('add' as const), key: fc.constantFrom('a', 'b', 'c', 'd') }),
    fc.record({
      do: fc.constant('later' as const),
      key: fc.constantFrom('a', 'b'),
      ms: fc.integer({ min: 1, max: 50 }),
    }),
    fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 40 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), async (steps, workers) => {
      const working = new Set<string>();
      /** Wishes that no pass has begun after. */
      const owed = new Set<string>();
      // Noted and not thrown: what a pass throws is only retried.
      const wrong: string[] = [];
      const clock = new FakeClock();
      const queue = createQueue({
        name: 'test',
        clock,
        log: silentLog,
        random: () => 0.5,
        workers,
        reconcile: async (key) => {
          if (working.has(key)) wrong.push(`${key} twice at once`);
          owed.delete(key);
          working.add(key);
          if (working.size > workers) wrong.push('too many at once');
          await clock.sleep(7);
          working.delete(key);
        },
      });
      const stop = new AbortController();
      const ended = queue.run(stop.signal);
      for (const s of steps) {
        // Owed first: a pass may begin within add.
        if (s.do !== 'advance') owed.add(s.key);
        if (s.do === 'add') queue.add(s.key);
        else if (s.do === 'later') queue.addAfter(s.key, s.ms);
        else await clock.advance(s.ms);
      }
      await clock.advance(1_000);
      expect([...owed]).toEqual([]);
      expect(wrong).toEqual([]);
      stop.abort();
      await ended;
    }),
    { numRuns: 60 },
  );
});

test('of two times to look at a key the earlier wins', async () => {
  const { queue, clock, begun } = bench(async () => {});
  queue.addAfter('a', 500);
  queue.addAfter('a', 100);
  queue.addAfter('a', 900);
  await clock.advance(99);
  expect(begun).toEqual([]);
  await clock.advance(1);
  expect(begun).toEqual(['a']);
  await clock.advance(2_000);
  expect(begun).toEqual(['a']);
});

test('errors in a row double the pause up to the limit, and a success forgets them', async () => {
  let fail = true;
  const { queue, clock, begun } = bench(async () => {
    if (fail) throw new RetryError('no');
  });
  queue.add('a');
  await clock.advance(0);
  const pauses: number[] = [];
  for (let i = 0; i < 15; i += 1) {
    const pause = clock.nextMs() ?? Number.NaN;
    pauses.push(pause);
    await clock.advance(pause);
  }
  expect(pauses.slice(0, 5)).toEqual([5, 10, 20, 40, 80]);
  expect(pauses.at(-1)).toBe(30_000);
  fail = false;
  await clock.advance(30_000);
  expect(clock.nextMs()).toBeUndefined();
  fail = true;
  queue.add('a');
  await clock.advance(0);
  expect(clock.nextMs()).toBe(5);
  expect(begun.length).toBeGreaterThan(15);
});

test('keys that failed together come back apart', async () => {
  const numbers = [0.1, 0.9];
  const { queue, clock } = bench(
    async () => {
      throw new Error('no');
    },
    { random: () => numbers.shift() ?? 0, baseDelayMs: 1_000 },
  );
  queue.add('a');
  queue.add('b');
  await clock.advance(0);
  expect(clock.nextMs()).toBe(550);
});

test('a wait is looked at again when it says, without counting as an error', async () => {
  let error: Error = new WaitError('not yet', 700);
  const { queue, clock, begun } = bench(async () => {
    throw error;
  });
  queue.add('a');
  await clock.advance(699);
  expect(begun).toHaveLength(1);
  await clock.advance(1);
  expect(begun).toHaveLength(2);
  error = new RetryError('no');
  await clock.advance(700);
  expect(clock.nextMs()).toBe(5);
});

test('an answer with a time is looked at again then, and one of 0 ms is no endless loop', async () => {
  const { queue, clock, begun } = bench(async () => ({ afterMs: 0 }));
  queue.add('a');
  await clock.advance(50);
  expect(begun.length).toBeGreaterThan(2);
  expect(begun.length).toBeLessThan(13);
});

test('what needs a person is not retried until it is added again', async () => {
  const { queue, clock, begun } = bench(async () => {
    throw new PersonNeededError('write a shorter name');
  });
  queue.add('a');
  await clock.advance(3_600_000);
  expect(begun).toHaveLength(1);
  queue.add('a');
  await clock.advance(0);
  expect(begun).toHaveLength(2);
});

test('a forgotten key is not looked at again', async () => {
  const { queue, clock, begun } = bench(async () => ({ afterMs: 100 }));
  queue.add('a');
  await clock.advance(0);
  queue.forget('a');
  await clock.advance(10_000);
  expect(begun).toEqual(['a']);
});

test('a full queue refuses new keys and keeps those it has', async () => {
  const { pass, open } = gate();
  const { queue, clock, begun } = bench(pass, { workers: 1, capacity: 3 });
  expect([queue.add('a'), queue.add('b'), queue.addAfter('c', 10), queue.add('d'), queue.add('b')]).toEqual([
    true,
    true,
    true,
    false,
    true,
  ]);
  for (let i = 0; i < 3; i += 1) {
    await clock.advance(10);
    open();
  }
  await clock.advance(0);
  expect(begun).toEqual(['a', 'b', 'c']);
  expect(queue.add('d')).toBe(true);
});

test('stopping tells the passes under way and waits for them, and begins no other', async () => {
  const told: string[] = [];
  const { queue, clock, begun, stop, ended } = bench(
    (key, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          told.push(key);
          reject(signal.reason);
        });
      }),
    { workers: 1 },
  );
  queue.add('a');
  queue.add('b');
  await clock.advance(0);
  stop.abort(new Error('stop'));
  await ended;
  expect(told).toEqual(['a']);
  expect(begun).toEqual(['a']);
  expect(clock.nextMs()).toBeUndefined();
});

test('a pass that takes too long is told to end, and its key is tried again', async () => {
  let hang = true;
  const { queue, clock, begun } = bench(
    async (_, signal) => {
      if (!hang) return;
      hang = false;
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
    { timeoutMs: 2_000 },
  );
  queue.add('a');
  await clock.advance(1_999);
  expect(begun).toHaveLength(1);
  await clock.advance(10);
  expect(begun).toHaveLength(2);
});
