import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf, NAMESPACE, readyOf, VIP } from '../../sandbox/cluster.ts';
import { type Prober, startProber } from '../../sandbox/prober.ts';
import { type S3, startS3 } from '../../sandbox/s3.ts';
import { articleCluster } from './fixture.ts';

/** Section 4 of the article, and what it could not show: asserted on what a client sees through the VIP. */
const article = articleCluster();
const everywhere = (target: string) => ({ main: target, 'Route-A': target, 'Route-B': target });

describe("the article's cluster", () => {
  let s3: S3;
  let service: Prober;
  let consoles: Prober;

  beforeAll(async () => {
    const { sandbox } = article().cluster;
    s3 = await startS3(sandbox, {
      endpoint: `http://${VIP}:9000`,
      accessKeyId: 'minioadmin',
      secretAccessKey: 'minioadmin',
    });
    service = startProber(sandbox, { host: VIP, port: 9000, path: '/minio/health/cluster' });
    consoles = startProber(sandbox, { host: VIP, port: 9090, path: '/', everyMs: 50 });
  });
  afterAll(async () => {
    await Promise.all([s3?.stop(), service?.stop(), consoles?.stop()]);
  });

  it('becomes Ready on the preferred server, as kubectl wait sees it', async () => {
    const { cluster } = article();
    await cluster.sandbox.kubectl([
      'wait',
      '--for=condition=Ready',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      '--timeout=60s',
    ]);
    const group = await cluster.group();
    expect(group.status?.activeNode).toBe('server1');
    expect(group.status?.assignment).toMatchObject({ node: 'server1', epoch: 1, state: 'Active' });
    expect(group.status?.move).toMatchObject({ to: 'server1', reason: 'Startup', epoch: 1 });
    expect(conditionOf(group, 'Available')?.status).toBe('True');
    expect(conditionOf(group, 'Degraded')).toMatchObject({ status: 'False', reason: 'Redundant' });
    await cluster.until('the other objects Ready', 10_000, async () => {
      const [vip, monitor, one, two] = await Promise.all([
        cluster.vip(),
        cluster.monitor(),
        cluster.node('server1'),
        cluster.node('server2'),
      ]);
      return [vip, monitor, one, two].every((object) => readyOf(object)?.status === 'True');
    });
    expect(await cluster.routes()).toEqual(everywhere('server1'));
    const { server1, server2 } = cluster.minios();
    expect([server1.length, server2.length]).toEqual([1, 0]);
  });

  it('runs MinIO as the given user', async () => {
    const { cluster } = article();
    const { stdout } = await cluster.sandbox
      .server('server1')
      .exec(['sh', '-c', 'for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" = /work/minio ] && stat -c %U $p; done']);
    expect(stdout.trim()).toBe('minio');
  });

  it('switches the source/destination check off on both servers, and says so', async () => {
    const { cluster } = article();
    await cluster.until(
      'the check off',
      10_000,
      async () => conditionOf(await cluster.vip(), 'SourceDestCheckOff')?.status === 'True',
    );
  });

  it('keeps an object and the console through a move to server2', async () => {
    const { cluster } = article();
    await s3.createBucket('test');
    await s3.putObject('test', 'test.txt', 'written on server1');
    await consoles.untilUp(10_000);
    service.reset();

    await cluster.sandbox.kubectl([
      'annotate',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      'pointsman.dev/move-to=server2',
    ]);
    const group = await cluster.untilServed(30_000, { node: 'server2', above: 1 });

    expect(await s3.getObject('test', 'test.txt')).toBe('written on server1');
    await consoles.untilUp(10_000);
    expect(await cluster.routes()).toEqual(everywhere('server2'));
    const { server1, server2 } = cluster.minios();
    expect([server1.length, server2.length]).toEqual([0, 1]);
    expect(group.metadata.annotations['pointsman.dev/move-to']).toBeUndefined();
    await cluster.until(
      'every step measured',
      5_000,
      async () => (await cluster.group()).status?.move?.steps.routedMs !== undefined,
    );
    const { move } = (await cluster.group()).status ?? {};
    expect(move).toMatchObject({ from: 'server1', to: 'server2', reason: 'Requested', proof: 'Released', epoch: 2 });
    for (const step of ['detectedMs', 'releasedMs', 'assignedMs', 'routedMs', 'startedMs', 'readyMs'] as const) {
      expect(move?.steps[step], step).toBeTypeOf('number');
    }
    expect(service.gaps().length).toBeGreaterThan(0);
  });

  it('tells what happened in Events with the same reasons', async () => {
    const { cluster } = article();
    const reasons = async () =>
      (await cluster.sandbox.kubectl(['get', 'events', '-n', NAMESPACE, '-o', 'jsonpath={.items[*].reason}'])).split(
        ' ',
      );
    await cluster.until('the Events of both moves', 10_000, async () => {
      const told = await reasons();
      return ['Startup', 'Requested', 'Serving'].every((reason) => told.includes(reason)) || told.join(' ');
    });
  });

  it('reads well at a glance', async () => {
    const { cluster } = article();
    const text = await cluster.sandbox.kubectl(['get', 'fog,vip,dm,fn', '-n', NAMESPACE]);
    expect(text).toMatch(/failovergroup\.pointsman\.dev\/failover\s+server2\s+True\s+Serving/);
    expect(text).toMatch(
      /vipresource\.pointsman\.dev\/awsvip\s+10\.1\.0\.20\s+failover\s+server2\s+True\s+RoutesInPlace/,
    );
    expect(text).toMatch(/diskmonitor\.pointsman\.dev\/diskw\s+\/mnt\/efs\/monitor\.txt\s+failover\s+True\s+Healthy/);
    expect(text).toMatch(/failovernode\.pointsman\.dev\/server1\s+True\s+InTouch/);
  });

  it('refuses a move to a node that is not there, with the reason, and goes on serving', async () => {
    const { cluster } = article();
    await cluster.sandbox.kubectl([
      'annotate',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      'pointsman.dev/move-to=server9',
    ]);
    await cluster.until(
      'the refusal',
      10_000,
      async () => (await cluster.group()).metadata.annotations['pointsman.dev/move-to'] === undefined,
    );
    await cluster.until('the Event', 10_000, async () => {
      const notes = await cluster.sandbox.kubectl([
        'get',
        'events',
        '-n',
        NAMESPACE,
        '-o',
        'jsonpath={.items[?(@.reason=="MoveRefused")].note}{.items[?(@.reason=="MoveRefused")].message}',
      ]);
      return (
        notes.includes('Cannot move to "server9": spec.nodes does not name it; name one of server1, server2') || notes
      );
    });
    expect((await cluster.group()).status?.activeNode).toBe('server2');
  });

  it('stops everywhere when told to, is Ready so, and starts again', async () => {
    const { cluster } = article();
    const before = (await cluster.group()).status?.assignment?.epoch ?? 0;
    const set = (running: boolean) =>
      cluster.sandbox.kubectl([
        'patch',
        'failovergroup/failover',
        '-n',
        NAMESPACE,
        '--type=merge',
        '-p',
        JSON.stringify({ spec: { running } }),
      ]);
    await set(false);
    await cluster.until('it stopped', 30_000, async () => readyOf(await cluster.group())?.reason === 'Stopped');
    expect(cluster.minios()).toEqual({ server1: [], server2: [] });
    await set(true);
    await cluster.untilServed(30_000, { above: before });
    expect(await s3.getObject('test', 'test.txt')).toBe('written on server1');
  });

  it('is deleted only after its process has ended', async () => {
    const { cluster } = article();
    await cluster.sandbox.kubectl(['delete', 'failovergroup/failover', '-n', NAMESPACE, '--timeout=30s']);
    expect(cluster.minios()).toEqual({ server1: [], server2: [] });
  });
});
