import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf, NAMESPACE, readyOf, VIP } from '../../sandbox/cluster.ts';
import { type Prober, startProber } from '../../sandbox/prober.ts';
import { argvOf } from '../../sandbox/processes.ts';
import type { ServerName } from '../../sandbox/topology.ts';
import { articleCluster } from './fixture.ts';

/** What fails, and how the cluster comes back. Each test leaves the group served, with both servers in touch. */
const article = articleCluster();

describe('recovery', () => {
  let service: Prober;

  beforeAll(async () => {
    const { cluster } = article();
    await cluster.untilServed(60_000);
    service = startProber(cluster.sandbox, { host: VIP, port: 9000, path: '/minio/health/cluster' });
    await service.untilUp(10_000);
  }, 90_000);
  afterAll(() => service?.stop());

  const other = (name: string): ServerName => (name === 'server1' ? 'server2' : 'server1');
  const active = async (): Promise<ServerName> =>
    ((await article().cluster.group()).status?.activeNode ?? 'server1') as ServerName;
  const epoch = async () => (await article().cluster.group()).status?.assignment?.epoch ?? 0;
  const minioOn = (name: ServerName) => article().cluster.minios()[name];
  const redundant = () =>
    article().cluster.until('redundancy', 30_000, async () => {
      const condition = conditionOf(await article().cluster.group(), 'Degraded');
      return condition?.status === 'False' || (condition?.message ?? false);
    });

  it('restarts a killed MinIO in place, under the same epoch', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    const [pid] = minioOn(node);
    service.reset();
    process.kill(pid!, 'SIGKILL'); // served, so there is one
    await cluster.until('another MinIO', 10_000, () => minioOn(node).length === 1 && minioOn(node)[0] !== pid);
    await service.untilUp(10_000);
    await cluster.untilServed(10_000, { node });
    expect(await epoch()).toBe(before);
  });

  it('ends MinIO at once when the shim is killed, and starts it again', async () => {
    const { cluster } = article();
    const node = await active();
    const [pid] = minioOn(node);
    const parent = parentOf(pid!);
    expect(
      argvOf(parent).some((word) => word.endsWith('shim.mjs')),
      `the parent of MinIO is its shim: ${argvOf(parent)}`,
    ).toBe(true);
    process.kill(parent, 'SIGKILL');
    await cluster.until('MinIO gone', 500, () => !minioOn(node).includes(pid!));
    await cluster.until('another MinIO', 15_000, () => Object.values(cluster.minios()).flat().length === 1);
    await cluster.untilServed(20_000);
    await redundant();
  });

  it('keeps the same MinIO through a kill -9 of the agent that is back within the deadline', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    const pids = minioOn(node);
    const agent = cluster.sandbox.server(node).agentPid();
    service.reset();
    await cluster.sandbox.server(node).killAgent('SIGKILL');
    await cluster.until('another agent', 10_000, () => {
      const now = cluster.sandbox.server(node).agentPid();
      return now !== undefined && now !== agent;
    });
    // Longer than the deadline: were the process not adopted, it would be gone by now.
    const { renewTime } = await leaseOf(node);
    await cluster.until(
      'renewals go on for longer than fenceAfter',
      20_000,
      async () => Date.parse((await leaseOf(node)).renewTime) - Date.parse(renewTime) > 6_000,
    );
    expect(minioOn(node)).toEqual(pids);
    expect(await epoch()).toBe(before);
    expect(service.gaps()).toEqual([]);
  });

  it('ends MinIO by the deadline when the agent stays away, and serves on the other server', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await cluster.sandbox.server(node).stopAgent('SIGKILL');
    // fenceAfter 5 s + killWithin 1 s after the last renewal that was sent before.
    await cluster.until('MinIO gone', 6_500, () => minioOn(node).length === 0);
    const group = await cluster.untilServed(30_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ reason: 'NodeLost', proof: 'LeaseExpired', from: node });
    await cluster.sandbox.server(node).startAgent();
    await redundant();
  });

  it('serves on the other server after a power cut, and takes the server back when it boots', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    service.reset();
    await cluster.sandbox.server(node).powerCut();
    const group = await cluster.untilServed(40_000, { node: other(node), above: before });
    await service.untilUp(10_000);
    expect(group.status?.move).toMatchObject({ reason: 'NodeLost', proof: 'LeaseExpired' });
    expect(new Set(Object.values(await cluster.routes()))).toEqual(new Set([other(node)]));
    expect(conditionOf(await cluster.group(), 'Degraded')?.status).toBe('True');
    await cluster.sandbox.server(node).boot();
    await redundant();
    expect(await epoch()).toBe(before + 1);
  });

  it('moves when MinIO fails more often than restart.limit', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    const killed = new Set<number>();
    await cluster.until('the move', 60_000, async () => {
      for (const pid of minioOn(node)) {
        if (killed.has(pid)) continue;
        killed.add(pid);
        process.kill(pid, 'SIGKILL');
      }
      const now = (await cluster.group()).status;
      return (now?.assignment?.epoch ?? 0) > before;
    });
    const group = await cluster.untilServed(30_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ reason: 'ProcessFailed', proof: 'Released', from: node });
    expect(killed.size).toBe(4);
    // It would fail there again: the group must not go round. A change of the spec is a new try.
    await cluster.until('the failed node unfit', 10_000, async () => {
      const fitness = (await cluster.group()).status?.nodes.find(({ name }) => name === node);
      return fitness?.reason === 'ProcessFailed' || `${fitness?.reason}: ${fitness?.message}`;
    });
    const spec = { process: { restart: { window: '9m' } } };
    await cluster.sandbox.kubectl([
      'patch',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      '--type=merge',
      '-p',
      JSON.stringify({ spec }),
    ]);
    await redundant();
  });

  it('moves when the disk fails on the active server, and holds the other server unfit until it is back', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await cluster.sandbox.server(node).unmountDisk();
    const group = await cluster.untilServed(60_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ reason: 'DiskFailed', from: node });
    await cluster.until('the reason of the unfit node', 10_000, async () => {
      const fitness = (await cluster.group()).status?.nodes.find(({ name }) => name === node);
      return fitness?.reason === 'DiskNotMounted' || `${fitness?.reason}: ${fitness?.message}`;
    });
    await cluster.sandbox.server(node).mountDisk();
    await redundant();
  }, 120_000);

  it('moves away from a cordoned server', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await schedulable(node, false);
    const group = await cluster.untilServed(30_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ reason: 'NodeCordoned', proof: 'Released' });
    await schedulable(node, true);
    await redundant();
  });

  it('holds, and says why for each server, when no other can take the group', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await schedulable(other(node), false);
    await cluster.until(
      'no redundancy',
      10_000,
      async () => conditionOf(await cluster.group(), 'Degraded')?.status === 'True',
    );
    await cluster.sandbox.server(node).stopAgent();
    await cluster.until('it is held', 20_000, async () => readyOf(await cluster.group())?.reason === 'NoFitNode');
    expect(readyOf(await cluster.group())?.message).toMatch(
      new RegExp(`${other(node)}: Cordoned: spec.schedulable of its FailoverNode is false`),
    );
    expect(await epoch()).toBe(before);
    expect(cluster.minios()[other(node)]).toEqual([]);
    await cluster.sandbox.server(node).startAgent();
    await schedulable(other(node), true);
    await cluster.untilServed(40_000);
    await redundant();
  }, 120_000);

  it('is served after the controller is killed in the middle of a move', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await cluster.sandbox.kubectl([
      'annotate',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      `pointsman.dev/move-to=${other(node)}`,
    ]);
    await cluster.until(
      'the promise',
      10_000,
      async () => (await cluster.group()).status?.assignment?.state === 'Stopping' || (await epoch()) > before,
    );
    await cluster.sandbox.controller.kill();
    await cluster.untilServed(40_000, { node: other(node), above: before });
    expect(await epoch()).toBe(before + 1);
  });

  async function schedulable(name: ServerName, yes: boolean): Promise<void> {
    await article().cluster.sandbox.kubectl([
      'patch',
      `failovernode/${name}`,
      '-n',
      NAMESPACE,
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { schedulable: yes } }),
    ]);
  }

  async function leaseOf(name: ServerName): Promise<{ renewTime: string }> {
    return {
      renewTime: await article().cluster.sandbox.kubectl([
        'get',
        'lease',
        name,
        '-n',
        NAMESPACE,
        '-o',
        'jsonpath={.spec.renewTime}',
      ]),
    };
  }
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
