import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { createElection, type Election, type ElectionOptions } from '../../src/kube/election.ts';
import { leases } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

/** Short, so that the tests are; the same shape as 5/3/1 s. */
const TIMES = { leaseDurationMs: 3_000, renewDeadlineMs: 2_000, retryEveryMs: 400, stopWithinMs: 1_000 };

let server: ApiServerAccess;
let admin: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('election');
  admin = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(() => admin.close());

interface Candidate {
  readonly election: Election;
  readonly proxy: FaultProxy;
  readonly stop: AbortController;
  readonly run: Promise<void>;
  readonly terms: number[];
  /** Whether work is under way. */
  working: boolean;
}

async function candidate(
  name: string,
  identity: string,
  work: (leading: AbortSignal) => Promise<void> = untilAborted,
  times: Partial<ElectionOptions> = TIMES,
): Promise<Candidate> {
  const proxy = await startFaultProxy(server.url);
  const kubeconfig = await server.kubeconfig({ url: proxy.url });
  const api = createKubeClient({ log: silentLog, kubeconfig, fieldManager: identity });
  const election = createElection({
    api,
    clock: bootClock,
    log: silentLog,
    random: Math.random,
    namespace,
    name,
    identity,
    ...times,
  });
  const stop = new AbortController();
  const terms: number[] = [];
  const run = election.run(stop.signal, async (leading, term) => {
    terms.push(term);
    it.working = true;
    try {
      await work(leading);
    } finally {
      it.working = false;
    }
  });
  const it: Candidate = { election, proxy, stop, run, terms, working: false };
  onTestFinished(async () => {
    stop.abort(new Error('the test is over'));
    await run.catch(() => {});
    await api.close();
    await proxy.stop();
  });
  return it;
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

const leads = (c: Candidate) =>
  vi.waitFor(() => expect(c.election.isLeader()).toBe(true), { timeout: 15_000, interval: 10 });
const leadsNoMore = (c: Candidate) =>
  vi.waitFor(() => expect(c.election.isLeader()).toBe(false), { timeout: 15_000, interval: 10 });

/** Looks every few milliseconds until the test is over. */
function watchFor(bad: () => boolean): () => void {
  let seen = 0;
  const timer = setInterval(() => {
    if (bad()) seen += 1;
  }, 3);
  onTestFinished(() => clearInterval(timer));
  return () => expect(seen).toBe(0);
}

test('of two candidates one leads, and hands over at once when it stops', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a');
  await leads(a);
  const b = await candidate(name, 'b');
  const neverBoth = watchFor(() => a.election.isLeader() && b.election.isLeader());
  await delay(2 * TIMES.retryEveryMs);
  expect(b.election.isLeader()).toBe(false);
  const startMs = performance.now();
  a.stop.abort(new Error('stop'));
  await a.run;
  await leads(b);
  expect(performance.now() - startMs).toBeLessThan(TIMES.leaseDurationMs);
  expect(b.terms[0]).toBeGreaterThan(a.terms[0] ?? 0);
  neverBoth();
});

test('a leader whose wire falls silent leads no more before the other begins', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a');
  await leads(a);
  const b = await candidate(name, 'b');
  const neverBoth = watchFor(() => a.election.isLeader() && b.election.isLeader());
  const neverBothWork = watchFor(() => a.working && b.working);
  a.proxy.set('silent');
  const startMs = performance.now();
  await leadsNoMore(a);
  expect(performance.now() - startMs).toBeLessThan(TIMES.leaseDurationMs);
  expect(b.election.isLeader()).toBe(false);
  await leads(b);
  // Back on the wire it is a candidate again, not a leader.
  a.proxy.set('open');
  await delay(3 * TIMES.retryEveryMs);
  expect(a.election.isLeader()).toBe(false);
  neverBoth();
  neverBothWork();
});

test('a leader whose renewals land but are never answered leads no more, and the other waits until they stop', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a');
  await leads(a);
  const b = await candidate(name, 'b');
  const neverBoth = watchFor(() => a.election.isLeader() && b.election.isLeader());
  a.proxy.loseAnswers(true);
  await leadsNoMore(a);
  await leads(b);
  neverBoth();
});

test('through cuts of both wires by turns, never two lead', async () => {
  const name = randomUUID();
  const pair = [await candidate(name, 'a'), await candidate(name, 'b')] as const;
  const neverBoth = watchFor(() => pair[0].election.isLeader() && pair[1].election.isLeader());
  const neverBothWork = watchFor(() => pair[0].working && pair[1].working);
  for (const [who, state, ms] of [
    [0, 'silent', 1_400],
    [1, 'closed', 900],
    [0, 'open', 1_500],
    [1, 'open', 600],
    [0, 'closed', 2_200],
    [0, 'open', 300],
    [1, 'silent', 2_500],
    [1, 'open', 300],
  ] as const) {
    pair[who].proxy.set(state);
    await delay(ms);
  }
  await vi.waitFor(() => expect(pair.some(({ election }) => election.isLeader())).toBe(true), { timeout: 15_000 });
  neverBoth();
  neverBothWork();
});

test('a server slower than one attempt gets a leader all the same', async () => {
  const a = await candidate(randomUUID(), 'a');
  a.proxy.slowDown(TIMES.retryEveryMs + 100);
  await leads(a);
});

test('a process that stood still does not lead when it wakes, before any timer has fired', async () => {
  const a = await candidate(randomUUID(), 'a');
  await leads(a);
  const wakesAt = performance.now() + TIMES.renewDeadlineMs + 100;
  while (performance.now() < wakesAt) {
    // The event loop is blocked, as by a pause of the machine.
  }
  expect(a.election.isLeader()).toBe(false);
});

test('the Lease is given back only after the work has ended, and is renewed until then', async () => {
  const name = randomUUID();
  let finish = () => {};
  const a = await candidate(
    name,
    'a',
    async (leading) => {
      await untilAborted(leading);
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    },
    { ...TIMES, stopWithinMs: 10_000 },
  );
  await leads(a);
  a.stop.abort(new Error('stop'));
  await delay(TIMES.renewDeadlineMs + 300);
  expect(a.election.isLeader()).toBe(true);
  expect((await admin.get(leases, namespace, name))?.holder).toBe('a');
  finish();
  await a.run;
  expect(await admin.get(leases, namespace, name)).toMatchObject({ holder: '' });
});

test('work that does not end in time fails the run, and the Lease is not given back', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a', () => new Promise(() => {}));
  await leads(a);
  a.stop.abort(new Error('stop'));
  await expect(a.run).rejects.toThrow(/has not ended within 1000 ms; exit the process/);
  expect((await admin.get(leases, namespace, name))?.holder).toBe('a');
});

test('a Lease that somebody else takes by force ends the term at the next renewal', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a');
  await leads(a);
  for (;;) {
    const seen = await admin.get(leases, namespace, name);
    try {
      const spec = { holderIdentity: 'thief', leaseTransitions: 99, leaseDurationSeconds: 60 };
      await admin.replace(leases, namespace, { metadata: seen!.metadata, spec });
      break;
    } catch {
      // It renewed in between.
    }
  }
  await leadsNoMore(a);
  await vi.waitFor(() => expect(a.working).toBe(false));
});

test('an error of the work ends the run with it, and gives the Lease back', async () => {
  const name = randomUUID();
  const a = await candidate(name, 'a', async () => {
    throw new Error('broken');
  });
  await expect(a.run).rejects.toThrow('broken');
  expect((await admin.get(leases, namespace, name))?.holder).toBe('');
});
