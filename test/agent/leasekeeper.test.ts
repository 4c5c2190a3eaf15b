import { describe, expect, onTestFinished, test } from 'vitest';
import { createLeaseKeeper, type LeaseKeeper, type Prepared } from '../../src/agent/leasekeeper.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Deadline } from '../../src/decide/agent.ts';
import type { Timing } from '../../src/decide/timing.ts';
import type { KubeApi } from '../../src/kube/api.ts';
import { Conflict, Unanswered } from '../../src/kube/errors.ts';
import { leases, type NodeLease } from '../../src/kube/resources.ts';
import { FakeClock } from '../base/fakeclock.ts';

const TIMING: Timing = { renewEveryMs: 1_000, fenceAfterMs: 5_000, killWithinMs: 1_000, takeoverAfterMs: 8_000 };
const SHORT: Timing = { renewEveryMs: 500, fenceAfterMs: 2_000, killWithinMs: 1_000, takeoverAfterMs: 4_000 };

/** The node's one Lease, with versions; `answers` says how the next writes are answered. */
class OneLease {
  stored: NodeLease | undefined;
  version = 0;
  writes: { atMs: number; durationSeconds: number }[] = [];
  /** What becomes of a write: done and answered, not done, done without an answer, or left open. */
  next: ('ok' | 'refused' | 'unanswered' | 'lost')[] = [];
  away = false;
  /** From the sending to the answer. */
  latencyMs = 0;
  readonly clock: FakeClock;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  write(spec: Record<string, unknown>, annotations: Record<string, string> = {}): NodeLease {
    const metadata = { name: 'a', namespace: 'test', uid: 'u1', resourceVersion: String(++this.version), annotations };
    this.stored = leases.parse({ metadata: { ...this.stored?.metadata, ...metadata }, spec });
    return this.stored;
  }

  readonly api: KubeApi = {
    get: async () => {
      if (this.away) throw new Unanswered('away');
      return this.stored as never; // the only kind there is
    },
    replace: async (_, __, body) => {
      const how = this.away ? 'unanswered' : (this.next.shift() ?? 'ok');
      const { metadata, spec } = body as never as { metadata: Record<string, never>; spec: Record<string, unknown> };
      this.writes.push({ atMs: this.clock.nowMs(), durationSeconds: Number(spec['leaseDurationSeconds']) });
      if (this.latencyMs > 0) await this.clock.sleep(this.latencyMs);
      if (how === 'unanswered') throw new Unanswered('no answer');
      if (how === 'refused' || metadata['resourceVersion'] !== this.stored?.metadata.resourceVersion) {
        throw new Conflict('somebody wrote in between');
      }
      const written = this.write(spec, metadata['annotations']);
      if (how === 'lost') throw new Unanswered('the answer is lost');
      return written as never;
    },
    create: async (_, __, body) => this.write(body['spec'] as never, body.metadata['annotations'] as never) as never,
    list: async () => ({ items: [], unreadable: [] }),
    patchStatus: () => Promise.reject(new Error('unused')),
    patchMetadata: () => Promise.reject(new Error('unused')),
    remove: () => Promise.reject(new Error('unused')),
  };
}

interface Bench {
  readonly clock: FakeClock;
  readonly lease: OneLease;
  readonly keeper: LeaseKeeper;
  readonly told: string[];
  readonly deadlines: Deadline[];
  timing: Timing;
  remembered: number | undefined;
}

function openBench(change: { remembered?: number; stored?: Record<string, unknown>; prepared?: Prepared } = {}): Bench {
  const clock = new FakeClock();
  const lease = new OneLease(clock);
  if (change.stored) lease.write(change.stored, { 'pointsman.dev/boot-id': 'boot-1' });
  const told: string[] = [];
  const deadlines: Deadline[] = [];
  const bench: Bench = {
    clock,
    lease,
    told,
    deadlines,
    timing: TIMING,
    remembered: change.remembered,
    keeper: undefined as never,
  };
  const keeper = createLeaseKeeper({
    site: { api: lease.api, clock, namespace: 'test', node: 'a' },
    bootId: 'boot-1',
    clock,
    log: silentLog,
    timing: () => bench.timing,
    remembered: () => bench.remembered,
    prepare: async () => {
      told.push('prepare');
      return change.prepared ?? { settled: true, floor: 0 };
    },
    cutDeadlines: async (untilMs) => void told.push(`cut ${untilMs - clock.nowMs()}`),
    onTaken: (incarnation) => {
      bench.remembered = incarnation;
      told.push(`taken ${incarnation}`);
    },
    onDeadline: (deadline) => void deadlines.push(deadline),
    onLost: () => {
      bench.remembered = undefined;
      told.push('lost');
    },
  });
  const stop = new AbortController();
  void keeper.run(stop.signal);
  onTestFinished(() => stop.abort());
  return Object.assign(bench, { keeper });
}

const HELD = { holderIdentity: 'a', leaseTransitions: 4, leaseDurationSeconds: 8 };

describe('the deadline', () => {
  test('counts from the sending of the last renewal that was answered', async () => {
    const { clock, lease, keeper } = openBench();
    lease.latencyMs = 300;
    await clock.advance(3_500);
    const sentMs = lease.writes.at(-1)!.atMs;
    expect(keeper.deadline().untilMs).toBe(sentMs + 5_000);
    lease.away = true;
    await clock.advance(3_000);
    expect(keeper.deadline().untilMs).toBe(sentMs + 5_000);
    expect(lease.writes.length).toBeGreaterThan(6); // it goes on asking, at a fixed short interval
  });

  test('is not moved by a renewal whose answer is lost, nor by the read after it', async () => {
    const { clock, lease, keeper } = openBench();
    await clock.advance(2_500);
    const before = keeper.deadline().untilMs;
    lease.next = ['lost', 'refused', 'refused'];
    await clock.advance(600);
    expect(keeper.deadline().untilMs).toBe(before);
    expect(keeper.incarnation()).toBe(1);
  });

  test('has a gap when it passed before it was renewed, and none otherwise', async () => {
    const { clock, lease, keeper } = openBench();
    await clock.advance(2_500);
    const { unbrokenSinceMs } = keeper.deadline();
    lease.away = true;
    await clock.advance(4_000);
    lease.away = false;
    await clock.advance(500);
    expect(keeper.deadline().unbrokenSinceMs).toBe(unbrokenSinceMs);
    lease.away = true;
    await clock.advance(6_000);
    lease.away = false;
    await clock.advance(500);
    expect(keeper.deadline().unbrokenSinceMs).toBeGreaterThan(unbrokenSinceMs + 9_000);
    expect(keeper.incarnation()).toBe(1); // nobody fenced it: the incarnation goes on
  });
});

describe('the incarnation', () => {
  test('is taken above what the Lease says, after everything has been ended', async () => {
    const { clock, lease, told, keeper } = openBench({
      stored: { ...HELD, holderIdentity: '' },
      prepared: { settled: false, floor: 9 },
    });
    await clock.advance(10);
    expect(told.filter((line) => !line.startsWith('cut'))).toEqual(['lost', 'prepare', 'taken 10']);
    expect(keeper.incarnation()).toBe(10);
    expect(lease.stored).toMatchObject({ holder: 'a', transitions: 10, settled: false, bootId: 'boot-1' });
  });

  test('of an earlier agent of this boot goes on, and its Lease is renewed before anything is prolonged', async () => {
    const { clock, told, keeper, deadlines } = openBench({ stored: HELD, remembered: 4 });
    await clock.advance(10);
    expect(keeper.incarnation()).toBe(4);
    // The earlier agent's numbers are not known: every deadline is cut before the first record leaves.
    expect(told).toEqual(['cut 5000']);
    expect(deadlines).toHaveLength(1);
  });

  test.each([
    ['of another number', { ...HELD, leaseTransitions: 5 }, 4],
    ['that nobody remembers', HELD, undefined],
  ])('%s is not gone on with', async (_, stored, remembered) => {
    const { clock, told } = openBench({ stored, ...(remembered === undefined ? {} : { remembered }) });
    await clock.advance(10);
    expect(told).toContain('prepare');
  });

  test('is lost with a fence: everything ends before the next is taken', async () => {
    const { clock, lease, told, keeper } = openBench();
    await clock.advance(2_500);
    told.length = 0;
    lease.write({ ...HELD, holderIdentity: '', leaseTransitions: 2 });
    await clock.advance(1_000);
    expect(told.filter((line) => !line.startsWith('cut'))).toEqual(['lost', 'lost', 'prepare', 'taken 3']);
    expect(keeper.incarnation()).toBe(3);
  });

  test('is lost with /run', async () => {
    const bench = openBench();
    await bench.clock.advance(2_500);
    bench.remembered = undefined;
    await bench.clock.advance(1_000);
    expect(bench.keeper.incarnation()).toBe(2);
  });
});

describe('a change of timing', () => {
  test('to smaller numbers cuts every deadline before the first record with them leaves', async () => {
    const bench = openBench();
    const { clock, lease, told, keeper } = bench;
    await clock.advance(1_500);
    told.length = 0;
    lease.writes.length = 0;
    bench.timing = SHORT;
    keeper.timingChanged();
    await clock.advance(1);
    expect(told).toEqual(['cut 2000']);
    expect(lease.writes.map(({ durationSeconds }) => durationSeconds)).toEqual([4]);
    expect(keeper.deadline().untilMs).toBe(lease.writes[0]!.atMs + 2_000);
  });

  test('to larger numbers prolongs nothing before a record with them has been answered', async () => {
    const bench = openBench();
    bench.timing = SHORT;
    await bench.clock.advance(1_400);
    const { clock, lease, keeper } = bench;
    lease.next = ['refused', 'refused', 'unanswered', 'unanswered'];
    bench.timing = TIMING;
    keeper.timingChanged();
    await clock.advance(300);
    expect(keeper.deadline().untilMs - clock.nowMs()).toBeLessThanOrEqual(2_000);
    await clock.advance(1_000);
    expect(keeper.deadline().untilMs - clock.nowMs()).toBeGreaterThan(3_000);
    expect(lease.stored?.durationSeconds).toBe(8);
  });

  test.each([
    ['larger', SHORT, TIMING],
    ['smaller', TIMING, SHORT],
  ])('to %s numbers while a renewal is under way leaves it the smaller of both', async (_, before, after) => {
    const bench = openBench();
    const { clock, lease, keeper } = bench;
    bench.timing = before;
    await clock.advance(1_100);
    lease.latencyMs = 400;
    const sent = lease.writes.length;
    while (lease.writes.length === sent) await clock.advance(10);
    bench.timing = after;
    await clock.advance(430); // answered, and the next one not yet sent
    expect(keeper.deadline().untilMs).toBe(lease.writes[sent]!.atMs + 2_000);
  });
});
