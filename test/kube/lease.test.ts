import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { AlreadyExists, Conflict } from '../../src/kube/errors.ts';
import {
  createUnheldLease,
  fenceLease,
  LEASE_FINALIZER,
  type LeaseSite,
  NODE_LABEL,
  renewLease,
  type Taking,
  takeLease,
} from '../../src/kube/lease.ts';
import { leases } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

let server: ApiServerAccess;
let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('lease');
  client = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(() => client.close());

function site(api: KubeClient = client): LeaseSite {
  return { api, clock: bootClock, namespace, node: `node-${randomUUID().slice(0, 8)}` };
}

const taking: Taking = { floor: 0, bootId: 'boot-1', settled: true, durationSeconds: 8 };
const limit = { timeoutMs: 1_500 };

async function onFaultyWire(): Promise<{ at: LeaseSite; proxy: FaultProxy }> {
  const proxy = await startFaultProxy(server.url);
  const kubeconfig = await server.kubeconfig({ url: proxy.url });
  const api = createKubeClient({ log: silentLog, kubeconfig, fieldManager: 'test' });
  onTestFinished(async () => {
    await api.close();
    await proxy.stop();
  });
  return { at: site(api), proxy };
}

describe('taking a Lease', () => {
  test('makes a record that says all the protocol asks of it', async () => {
    const at = site();
    const { lease, sentMs } = await takeLease(at, { ...taking, floor: 4, settled: false });
    expect(sentMs).toBeLessThanOrEqual(bootClock.nowMs());
    expect(lease).toMatchObject({
      holder: at.node,
      transitions: 5,
      durationSeconds: 8,
      bootId: 'boot-1',
      settled: false,
      metadata: { name: at.node, finalizers: [LEASE_FINALIZER], labels: { [NODE_LABEL]: at.node } },
    });
  });

  test('is a new incarnation each time, above the old one and above the floor', async () => {
    const at = site();
    const numbers: number[] = [];
    for (const floor of [0, 0, 7, 3]) numbers.push((await takeLease(at, { ...taking, floor })).lease.transitions);
    expect(numbers).toEqual([1, 2, 8, 9]);
  });

  test('of a record that is being deleted works: it is a record still', async () => {
    const at = site();
    await takeLease(at, taking);
    expect(await client.remove(leases, namespace, at.node)).toBe(true);
    const { lease } = await takeLease(at, { ...taking, bootId: 'boot-2' });
    expect(lease).toMatchObject({ transitions: 2, bootId: 'boot-2' });
    expect(lease.metadata.deletionTimestamp).toBeDefined();
    expect((await renewLease(at, lease, 8, limit)).type).toBe('renewed');
    expect((await fenceLease(at, (await client.get(leases, namespace, at.node))!)).holder).toBe('');
  });
});

describe('a renewal', () => {
  test('changes the time and the duration and nothing else', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    const renewal = await renewLease(at, lease, 12, limit);
    if (renewal.type !== 'renewed') throw new Error(renewal.type);
    const { metadata, renewTime, ...rest } = renewal.lease;
    expect(metadata.resourceVersion).not.toBe(lease.metadata.resourceVersion);
    expect(renewTime > lease.renewTime).toBe(true);
    expect(renewTime).toMatch(/\.\d{6}Z$/);
    const { metadata: oldMetadata, renewTime: _, ...old } = lease;
    expect(rest).toEqual({ ...old, durationSeconds: 12 });
    expect(metadata.annotations).toEqual(oldMetadata.annotations);
    expect(metadata.finalizers).toEqual(oldMetadata.finalizers);
  });

  test('after a fence is lost, and tells what was read', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    await fenceLease(at, lease);
    const renewal = await renewLease(at, lease, 8, limit);
    expect(renewal).toMatchObject({ type: 'lost', seen: { holder: '', transitions: 2 } });
  });

  test('of an incarnation that another has followed is lost', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    await takeLease(at, taking);
    expect(await renewLease(at, lease, 8, limit)).toMatchObject({ type: 'lost', seen: { transitions: 2 } });
  });

  test('of a record that is gone is lost', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    await client.patchMetadata(leases, namespace, at.node, { metadata: { finalizers: null } });
    await client.remove(leases, namespace, at.node);
    expect(await renewLease(at, lease, 8, limit)).toEqual({ type: 'lost', seen: undefined });
  });

  test('succeeds on a record on which somebody only set a label', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    await client.patchMetadata(leases, namespace, at.node, { metadata: { labels: { colour: 'green' } } });
    const renewal = await renewLease(at, lease, 8, limit);
    expect(renewal).toMatchObject({ type: 'renewed', lease: { metadata: { labels: { colour: 'green' } } } });
  });

  test('whose answer is lost is unknown; the next one finds the record and counts from its own sending', async () => {
    const { at, proxy } = await onFaultyWire();
    const { lease } = await takeLease(at, taking);
    proxy.loseAnswers(true);
    const startMs = performance.now();
    const open = await renewLease(at, lease, 8, { timeoutMs: 400 });
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(open.type).toBe('unknown');
    // It did land.
    expect((await client.get(leases, namespace, at.node))?.metadata.resourceVersion).not.toBe(
      lease.metadata.resourceVersion,
    );
    proxy.loseAnswers(false);
    const beforeMs = bootClock.nowMs();
    const next = await renewLease(at, lease, 8, limit);
    if (next.type !== 'renewed') throw new Error(next.type);
    expect(next.sentMs).toBeGreaterThanOrEqual(beforeMs);
  });

  test('counts from its sending, however late the answer comes', async () => {
    const { at, proxy } = await onFaultyWire();
    const { lease } = await takeLease(at, taking);
    proxy.set('silent');
    const startMs = bootClock.nowMs();
    const renewing = renewLease(at, lease, 8, limit);
    await bootClock.sleep(800);
    proxy.set('open');
    const renewal = await renewing;
    if (renewal.type !== 'renewed') throw new Error(renewal.type);
    expect(renewal.sentMs).toBeLessThan(startMs + 500);
  });

  test('over a silent wire is unknown within its time-out', async () => {
    const { at, proxy } = await onFaultyWire();
    const { lease } = await takeLease(at, taking);
    proxy.set('silent');
    const startMs = performance.now();
    expect((await renewLease(at, lease, 8, { timeoutMs: 300 })).type).toBe('unknown');
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});

describe('a fence', () => {
  test('takes the holder away and grows the incarnation', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    const fenced = await fenceLease(at, lease);
    expect(fenced).toMatchObject({ holder: '', transitions: 2, durationSeconds: 8, bootId: 'boot-1' });
    expect(fenced.metadata.finalizers).toEqual([LEASE_FINALIZER]);
  });

  test('does nothing when the node has renewed in between', async () => {
    const at = site();
    const { lease } = await takeLease(at, taking);
    await renewLease(at, lease, 8, limit);
    await expect(fenceLease(at, lease)).rejects.toThrow(Conflict);
    expect(await client.get(leases, namespace, at.node)).toMatchObject({ holder: at.node, transitions: 1 });
  });
});

describe('a Lease without holder', () => {
  test('is made once, ages and is fenced like any other', async () => {
    const at = site();
    const unheld = await createUnheldLease(at, { transitions: 3, durationSeconds: 8 });
    expect(unheld).toMatchObject({ holder: '', transitions: 3, durationSeconds: 8 });
    await expect(createUnheldLease(at, { transitions: 3, durationSeconds: 8 })).rejects.toThrow(AlreadyExists);
    expect(await fenceLease(at, unheld)).toMatchObject({ holder: '', transitions: 4 });
    expect((await takeLease(at, taking)).lease.transitions).toBe(5);
  });
});
