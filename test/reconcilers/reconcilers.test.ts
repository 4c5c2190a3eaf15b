import { DeleteRouteCommand, EC2Client, ReplaceRouteCommand } from '@aws-sdk/client-ec2';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import type { Condition } from '../../src/crds/conditions.ts';
import { NODE_LABEL } from '../../src/kube/lease.ts';
import { failoverGroups, failoverNodes, leases, vipResources } from '../../src/kube/resources.ts';
import type { SeededCloud } from '../../tools/moto/seed.ts';
import { CREDENTIALS, type Emulator, REGION, startEmulator } from '../aws/emulator.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type ReportingNode, startController, startReportingNode, type TestController } from './controller.ts';

/** The controller on a real API server and an emulated EC2; the nodes renew and report what a test tells them. */
let server: ApiServerAccess;
let aws: Emulator;
let cloud: SeededCloud;
let raw: EC2Client;
let namespace: string;
let controller: TestController;
let one: ReportingNode;
let two: ReportingNode;

beforeAll(async () => {
  [server, aws] = await Promise.all([sharedApiServer(), startEmulator()]);
  raw = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
}, 180_000);
afterAll(async () => {
  raw?.destroy();
  await aws?.stop();
});

beforeEach(async () => {
  cloud = await aws.reset();
  namespace = await server.namespace('reconcilers');
  controller = await startController(server, namespace, { ec2: aws.ec2 });
  const timing = { renewEvery: '300ms', fenceAfter: '3s', killWithin: '200ms', takeoverAfter: '4s' };
  for (const name of ['server1', 'server2'] as const)
    await apply('FailoverNode', name, { instanceId: cloud[name].instanceId, timing });
  one = await startReportingNode(controller.api, namespace, 'server1', 'g');
  two = await startReportingNode(controller.api, namespace, 'server2', 'g');
  await apply('VipResource', 'v', {
    groupRef: { name: 'g' },
    address: '10.1.0.20',
    vpcId: cloud.vpcId,
    routeTableIds: tables(),
  });
  await apply('FailoverGroup', 'g', {
    nodes: ['server1', 'server2'],
    sharedDisk: { mountPath: '/mnt/efs' },
    process: { command: ['/bin/x'], user: 'x' },
  });
});
afterEach(async () => {
  await Promise.all([one?.silence(), two?.silence()]);
  await controller?.stop();
});

const tables = () => [cloud.mainTableId, cloud.routeATableId, cloud.routeBTableId];
const group = async () => (await controller.api.get(failoverGroups, namespace, 'g'))!; // applied before every test
const vip = async () => (await controller.api.get(vipResources, namespace, 'v'))!; // applied before every test
const ready = ({ status }: { status?: { conditions: readonly Condition[] } | undefined }) =>
  status?.conditions.find(({ type }) => type === 'Ready');
const soon = (check: () => Promise<void>, timeout = 60_000) => vi.waitFor(check, { timeout, interval: 20 });
const reasons = () => controller.events.map(({ reason }) => reason);

async function apply(kind: string, name: string, spec: object): Promise<void> {
  await server.kubectl(['apply', '-f', '-'], {
    input: stringify({ apiVersion: 'pointsman.dev/v1alpha1', kind, metadata: { name, namespace }, spec }),
  });
}

async function targets(): Promise<(string | undefined)[]> {
  const seen = await aws.direct.describeRoutes(tables(), { timeoutMs: 5_000 });
  return tables().map((id) => {
    const table = seen.get(id);
    return table === 'missing'
      ? undefined
      : table?.routes.find(({ destination }) => destination === '10.1.0.20/32')?.target;
  });
}

/** The group serves from server1 under epoch 1. */
async function served(): Promise<void> {
  await soon(async () => expect((await group()).status?.assignment).toMatchObject({ node: 'server1', epoch: 1 }));
  await one.report({ epoch: 1, state: 'Running', ready: true, pid: 7 });
  await soon(async () => expect(ready(await group())).toMatchObject({ status: 'True', reason: 'Serving' }));
}

describe('the controller', () => {
  it('assigns the preferred node and leads every table to its interface', async () => {
    await served();
    expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
    expect((await vip()).status?.target).toMatchObject({ node: 'server1', epoch: 1 });
  });

  it('leads the routes over while the process starts, and waits for neither with the other', async () => {
    await served();
    await server.kubectl(['annotate', 'fog', 'g', '-n', namespace, 'pointsman.dev/move-to=server2']);
    await soon(async () => expect((await group()).status?.assignment?.state).toBe('Stopping'));
    await one.report({ ended: 1, epoch: 0, state: 'Stopped', ready: false });
    // server2 has not said a word about epoch 2 yet.
    await soon(async () => expect(await targets()).toEqual(Array(3).fill(cloud.server2.networkInterfaceId)));
    await two.report({ epoch: 2, state: 'Running', ready: true });
    await soon(async () =>
      expect((await group()).status?.move).toMatchObject({
        proof: 'Released',
        epoch: 2,
        steps: { readyMs: expect.any(Number), routedMs: expect.any(Number) },
      }),
    );
    expect(reasons()).toEqual(expect.arrayContaining(['Startup', 'Requested', 'Serving']));
  });

  it('fences a silent node once its Lease has aged, and not before', async () => {
    await served();
    await two.report({ neighbours: [{ name: 'server1', state: 'notSeen' }] });
    const before = (await controller.api.get(leases, namespace, 'server1'))!; // renewed a moment ago
    await one.silence();
    const silentMs = performance.now();
    await soon(async () => expect((await controller.api.get(leases, namespace, 'server1'))?.holder).toBe(''));
    expect(performance.now() - silentMs).toBeGreaterThan(4_000 - 600); // the last renewal was up to one pace earlier
    await soon(async () => expect((await group()).status?.assignment).toMatchObject({ node: 'server2', epoch: 2 }));
    expect((await controller.api.get(leases, namespace, 'server1'))?.transitions).toBe(before.transitions + 1);
    expect((await group()).status?.move).toMatchObject({ reason: 'NodeLost', proof: 'LeaseExpired' });
    expect(reasons()).toContain('Fenced');
  });

  it('leaves a silent node alone for as long as another sees it on the shared disk', async () => {
    await served();
    await two.report({ neighbours: [{ name: 'server1', state: 'seen' }] });
    await one.silence();
    await soon(async () => expect(ready(await group())).toMatchObject({ status: 'True', reason: 'SeenOnDisk' }));
    const aged = async () => (await controller.api.get(leases, namespace, 'server1'))!; // it was renewed before
    await soon(
      async () => expect(Date.now() - Date.parse((await aged()).renewTime ?? '')).toBeGreaterThan(6_000),
      20_000,
    );
    expect((await aged()).holder).toBe('server1');
    expect((await group()).status).toMatchObject({ activeNode: 'server1', assignment: { epoch: 1 } });
    // Now it does not any more.
    await two.report({ neighbours: [{ name: 'server1', state: 'notSeen' }] });
    await soon(async () => expect((await group()).status?.assignment).toMatchObject({ node: 'server2', epoch: 2 }));
    expect((await group()).status?.assignment?.basis.earlier).toMatchObject([{ epoch: 1, node: 'server1' }]);
  }, 40_000);

  it('says on a node that it is shared by groups with and without a second channel', async () => {
    await served();
    await apply('FailoverGroup', 'plain', {
      nodes: ['server1'],
      sharedDisk: { mountPath: '/mnt/other', heartbeat: false },
      process: { command: ['/bin/x'], user: 'x' },
    });
    await soon(async () => {
      const { status } = (await controller.api.get(failoverNodes, namespace, 'server1'))!; // applied before every test
      expect(status?.conditions.find(({ type }) => type === 'MixedChannels')?.message).toMatch(
        /\(g\) and without \(plain\)/,
      );
    });
    await soon(async () => expect(reasons()).toContain('MixedChannels'));
  });

  it('tells of every restart in place, with how the process ended', async () => {
    await served();
    await one.report({ restarts: 1, lastExit: 'signal SIGKILL', ready: false });
    await one.report({ ready: true });
    await soon(async () => {
      const told = controller.events.find(({ reason }) => reason === 'ProcessRestarted');
      expect(told?.note).toBe(
        'the process ended on server1: signal SIGKILL; it is started again in place (1 of 3 in 10m)',
      );
    });
  });

  it('makes a Lease anew that was removed by force, held by nobody, and lets it age for as long as its node may run', async () => {
    await served();
    await one.silence();
    const timing = { renewEvery: '300ms', fenceAfter: '4s', killWithin: '200ms', takeoverAfter: '6s' };
    await apply('FailoverNode', 'server1', { instanceId: cloud.server1.instanceId, timing });
    await controller.api.patchMetadata(leases, namespace, 'server1', { metadata: { finalizers: null } });
    await controller.api.remove(leases, namespace, 'server1');
    await soon(async () => {
      const lease = await controller.api.get(leases, namespace, 'server1');
      expect(lease).toMatchObject({ holder: '', transitions: 1, durationSeconds: 6 });
    });
    const fromMs = performance.now();
    // Not before: on a busy machine the old Lease might age, and be fenced, before it is removed.
    await two.report({ neighbours: [{ name: 'server1', state: 'notSeen' }] });
    await soon(
      async () => expect((await group()).status?.assignment).toMatchObject({ node: 'server2', epoch: 2 }),
      60_000,
    );
    expect(performance.now() - fromMs).toBeGreaterThan(6_000 - 100); // seen by us a moment after it was made
    expect((await group()).status?.move?.proof).toBe('LeaseExpired');
  }, 90_000);

  it('gives a Lease back the label that somebody took off, without which it would be missing for ever', async () => {
    await served();
    const label = { [NODE_LABEL]: null };
    await controller.api.patchMetadata(leases, namespace, 'server1', { metadata: { labels: label } });
    await soon(async () => {
      const lease = await controller.api.get(leases, namespace, 'server1');
      expect(lease?.metadata.labels?.[NODE_LABEL]).toBe('server1');
    });
    await soon(async () => expect(ready(await group())).toMatchObject({ status: 'True', reason: 'Serving' }));
    expect((await group()).status?.assignment).toMatchObject({ node: 'server1', epoch: 1 });
  });

  it('repairs a route that was changed behind its back, and names what it led to', async () => {
    await served();
    await raw.send(
      new ReplaceRouteCommand({
        RouteTableId: cloud.routeATableId,
        DestinationCidrBlock: '10.1.0.20/32',
        NetworkInterfaceId: cloud.server2.networkInterfaceId,
      }),
    );
    await soon(async () => expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId)));
    await soon(async () =>
      expect(controller.events.find(({ reason }) => reason === 'RouteRepaired')?.note).toContain(
        `in ${cloud.routeATableId} led to ${cloud.server2.networkInterfaceId}`,
      ),
    );
  });

  it('makes a route anew that was deleted', async () => {
    await served();
    await raw.send(new DeleteRouteCommand({ RouteTableId: cloud.mainTableId, DestinationCidrBlock: '10.1.0.20/32' }));
    await soon(async () => expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId)));
    await soon(async () => expect(reasons()).toContain('RouteCreated'));
  });

  it('keeps Ready while AWS does not answer, and says that it does not know', async () => {
    await served();
    aws.proxy.rule({ action: '*', times: 1_000, fault: 'hang' });
    await soon(async () => expect(ready(await vip())).toMatchObject({ status: 'True', reason: 'AwsUnknown' }), 20_000);
    expect(ready(await group())?.status).toBe('True');
  }, 40_000);

  it('moves the other tables when one is refused, and stalls naming that one', async () => {
    await served();
    aws.proxy.rule({ action: 'ReplaceRoute', times: 1_000, fault: 'unauthorized', contains: cloud.routeBTableId });
    await server.kubectl(['annotate', 'fog', 'g', '-n', namespace, 'pointsman.dev/move-to=server2']);
    await soon(async () => expect((await group()).status?.assignment?.state).toBe('Stopping'));
    await one.report({ ended: 1, epoch: 0, state: 'Stopped', ready: false });
    const { networkInterfaceId: old } = cloud.server1;
    const { networkInterfaceId: now } = cloud.server2;
    await soon(async () => expect(await targets()).toEqual([now, now, old]));
    await soon(async () => {
      const condition = ready(await vip());
      expect(condition).toMatchObject({ status: 'False', reason: 'RouteRefused' });
      expect(condition?.message).toContain(cloud.routeBTableId);
      expect(condition?.message).toContain('ec2:ReplaceRoute');
    });
    aws.proxy.reset();
    await soon(async () => expect(await targets()).toEqual([now, now, now]), 15_000);
  }, 40_000);

  it('makes the assignment anew from what every node answers when the status was wiped, and moves nothing', async () => {
    await served();
    await server.kubectl([
      'patch',
      'fog',
      'g',
      '-n',
      namespace,
      '--subresource=status',
      '--type=json',
      '-p',
      '[{"op":"remove","path":"/status"}]',
    ]);
    await soon(async () => expect((await group()).status?.rollCall).toBeTypeOf('string'));
    const { rollCall } = (await group()).status ?? {};
    await one.report({ rollCall });
    // Only one has answered: the other may know of a later epoch.
    await soon(async () => expect(ready(await group())?.message).toMatch(/server2: it has not answered yet/));
    expect((await group()).status?.assignment).toBeUndefined();
    await two.report({ rollCall });
    await soon(async () => expect(ready(await group())).toMatchObject({ status: 'True', reason: 'Serving' }));
    expect((await group()).status?.assignment).toMatchObject({ node: 'server1', epoch: 1, state: 'Active' });
    expect((await group()).status?.diskId).toBe('disk-1');
  });

  it('keeps a FailoverNode that is deleted until its group is proven out', async () => {
    await served();
    await server.kubectl(['delete', 'fn', 'server1', '-n', namespace, '--wait=false']);
    await soon(async () => expect((await group()).status?.assignment?.state).toBe('Stopping'));
    expect(await server.kubectl(['get', 'fn', '-n', namespace, '-o', 'name'])).toContain('server1');
    await one.report({ ended: 1, epoch: 0, state: 'Stopped', ready: false });
    await soon(async () => expect((await group()).status?.assignment?.node).toBe('server2'));
    await soon(async () =>
      expect(await server.kubectl(['get', 'fn', '-n', namespace, '-o', 'name'])).not.toContain('server1'),
    );
  });

  it('writes nothing when nothing changes', async () => {
    await served();
    await soon(async () => expect((await group()).status?.move?.steps.routedMs).toBeTypeOf('number'));
    const before = [(await group()).metadata.resourceVersion, (await vip()).metadata.resourceVersion];
    const from = performance.now();
    await vi.waitFor(() => expect(performance.now() - from).toBeGreaterThan(1_500), { timeout: 5_000 }); // five resyncs
    expect([(await group()).metadata.resourceVersion, (await vip()).metadata.resourceVersion]).toEqual(before);
  });
});
