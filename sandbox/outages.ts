import { setTimeout as delay } from 'node:timers/promises';
import type { FailoverGroup } from '../src/crds/failovergroup.ts';
import { type Cluster, MINIO, NAMESPACE, VIP } from './cluster.ts';
import { type Gap, type Prober, startProber } from './prober.ts';
import type { ServerName } from './topology.ts';

/** Ways to lose the service, each measured as a client sees it through the VIP. Shared by the demo and the bench. */
export interface Outage {
  /** From the last answer before to the first answer after, in milliseconds. */
  readonly awayMs: number;
  readonly group: FailoverGroup;
}

const other = (name: ServerName): ServerName => (name === 'server1' ? 'server2' : 'server1');

async function activeOf(cluster: Cluster): Promise<ServerName> {
  const { status } = await cluster.untilServed(60_000);
  return status?.activeNode as ServerName; // untilServed saw one of the two
}

/** A move to the other server, asked for by annotation. */
export async function plannedMove(cluster: Cluster, service: Prober): Promise<Outage> {
  const from = await activeOf(cluster);
  const above = (await cluster.group()).status?.assignment?.epoch ?? 0;
  await redundant(cluster);
  service.reset();
  await cluster.sandbox.kubectl([
    'annotate',
    '--overwrite',
    'failovergroup/failover',
    '-n',
    NAMESPACE,
    `pointsman.dev/move-to=${other(from)}`,
  ]);
  return await measured(service, () => cluster.untilServed(40_000, { node: other(from), above }));
}

/** kill -9 of MinIO: it is started again in place. */
export async function killedProcess(cluster: Cluster, service: Prober): Promise<Outage> {
  const node = await activeOf(cluster);
  const [pid] = cluster.minios()[node];
  if (pid === undefined) throw new Error(`Cannot kill MinIO on ${node}: it does not run`);
  service.reset();
  process.kill(pid, 'SIGKILL');
  return await measured(service, async () => {
    await cluster.until('another MinIO', 30_000, () => cluster.minios()[node].some((now) => now !== pid));
    return await cluster.untilServed(30_000);
  });
}

/** The power of the active server is cut; it is not booted again here. */
export async function powerCut(cluster: Cluster, service: Prober): Promise<Outage & { readonly server: ServerName }> {
  const server = await activeOf(cluster);
  const above = (await cluster.group()).status?.assignment?.epoch ?? 0;
  await redundant(cluster);
  service.reset();
  await cluster.sandbox.server(server).powerCut();
  return { server, ...(await measured(service, () => cluster.untilServed(60_000, { node: other(server), above }))) };
}

/**
 * What all of this is compared with: the same MinIO stopped and started at once by a shell on one server, on a port of
 * its own beside the served one, seen through the same VIP.
 */
export async function bareRestart(cluster: Cluster): Promise<number> {
  const server = cluster.sandbox.server(await activeOf(cluster));
  const start = 'MINIO_ROOT_USER=minioadmin MINIO_ROOT_PASSWORD=minioadmin setsid';
  const run = `${start} ${MINIO} server /tmp/bare --address :9100 --console-address :9190 >/tmp/bare.log 2>&1 & echo $! >/tmp/bare.pid`;
  await server.exec(['sh', '-c', run]);
  const probe = startProber(cluster.sandbox, { host: VIP, port: 9100, path: '/minio/health/cluster' });
  try {
    await probe.untilUp(20_000);
    await delay(500); // warm, as the served one is
    probe.reset();
    await server.exec([
      'sh',
      '-c',
      `p=$(cat /tmp/bare.pid); kill $p; while [ -e /proc/$p ]; do sleep 0.002; done; ${run}`,
    ]);
    return (await firstGap(probe)).ms;
  } finally {
    await server.exec(['sh', '-c', 'kill -9 $(cat /tmp/bare.pid); rm -rf /tmp/bare /tmp/bare.pid /tmp/bare.log']);
    await probe.stop();
  }
}

export async function redundant(cluster: Cluster): Promise<void> {
  await cluster.until('redundancy', 40_000, async () => {
    const degraded = (await cluster.group()).status?.conditions.find(({ type }) => type === 'Degraded');
    return degraded?.status === 'False' || (degraded?.message ?? false);
  });
}

async function measured(service: Prober, act: () => Promise<FailoverGroup>): Promise<Outage> {
  const group = await act();
  return { awayMs: (await firstGap(service)).ms, group };
}

/** A client may lose single requests on either side of the outage: the longest gap is the outage. */
async function firstGap(service: Prober): Promise<Gap> {
  const endMs = performance.now() + 20_000;
  while (performance.now() < endMs) {
    await service.untilUp(20_000);
    const longest = service.gaps().toSorted((a, b) => b.ms - a.ms)[0];
    if (longest) return longest;
    await delay(10);
  }
  throw new Error('Cannot measure the outage: the client saw none');
}
