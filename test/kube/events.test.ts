import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { bootClock, type Clock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { createRecorder, events, type Happening, type Recorder, type Regarding } from '../../src/kube/events.ts';
import { failoverNodes } from '../../src/kube/resources.ts';
import { FakeClock } from '../base/fakeclock.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

let server: ApiServerAccess;
let admin: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('events');
  admin = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(() => admin.close());

interface StoredEvent {
  readonly reason: string;
  readonly note: string;
  readonly type: string;
  readonly action: string;
  readonly reportingController: string;
  readonly series?: { readonly count: number };
}

async function bench(
  clock: Clock = bootClock,
): Promise<{ recorder: Recorder; node: Regarding; proxy: FaultProxy; stored: () => Promise<StoredEvent[]> }> {
  const proxy = await startFaultProxy(server.url);
  const kubeconfig = await server.kubeconfig({ url: proxy.url });
  const api = createKubeClient({ log: silentLog, kubeconfig, fieldManager: 'test' });
  const recorder = createRecorder({
    api,
    clock,
    log: silentLog,
    controller: 'pointsman.dev/controller',
    instance: 'test',
  });
  const stop = new AbortController();
  const run = recorder.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await run;
    await api.close();
    await proxy.stop();
  });
  const { metadata } = await admin.create(failoverNodes, namespace, {
    metadata: { name: `n-${randomUUID()}` },
    spec: { instanceId: 'i-0123456789abcdef0' },
  });
  const { name, uid } = metadata;
  const apiVersion = 'pointsman.dev/v1alpha1';
  return {
    recorder,
    proxy,
    node: { apiVersion, kind: 'FailoverNode', namespace, name, uid },
    stored: async () => {
      const page = await admin.listPage(events, namespace, { limit: 500 });
      // The server's own shape, see StoredEvent.
      const all = page.items as (StoredEvent & { regarding: Regarding })[];
      return all.filter(({ regarding }) => regarding.uid === uid);
    },
  };
}

const moved: Happening = { type: 'Normal', reason: 'Moved', action: 'Move', note: 'moved to server2' };
const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 60_000, interval: 20 });

test('an event is written as the API wants it, and kubectl shows it', async () => {
  const { recorder, node, stored } = await bench();
  recorder.event(node, moved);
  await soon(async () => expect(await stored()).toHaveLength(1));
  expect((await stored())[0]).toMatchObject({ ...moved, reportingController: 'pointsman.dev/controller' });
  expect(await server.kubectl(['events', '-n', namespace, '--for', `failovernode/${node.name}`])).toMatch(
    /Normal\s+Moved\s+FailoverNode\/n-.*moved to server2/,
  );
});

test('the same again becomes a series of one event', async () => {
  const clock = new FakeClock();
  const { recorder, node, stored } = await bench(clock);
  recorder.event(node, moved);
  await clock.advance(0);
  await soon(async () => expect(await stored()).toHaveLength(1));
  for (let i = 0; i < 4; i += 1) recorder.event(node, moved);
  await clock.advance(10_000);
  await soon(async () => expect((await stored())[0]?.series?.count).toBe(5));
  expect(await stored()).toHaveLength(1);
});

test('a note that is too long is cut at the end of a character', async () => {
  const { recorder, node, stored } = await bench();
  recorder.event(node, { ...moved, note: 'ä'.repeat(2_000) });
  await soon(async () => expect(await stored()).toHaveLength(1));
  const note = (await stored())[0]!.note;
  expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1_024);
  expect(note).toMatch(/^ä{500,}…$/);
});

test('a flood about one object is bounded and what is lost is counted', async () => {
  const { recorder, node, stored } = await bench();
  for (let i = 0; i < 100; i += 1) recorder.event(node, { ...moved, note: `for the ${i}th time` });
  expect(recorder.dropped()).toBe(75);
  await soon(async () => expect(await stored()).toHaveLength(25));
});

test('recording returns at once while the server is away, and tells of it later', async () => {
  const clock = new FakeClock();
  const { recorder, node, proxy, stored } = await bench(clock);
  proxy.set('closed');
  const startMs = performance.now();
  for (let i = 0; i < 10; i += 1) recorder.event(node, { ...moved, note: `the ${i}th` });
  expect(performance.now() - startMs).toBeLessThan(500);
  await soon(() => expect(clock.nextMs()).toBeDefined());
  proxy.set('open');
  await clock.advance(5_000);
  await soon(async () => expect(await stored()).toHaveLength(10));
});

test('many events of many objects never outgrow the bound', async () => {
  const { recorder, node, proxy } = await bench();
  proxy.set('silent');
  for (let i = 0; i < 1_000; i += 1) recorder.event({ ...node, uid: randomUUID() }, moved);
  expect(recorder.dropped()).toBeGreaterThanOrEqual(700);
});
