import { expect, test } from 'vitest';
import { type Attempt, gapsOf } from '../../sandbox/prober.ts';

const attempt = (startMs: number, outcome: Attempt['outcome'], tookMs = 1): Attempt => ({
  startMs,
  endMs: startMs + tookMs,
  outcome,
});

test('a gap lasts from the last answer before it to the first one after it', () => {
  const { gaps, awaySinceMs } = gapsOf([
    attempt(0, 'ok'),
    attempt(5, 'refused'),
    attempt(10, 'refused'),
    attempt(15, 'ok', 4),
    attempt(20, 'ok'),
  ]);
  expect(gaps).toEqual([{ fromMs: 1, toMs: 19, ms: 18, failed: 2 }]);
  expect(awaySinceMs).toBeUndefined();
});

test('attempts that time out after a later one was answered belong to the gap in which they were made', () => {
  const { gaps } = gapsOf([attempt(0, 'ok'), attempt(10, 'ok'), attempt(15, 'ok'), attempt(5, 'timeout', 200)]);
  expect(gaps).toEqual([{ fromMs: 1, toMs: 11, ms: 10, failed: 1 }]);
});

test('an attempt that failed while an earlier and a later one were under way is no gap', () => {
  expect(gapsOf([attempt(0, 'ok', 50), attempt(5, 'refused'), attempt(10, 'ok')]).gaps).toEqual([]);
});

test('a service that has not come back is away since its last answer', () => {
  expect(gapsOf([attempt(0, 'ok'), attempt(5, 'timeout', 200)])).toEqual({ gaps: [], awaySinceMs: 1 });
});

test('before the first answer there is no gap', () => {
  expect(gapsOf([attempt(0, 'refused'), attempt(5, 'ok')]).gaps).toEqual([]);
});
