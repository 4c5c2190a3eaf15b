import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NAMESPACE, readyOf, VIP } from '../../sandbox/cluster.ts';
import { plannedMove, powerCut } from '../../sandbox/outages.ts';
import { monotonicMs, type Prober, startProber } from '../../sandbox/prober.ts';
import type { ServerName } from '../../sandbox/topology.ts';
import { NODE_LABEL } from '../../src/kube/lease.ts';
import { articleCluster } from './fixture.ts';

/** The API server is away, for all or for one; and a server is away, which is something else. */
const article = articleCluster();

/** `takeoverAfter` is 8 s: by then whoever believed the silence would have taken over. */
const LONGER_THAN_TAKEOVER_MS = 10_000;

describe('the second channel', () => {
  let service: Prober;

  beforeAll(async () => {
    const { cluster } = article();
    await cluster.untilServed(60_000);
    // Longer than a busy machine keeps an answer back: a gap is a service that is away.
    service = startProber(cluster.sandbox, {
      ...{ host: VIP, port: 9000, path: '/minio/health/cluster' },
      ...{ everyMs: 20, timeoutMs: 5_000 },
    });
    await service.untilUp(10_000);
    await redundant();
  }, 120_000);
  afterAll(() => service?.stop());

  const status = async () => (await article().cluster.group()).status;
  const active = async () => (await status())?.activeNode as ServerName; // served before each test
  const minioOn = (name: ServerName) => article().cluster.minios()[name];
  const redundant = async () => {
    await article().cluster.until('redundancy', 40_000, async () => {
      const degraded = (await status())?.conditions.find(({ type }) => type === 'Degraded');
      return degraded?.status === 'False' || (degraded?.message ?? false);
    });
  };
  const pass = async (ms: number) => {
    const fromMs = monotonicMs();
    await article().cluster.until('the time to pass', ms + 5_000, () => monotonicMs() - fromMs > ms);
  };

  for (const how of ['is killed', 'stands still: it accepts and never answers'] as const) {
    it(`serves on under the same process while the API server ${how}, and nothing moves then or after`, async () => {
      const { cluster } = article();
      const { apiserver } = cluster.sandbox;
      const [node, before] = [await active(), (await status())?.assignment];
      const pids = minioOn(node);
      service.reset();
      await (how === 'is killed' ? apiserver.kill() : apiserver.pause());
      await pass(LONGER_THAN_TAKEOVER_MS);
      expect(minioOn(node)).toEqual(pids);
      await service.untilUp(10_000);
      await (how === 'is killed' ? apiserver.start() : apiserver.resume());
      await untilRenewedFor(LONGER_THAN_TAKEOVER_MS);
      await cluster.untilServed(30_000, { node });
      expect((await status())?.assignment).toEqual(before);
      expect(minioOn(node)).toEqual(pids);
      expect(service.gaps()).toEqual([]);
    });
  }

  it('restarts a killed MinIO in place while the API server is away', async () => {
    const { cluster } = article();
    const { apiserver } = cluster.sandbox;
    const [node, before] = [await active(), (await status())?.assignment];
    const [pid] = minioOn(node);
    await apiserver.kill();
    await pass(LONGER_THAN_TAKEOVER_MS);
    process.kill(pid!, 'SIGKILL'); // served, so there is one
    await cluster.until('another MinIO', 15_000, () => minioOn(node).length === 1 && minioOn(node)[0] !== pid);
    await service.untilUp(15_000);
    await apiserver.start();
    await cluster.untilServed(30_000, { node });
    expect((await status())?.assignment).toEqual(before);
    await redundant();
  });

  it('leaves a server alone that is cut from the API server only: the group stays Ready, and says why', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), (await status())?.assignment];
    const pids = minioOn(node);
    service.reset();
    await cluster.sandbox.cut({ from: node, to: 'api' });
    await cluster.until('the reason', 20_000, async () => {
      const ready = readyOf(await cluster.group());
      return ready?.reason === 'SeenOnDisk' || `${ready?.reason}: ${ready?.message}`;
    });
    await pass(LONGER_THAN_TAKEOVER_MS);
    const ready = readyOf(await cluster.group());
    expect(ready).toMatchObject({ status: 'True', reason: 'SeenOnDisk' });
    expect(ready?.message).toContain(`${other(node)} sees it live on the shared disk`);
    expect(await active()).toBe(node);
    await cluster.sandbox.heal();
    await cluster.until('it in touch', 20_000, async () => readyOf(await cluster.group())?.reason === 'Serving');
    expect((await status())?.assignment).toEqual(before);
    expect(minioOn(node)).toEqual(pids);
    expect(service.gaps()).toEqual([]);
    await redundant();
  });

  it('moves as asked', async () => {
    const { awayMs, group } = await plannedMove(article().cluster, service);
    expect(group.status?.move).toMatchObject({ reason: 'Requested', proof: 'Released' });
    console.log(`a planned move: away for ${Math.round(awayMs)} ms`);
    await redundant();
  });

  it('still fails over when the power of the active server is cut', async () => {
    const { cluster } = article();
    const { awayMs, group, server } = await powerCut(cluster, service);
    expect(group.status?.move).toMatchObject({ reason: 'NodeLost', proof: 'LeaseExpired', from: server });
    expect(group.status?.assignment?.basis.earlier).toMatchObject([{ node: server, heartbeat: true }]);
    console.log(`a power cut: away for ${Math.round(awayMs)} ms`);
    await cluster.sandbox.server(server).boot();
    await redundant();
  });

  /** Both servers have been in touch for so long again: whatever the outage could still move would have moved. */
  async function untilRenewedFor(ms: number): Promise<void> {
    let since: readonly number[] | undefined;
    await article().cluster.until('renewals again', 60_000 + ms, async () => {
      await delay(250); // each look is a process
      const now = await renewals();
      since ??= now;
      const from = since;
      return now.length === 2 && now.every((at, index) => at - (from[index] ?? at) > ms);
    });
  }

  async function renewals(): Promise<number[]> {
    const { sandbox } = article().cluster;
    const path = ['-o', 'jsonpath={.items[*].spec.renewTime}'];
    const times = await sandbox.kubectl(['get', 'leases', '-l', NODE_LABEL, '-n', NAMESPACE, ...path]);
    return times.trim().split(' ').map(Date.parse);
  }
});

function other(name: ServerName): ServerName {
  return name === 'server1' ? 'server2' : 'server1';
}
