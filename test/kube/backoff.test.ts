import { expect, onTestFinished, test } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import type { WatchApi, WatchEvent } from '../../src/kube/api.ts';
import { Throttled, Unanswered } from '../../src/kube/errors.ts';
import { createReflector, type Reflector } from '../../src/kube/reflector.ts';
import { leases, type NodeLease } from '../../src/kube/resources.ts';
import { FakeClock } from '../base/fakeclock.ts';

/** What one watch does: says some events, then ends, fails, or stays. */
interface Script {
  readonly events?: readonly WatchEvent[];
  readonly lastsMs?: number;
  readonly ending: 'end' | 'stay' | Error;
}

/** A server that does with each watch what its script says, and stays silent after the last. */
function scripted(...scripts: Script[]) {
  const clock = new FakeClock();
  const watchedFrom: string[] = [];
  const told: string[] = [];
  let lists = 0;
  const api: WatchApi = {
    // Of every list there is one object, each time another of the same name.
    async listPage() {
      lists += 1;
      const metadata = { namespace: 'ns', name: 'a', uid: `uid-${lists}`, resourceVersion: '1' };
      return { items: [{ metadata, spec: {} }], resourceVersion: `${lists * 100}`, continue: '' };
    },
    async *watch(_r, _namespace, o) {
      watchedFrom.push(o.resourceVersion);
      o.onOpen?.();
      const script = scripts.shift() ?? { ending: 'stay' };
      yield* script.events ?? [];
      await clock.sleep(script.ending === 'stay' ? Number.MAX_SAFE_INTEGER : (script.lastsMs ?? 0), o.signal);
      if (script.ending instanceof Error) throw script.ending;
    },
  };
  const reflector: Reflector<NodeLease> = createReflector({
    api,
    resource: leases,
    namespace: 'ns',
    clock,
    log: silentLog,
    random: () => 0.5,
    onChange: (_, now, before) => told.push(`${before?.metadata.uid ?? ''} -> ${now?.metadata.uid ?? ''}`),
  });
  const stop = new AbortController();
  const run = reflector.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await run;
  });
  return { clock, reflector, watchedFrom, told, lists: () => lists };
}

const bookmark = (resourceVersion: string): WatchEvent => ({
  type: 'BOOKMARK',
  object: { kind: 'Lease', metadata: { resourceVersion } },
});
const failed = (code: number): WatchEvent => ({ type: 'ERROR', object: { kind: 'Status', code, message: 'no' } });
const broken = new Unanswered('the stream broke');

test('a stream that breaks after a bookmark goes on from there, without a list', async () => {
  const { clock, watchedFrom, lists } = scripted({ events: [bookmark('150')], ending: broken });
  await clock.advance(100);
  expect(watchedFrom).toEqual(['100', '150']);
  expect(lists()).toBe(1);
});

test('a stream that the server ends in its time is no gap', async () => {
  const { clock, reflector, watchedFrom } = scripted({ lastsMs: 300_000, ending: 'end' });
  await clock.advance(300_100);
  expect(watchedFrom).toEqual(['100', '100']);
  expect(reflector.gaps()).toBe(0);
});

test('history that is gone is listed again at once', async () => {
  const { clock, reflector, watchedFrom, lists } = scripted({ events: [bookmark('150'), failed(410)], ending: 'stay' });
  await clock.advance(60);
  expect(lists()).toBe(2);
  expect(watchedFrom).toEqual(['100', '200']);
  expect(reflector.gaps()).toBe(2);
});

test('an object made anew between two lists is told as gone and as new', async () => {
  const { clock, told } = scripted({ events: [failed(410)], ending: 'stay' });
  await clock.advance(60);
  expect(told).toEqual([' -> uid-1', 'uid-1 -> ', ' -> uid-2']);
});

test('any other error of the stream keeps its place', async () => {
  const { clock, watchedFrom, lists } = scripted({ events: [failed(500)], ending: 'stay' });
  await clock.advance(60);
  expect(watchedFrom).toEqual(['100', '100']);
  expect(lists()).toBe(1);
});

test('the first attempt comes almost at once, the next ones at growing pauses up to the limit', async () => {
  const { clock, watchedFrom } = scripted(...Array.from({ length: 8 }, (): Script => ({ ending: broken })));
  await clock.advance(0);
  const pauses: number[] = [];
  for (let i = 0; i < 6; i += 1) {
    const pause = clock.nextMs() ?? Number.NaN;
    pauses.push(pause);
    await clock.advance(pause);
  }
  expect(pauses).toEqual([25, 300, 600, 1_000, 1_000, 1_000]);
  expect(watchedFrom).toHaveLength(7);
});

test('after two quiet minutes the first attempt comes almost at once again', async () => {
  const { clock } = scripted({ ending: broken }, { ending: broken }, { lastsMs: 130_000, ending: broken });
  await clock.advance(25 + 300 + 130_000);
  expect(clock.nextMs()).toBe(25);
});

test('a stream that ends at once, time and again, is a failure in disguise', async () => {
  const { clock, reflector } = scripted({ ending: 'end' }, { ending: 'end' });
  await clock.advance(25);
  expect(reflector.failure()).toMatch(/ended at once/);
  expect(clock.nextMs()).toBe(300);
});

test('the pause that the server asks for is kept', async () => {
  const { clock, watchedFrom } = scripted({ ending: new Throttled('slow down', 7_000) });
  await clock.advance(6_999);
  expect(watchedFrom).toHaveLength(1);
  await clock.advance(1);
  expect(watchedFrom).toHaveLength(2);
});

test('a server that is back after an outage and wants a new list gets it at once', async () => {
  const away = { ending: new Unanswered('refused') };
  const { clock, lists } = scripted(away, away, away, away, away, { events: [failed(410)], ending: 'stay' });
  await clock.advance(0);
  expect(lists()).toBe(1);
  await clock.advance(60_000); // through every pause of the outage
  expect(lists()).toBe(2);
  const again = scripted(away, away, away, away, { events: [failed(410)], ending: 'stay' });
  for (let i = 0; i < 200 && again.watchedFrom.length < 5; i++) await again.clock.advance(100);
  await again.clock.advance(60);
  expect(again.lists()).toBe(2);
});

test('a server that wants a new list again and again is not asked without a pause', async () => {
  const expired = { events: [failed(410)], ending: 'stay' as const };
  const { clock, lists } = scripted(...Array.from({ length: 50 }, () => expired));
  await clock.advance(5_000);
  expect(lists()).toBeLessThan(10);
});
