import { randomUUID } from 'node:crypto';
import { rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { PersonNeededError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Draft } from '../../src/kube/api.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { AlreadyExists, Conflict, Forbidden, Invalid, Unanswered, Unauthorized } from '../../src/kube/errors.ts';
import { failoverNodes, leases, vipResources } from '../../src/kube/resources.ts';
import type { ApiServerAccess, KubeconfigOptions } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

let server: ApiServerAccess;
let admin: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('client');
  admin = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(() => admin.close());

async function clientWith(options: KubeconfigOptions): Promise<KubeClient> {
  const client = createKubeClient({
    log: silentLog,
    kubeconfig: await server.kubeconfig(options),
    fieldManager: 'test',
  });
  onTestFinished(() => client.close());
  return client;
}

async function proxied(): Promise<{ proxy: FaultProxy; client: KubeClient }> {
  const proxy = await startFaultProxy(server.url);
  onTestFinished(() => proxy.stop());
  return { proxy, client: await clientWith({ url: proxy.url }) };
}

function leaseDraft(holder: string, name: string = randomUUID()): Draft {
  return { metadata: { name }, spec: { holderIdentity: holder } };
}

function nodeDraft(): Draft {
  return { metadata: { name: `n-${randomUUID()}` }, spec: { instanceId: 'i-0123456789abcdef0' } };
}

describe('writes under optimistic lock', () => {
  test('a replacement takes effect on the version it names and on no other', async () => {
    const first = await admin.create(leases, namespace, leaseDraft('a'));
    const draft = (holderIdentity: string) => ({ metadata: first.metadata, spec: { holderIdentity } });
    expect((await admin.replace(leases, namespace, draft('b'))).holder).toBe('b');
    await expect(admin.replace(leases, namespace, draft('c'))).rejects.toThrow(Conflict);
    expect((await admin.get(leases, namespace, first.metadata.name))?.holder).toBe('b');
  });

  test('a patch of the status that carries a version takes effect on that version and on no other', async () => {
    const node = await admin.create(failoverNodes, namespace, nodeDraft());
    const { name, resourceVersion } = node.metadata;
    const patch = (observedGeneration: number, metadata: object) => ({ metadata, status: { observedGeneration } });
    const patched = await admin.patchStatus(failoverNodes, namespace, name, patch(1, { resourceVersion }));
    expect(patched.status?.observedGeneration).toBe(1);
    const stale = admin.patchStatus(failoverNodes, namespace, name, patch(2, { resourceVersion }));
    await expect(stale).rejects.toThrow(Conflict);
    expect((await admin.patchStatus(failoverNodes, namespace, name, patch(3, {}))).status?.observedGeneration).toBe(3);
  });

  test('a patch of the metadata that carries a version takes effect on that version and on no other', async () => {
    const node = await admin.create(failoverNodes, namespace, nodeDraft());
    const { name, resourceVersion } = node.metadata;
    const patch = (value: string | null) => ({ metadata: { resourceVersion, annotations: { wish: value } } });
    const patched = await admin.patchMetadata(failoverNodes, namespace, name, patch('yes'));
    expect(patched.metadata.annotations).toEqual({ wish: 'yes' });
    await expect(admin.patchMetadata(failoverNodes, namespace, name, patch(null))).rejects.toThrow(Conflict);
  });

  test('a name is created once', async () => {
    const draft = leaseDraft('a');
    await admin.create(leases, namespace, draft);
    await expect(admin.create(leases, namespace, draft)).rejects.toThrow(AlreadyExists);
  });
});

describe('reads', () => {
  test('what is not there is undefined, and removing it says so', async () => {
    expect(await admin.get(leases, namespace, 'nobody')).toBeUndefined();
    expect(await admin.remove(leases, namespace, 'nobody')).toBe(false);
    const { metadata } = await admin.create(leases, namespace, leaseDraft('a'));
    await expect(admin.remove(leases, namespace, metadata.name, { uid: randomUUID() })).rejects.toThrow(Conflict);
    expect(await admin.remove(leases, namespace, metadata.name, { uid: metadata.uid })).toBe(true);
    expect(await admin.get(leases, namespace, metadata.name)).toBeUndefined();
  });

  test('a list of many pages is whole', async () => {
    const own = await server.namespace('pages');
    const names = Array.from({ length: 7 }, (_, i) => `lease-${i}`);
    await Promise.all(names.map((name) => admin.create(leases, own, leaseDraft('a', name))));
    const collected: unknown[] = [];
    let next = '';
    do {
      const page = await admin.listPage(leases, own, { limit: 3, continue: next });
      expect(page.items.length).toBeLessThanOrEqual(3);
      collected.push(...page.items);
      next = page.continue;
    } while (next !== '');
    expect(collected.map((raw) => leases.parse(raw).metadata.name)).toEqual(names);
    expect((await admin.list(leases, own)).items).toHaveLength(7);
    const one = await admin.list(leases, undefined, {
      fieldSelector: `metadata.namespace=${own},metadata.name=lease-3`,
    });
    expect(one.items.map(({ metadata }) => metadata.name)).toEqual(['lease-3']);
  });

  test('an object that does not have the shape of its kind stands beside the others of a list', async () => {
    const own = await server.namespace('shapes');
    await admin.create(leases, own, leaseDraft('a', 'odd'));
    await admin.create(leases, own, leaseDraft('a', 'even'));
    const picky: typeof leases = {
      ...leases,
      parse(raw) {
        const lease = leases.parse(raw);
        if (lease.metadata.name === 'odd') throw new Error('odd is no name');
        return lease;
      },
    };
    const { items, unreadable } = await admin.list(picky, own);
    expect(items.map(({ metadata }) => metadata.name)).toEqual(['even']);
    expect(unreadable).toEqual([{ key: `${own}/odd`, message: expect.stringContaining('odd is no name') }]);
    await expect(admin.get(picky, own, 'odd')).rejects.toThrow(PersonNeededError);
  });
});

describe('refusals', () => {
  test('a wrong object is Invalid, with the words of the server', async () => {
    const wrong = admin.create(vipResources, namespace, {
      metadata: { name: 'vip' },
      spec: { groupRef: { name: 'g' }, address: 'nonsense', vpcId: 'vpc-12345678', routeTableIds: ['rtb-12345678'] },
    });
    await expect(wrong).rejects.toThrow(Invalid);
    await expect(wrong).rejects.toThrow(/address must be an IPv4 or IPv6 address/);
  });

  test('what RBAC refuses is Forbidden, and names the right that is missing', async () => {
    await server.kubectl(['create', 'serviceaccount', 'nobody', '-n', namespace]);
    const nobody = await clientWith({ token: await server.serviceAccountToken(namespace, 'nobody') });
    const refused = nobody.get(leases, namespace, 'x');
    await expect(refused).rejects.toThrow(Forbidden);
    await expect(refused).rejects.toThrow(/cannot get resource "leases"/);
  });

  test('an unknown token is Unauthorized', async () => {
    const stranger = await clientWith({ token: 'nonsense' });
    await expect(stranger.get(leases, namespace, 'x')).rejects.toThrow(Unauthorized);
  });
});

describe('a token file', () => {
  async function tokenFile(content: string): Promise<string> {
    const path = join(server.dir, randomUUID());
    await writeFile(path, content);
    return path;
  }

  test('is read anew when it changes', async () => {
    const path = await tokenFile('nonsense');
    const client = await clientWith({ tokenFile: path });
    await expect(client.list(leases, namespace)).rejects.toThrow(Unauthorized);
    await writeFile(path, `${server.adminToken}\n`);
    await expect(client.list(leases, namespace)).resolves.toBeDefined();
    await writeFile(path, 'nonsense again');
    await expect(client.list(leases, namespace)).rejects.toThrow(Unauthorized);
  });

  test('is read anew on a 401, though it looks unchanged', async () => {
    const path = await tokenFile('x'.repeat(server.adminToken.length));
    const sameTime = new Date(1_000_000_000_000);
    await utimes(path, sameTime, sameTime);
    const client = await clientWith({ tokenFile: path });
    await expect(client.list(leases, namespace)).rejects.toThrow(Unauthorized);
    await client.list(leases, namespace).catch(() => {});
    await writeFile(path, server.adminToken);
    await utimes(path, sameTime, sameTime);
    await expect(client.list(leases, namespace)).resolves.toBeDefined();
  });

  test('that is away for a moment ends nothing', async () => {
    const path = await tokenFile(server.adminToken);
    const client = await clientWith({ tokenFile: path });
    await client.list(leases, namespace);
    await writeFile(path, server.adminToken);
    await rm(path);
    await expect(client.list(leases, namespace)).resolves.toBeDefined();
  });

  test('that never was there is said so', async () => {
    const client = await clientWith({ tokenFile: '/nonexistent/token' });
    await expect(client.list(leases, namespace)).rejects.toThrow(/token file \/nonexistent\/token cannot be read/);
  });
});

describe('a server that does not answer', () => {
  test('ends a call at its time-out, and with it the connection', async () => {
    const { proxy, client } = await proxied();
    await client.list(leases, namespace);
    // undici counts a connection as free only a turn after its answer has been read.
    await new Promise(setImmediate);
    expect(proxy.connections()).toBe(1);
    proxy.set('silent');
    const startMs = performance.now();
    await expect(client.list(leases, namespace, { timeoutMs: 300 })).rejects.toThrow(Unanswered);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    await vi.waitFor(() => expect(proxy.connections()).toBe(0));
    proxy.set('open');
    await expect(client.list(leases, namespace)).resolves.toBeDefined();
  });

  test('ends a call that still connects at its time-out', async () => {
    const { proxy, client } = await proxied();
    proxy.set('silent');
    const startMs = performance.now();
    await expect(client.list(leases, namespace, { timeoutMs: 300 })).rejects.toThrow(Unanswered);
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });

  test('lets a call end by the signal of its caller, with its reason', async () => {
    const { proxy, client } = await proxied();
    proxy.set('silent');
    const stop = new AbortController();
    const call = client.list(leases, namespace, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
  });

  test('leaves a write whose answer is lost open, and it may have happened', async () => {
    const { proxy, client } = await proxied();
    await client.list(leases, namespace);
    await client.get(leases, namespace, 'warm');
    proxy.loseAnswers(true);
    const draft = leaseDraft('a');
    await expect(client.create(leases, namespace, draft, { timeoutMs: 1_000 })).rejects.toThrow(Unanswered);
    await vi.waitFor(async () => expect(await admin.get(leases, namespace, draft.metadata.name)).toBeDefined());
  });

  test('is Unanswered when it resets the connection or refuses it', async () => {
    const { proxy, client } = await proxied();
    proxy.set('closed');
    await expect(client.list(leases, namespace)).rejects.toThrow(Unanswered);
  });
});

describe('connections', () => {
  test('are kept: 300 calls one after another do not open 300', async () => {
    const { proxy, client } = await proxied();
    const startMs = performance.now();
    for (let i = 0; i < 300; i += 1) await client.get(failoverNodes, namespace, 'nobody');
    console.log(
      `300 calls: ${proxy.accepted()} connection(s), ${((performance.now() - startMs) / 300).toFixed(2)} ms each`,
    );
    // The second opens when a call comes in the very turn in which the answer before it was read.
    expect(proxy.accepted()).toBeLessThanOrEqual(2);
  });

  test('of Leases are their own: calls that hang elsewhere do not delay a renewal', async () => {
    const { proxy, client } = await proxied();
    await client.get(leases, namespace, 'warm');
    const hanging = Array.from({ length: 40 }, () => client.get(failoverNodes, namespace, 'x', { timeoutMs: 2_000 }));
    proxy.set('silent');
    const all = Promise.allSettled(hanging);
    await vi.waitFor(() => expect(proxy.connections()).toBeGreaterThan(10));
    proxy.set('open');
    const before = performance.now();
    await client.get(leases, namespace, 'warm', { timeoutMs: 500 });
    expect(performance.now() - before).toBeLessThan(500);
    await all;
  });
});
