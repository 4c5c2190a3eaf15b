import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { Expired } from '../../src/kube/errors.ts';
import { renewLease, takeLease } from '../../src/kube/lease.ts';
import { createReflector } from '../../src/kube/reflector.ts';
import { leases } from '../../src/kube/resources.ts';
import { type ApiServer, startApiServer } from './apiserver.ts';

/** A server of its own: the others' would notice. */
let server: ApiServer;
let client: KubeClient;

beforeAll(async () => {
  server = await startApiServer();
  client = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(async () => {
  await client.close();
  await server.stop();
});

const namespace = 'default';
const soon = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 10 });

async function put(name: string, holderIdentity: string): Promise<void> {
  const seen = await client.get(leases, namespace, name);
  if (seen) await client.replace(leases, namespace, { metadata: seen.metadata, spec: { holderIdentity } });
  else await client.create(leases, namespace, { metadata: { name }, spec: { holderIdentity } });
}

test('a restart of the API server and forgotten history: the copy is right again, and a renewal goes on', async () => {
  const told: string[] = [];
  const reflector = createReflector({
    api: client,
    resource: leases,
    namespace,
    clock: bootClock,
    log: silentLog,
    onChange: (key, now) => told.push(`${key} ${now?.holder ?? 'gone'}`),
  });
  await put('stays', 'one');
  await put('goes', 'one');
  const site = { api: client, clock: bootClock, namespace, node: 'server1' };
  const { lease } = await takeLease(site, { floor: 0, bootId: 'b', settled: true, durationSeconds: 8 });

  let stop = new AbortController();
  let run = reflector.run(stop.signal);
  await soon(() => expect(reflector.connected()).toBe(true));
  const before = (await client.listPage(leases, namespace, { limit: 1 })).resourceVersion;

  // Away for the changes, so that what it knows lies before the history that is left.
  stop.abort();
  await run;
  await put('stays', 'two');
  await client.remove(leases, namespace, 'goes');
  await put('comes', 'one');
  await server.restart(() => server.compact());

  const stale = client.watch(leases, namespace, {
    signal: AbortSignal.timeout(10_000),
    resourceVersion: before,
    timeoutSeconds: 5,
    idleMs: 10_000,
  });
  const reading = async () => {
    for await (const event of stale) if (event.type === 'ERROR') return event.object;
    return undefined;
  };
  // Before the stream by status, or in it as an event: either is the server's way to say 410.
  await reading().then(
    (status) => expect(status).toMatchObject({ code: 410 }),
    (error) => expect(error).toBeInstanceOf(Expired),
  );

  told.length = 0;
  stop = new AbortController();
  run = reflector.run(stop.signal);
  await soon(() => expect(told).toHaveLength(3));
  expect(new Set(told)).toEqual(new Set(['default/stays two', 'default/goes gone', 'default/comes one']));
  await soon(() => expect(reflector.connected()).toBe(true));
  expect(reflector.gaps()).toBeGreaterThan(0);
  expect((await renewLease(site, lease, 8, { timeoutMs: 2_000 })).type).toBe('renewed');

  // And a restart under a watch that is open.
  await server.restart();
  await put('comes', 'two');
  await soon(() => expect(reflector.get('default/comes')?.holder).toBe('two'));
  stop.abort();
  await run;
});
