import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { createReflector, type Reflector, type ReflectorOptions } from '../../src/kube/reflector.ts';
import { leases, type NodeLease } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

let server: ApiServerAccess;
let admin: KubeClient;

beforeAll(async () => {
  server = await sharedApiServer();
  admin = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(() => admin.close());

interface Bench {
  readonly namespace: string;
  readonly proxy: FaultProxy;
  readonly reflector: Reflector<NodeLease>;
  /** What the handler was told: `+name`, `~name`, `-name`. */
  readonly told: string[];
  put(name: string, holder: string): Promise<void>;
}

async function bench(options: Partial<ReflectorOptions<NodeLease>> = {}): Promise<Bench> {
  const namespace = await server.namespace('reflector');
  const proxy = await startFaultProxy(server.url);
  const kubeconfig = await server.kubeconfig({ url: proxy.url });
  const api = createKubeClient({ log: silentLog, kubeconfig, fieldManager: 'test' });
  const told: string[] = [];
  const reflector = createReflector({
    api,
    resource: leases,
    namespace,
    clock: bootClock,
    log: silentLog,
    onChange: (key, now, before) =>
      told.push(`${now === undefined ? '-' : before === undefined ? '+' : '~'}${key.split('/')[1]}`),
    ...options,
  });
  const stop = new AbortController();
  const run = reflector.run(stop.signal);
  onTestFinished(async () => {
    stop.abort(new Error('the test is over'));
    await run;
    await api.close();
    await proxy.stop();
  });
  return {
    namespace,
    proxy,
    reflector,
    told,
    async put(name, holder) {
      const seen = await admin.get(leases, namespace, name);
      const spec = { holderIdentity: holder };
      if (seen) await admin.replace(leases, namespace, { metadata: seen.metadata, spec });
      else await admin.create(leases, namespace, { metadata: { name }, spec });
    },
  };
}

const soon = (check: () => void, timeout = 60_000) => vi.waitFor(check, { timeout, interval: 5 });
const connected = (b: Bench) => soon(() => expect(b.reflector.connected()).toBe(true));

describe('a quiet watch', () => {
  test('keeps a copy and tells of every change, with what was before', async () => {
    const b = await bench();
    await connected(b);
    expect(b.reflector.synced()).toBe(true);
    await b.put('a', 'one');
    await soon(() => expect(b.reflector.get(`${b.namespace}/a`)?.holder).toBe('one'));
    await b.put('a', 'two');
    await soon(() => expect(b.reflector.get(`${b.namespace}/a`)?.holder).toBe('two'));
    await admin.remove(leases, b.namespace, 'a');
    await soon(() => expect(b.reflector.get(`${b.namespace}/a`)).toBeUndefined());
    expect(b.told).toEqual(['+a', '~a', '-a']);
    expect(b.reflector.gaps()).toBe(0);
  });

  test('of one object, by its name, hears of that one only', async () => {
    const b = await bench({ fieldSelector: 'metadata.name=mine' });
    await connected(b);
    await b.put('other', 'x');
    await b.put('mine', 'x');
    await soon(() => expect(b.told).toEqual(['+mine']));
  });

  test('goes on when a handler fails', async () => {
    const told: string[] = [];
    const b = await bench({
      onChange: (key) => {
        told.push(key);
        throw new Error('a broken handler');
      },
    });
    await connected(b);
    await b.put('a', 'one');
    await b.put('b', 'one');
    await soon(() => expect(told).toEqual([`${b.namespace}/a`, `${b.namespace}/b`]));
    expect(b.reflector.gaps()).toBe(0);
  });

  test('keeps an object it cannot read as a problem, and the others with it', async () => {
    const b = await bench({
      resource: {
        ...leases,
        parse(raw) {
          const lease = leases.parse(raw);
          if (lease.holder === 'nonsense') throw new Error('spec.holderIdentity is nonsense');
          return lease;
        },
      },
    });
    await connected(b);
    await b.put('a', 'fine');
    await soon(() => expect(b.told).toEqual(['+a']));
    await b.put('a', 'nonsense');
    await b.put('b', 'fine');
    const key = `${b.namespace}/a`;
    await soon(() => expect(b.told).toEqual(['+a', '-a', '+b']));
    expect(b.reflector.get(key)).toBeUndefined();
    expect(b.reflector.problem(key)).toMatch(/Cannot read Lease .*\/a: spec.holderIdentity is nonsense/);
    expect(b.reflector.list().map(({ metadata }) => metadata.name)).toEqual(['b']);
    await b.put('a', 'fine again');
    await soon(() => expect(b.reflector.get(key)?.holder).toBe('fine again'));
    expect(b.reflector.problem(key)).toBeUndefined();
    expect(b.reflector.problems()).toEqual([]);
  });
});

describe('a watch that breaks', () => {
  test('by a reset is back at once, has missed nothing and counts a gap', async () => {
    const b = await bench();
    await connected(b);
    await b.put('a', 'one');
    await soon(() => expect(b.told).toEqual(['+a']));
    b.proxy.reset();
    const cutMs = performance.now();
    await soon(() => expect(b.reflector.gaps()).toBeGreaterThan(0));
    await b.put('a', 'two');
    await soon(() => expect(b.told).toEqual(['+a', '~a']));
    expect(performance.now() - cutMs).toBeLessThan(1_000);
    expect(b.reflector.failure()).toBeUndefined();
  });

  test('in the middle of an event is opened again, and the event is told once', async () => {
    const b = await bench();
    await connected(b);
    b.proxy.truncateAfter(40);
    await b.put('a', 'one');
    await soon(() => expect(b.told).toEqual(['+a']));
    expect(b.reflector.gaps()).toBeGreaterThan(0);
  });

  test('by silence is found by its idle time, and is whole again once the wire is', async () => {
    const b = await bench({ idleMs: 600 });
    await connected(b);
    b.proxy.set('silent');
    const aliveMs = b.reflector.lastAliveMs();
    await soon(() => expect(b.reflector.connected()).toBe(false));
    expect(b.reflector.lastAliveMs()).toBe(aliveMs);
    const during = b.reflector.gaps();
    expect(during).toBeGreaterThan(0);
    await b.put('a', 'one');
    b.proxy.set('open');
    await soon(() => expect(b.told).toEqual(['+a']), 10_000);
    // The end of the gap counts too: what looked unchanged during it begins to count only now.
    expect(b.reflector.gaps()).toBeGreaterThan(during);
  });

  test('while the server is away is tried again with growing pauses, and is back when it is', async () => {
    const b = await bench({ maxBackOffMs: 1_000 });
    await connected(b);
    b.proxy.set('closed');
    await soon(() => expect(b.reflector.failure()).toMatch(/Cannot watch leases/));
    await soon(() => expect(b.reflector.gaps()).toBeGreaterThan(2));
    await b.put('a', 'one');
    b.proxy.set('open');
    await soon(() => expect(b.told).toEqual(['+a']));
  });

  test('notices that an object was deleted and made anew while it did not look', async () => {
    const b = await bench({ maxBackOffMs: 200 });
    await connected(b);
    await b.put('a', 'one');
    await soon(() => expect(b.told).toEqual(['+a']));
    b.proxy.set('closed');
    await soon(() => expect(b.reflector.connected()).toBe(false));
    await admin.remove(leases, b.namespace, 'a');
    await b.put('a', 'two');
    b.proxy.set('open');
    await soon(() => expect(b.told).toEqual(['+a', '-a', '+a']));
  });
});

test('a first list that fails is tried again', async () => {
  const proxy = await startFaultProxy(server.url);
  proxy.set('closed');
  const kubeconfig = await server.kubeconfig({ url: proxy.url });
  const api = createKubeClient({ log: silentLog, kubeconfig, fieldManager: 'test' });
  const namespace = await server.namespace('reflector');
  const reflector = createReflector({
    api,
    resource: leases,
    namespace,
    clock: bootClock,
    log: silentLog,
    maxBackOffMs: 200,
    onChange: () => {},
  });
  const stop = new AbortController();
  const run = reflector.run(stop.signal);
  await soon(() => expect(reflector.failure()).toMatch(/Cannot list leases/));
  expect(reflector.synced()).toBe(false);
  proxy.set('open');
  await soon(() => expect(reflector.synced()).toBe(true));
  stop.abort();
  await run;
  await api.close();
  await proxy.stop();
});

test('stopped and started again it watches once', async () => {
  const name = randomUUID();
  const namespace = await server.namespace('reflector');
  const told: string[] = [];
  const reflector = createReflector({
    api: admin,
    resource: leases,
    namespace,
    clock: bootClock,
    log: silentLog,
    onChange: (key) => told.push(key),
  });
  for (let i = 0; i < 3; i += 1) {
    const stop = new AbortController();
    const run = reflector.run(stop.signal);
    if (i === 1) await soon(() => expect(reflector.connected()).toBe(true));
    if (i === 2) {
      await soon(() => expect(reflector.connected()).toBe(true));
      await admin.create(leases, namespace, { metadata: { name }, spec: {} });
      await soon(() => expect(told).toEqual([`${namespace}/${name}`]));
    }
    stop.abort();
    await run;
  }
});
