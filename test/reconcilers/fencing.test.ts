import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import type { Condition } from '../../src/crds/conditions.ts';
import { failoverGroups, failoverNodes } from '../../src/kube/resources.ts';
import { FakeEc2 } from '../fakes/ec2.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type ReportingNode, startController, startReportingNode, type TestController } from './controller.ts';

/** `policy: Instance` on a real API server; EC2 is the fake, whose faults come when a test says so. */
const INSTANCES = { server1: 'i-00000001', server2: 'i-00000002', server3: 'i-00000003', server4: 'i-00000004' };
type Name = keyof typeof INSTANCES;
const FOR_EVER = 1_000_000;

let server: ApiServerAccess;
let namespace: string;
let ec2: FakeEc2;
let controller: TestController;
const nodes = new Map<string, ReportingNode>();

beforeAll(async () => {
  server = await sharedApiServer();
}, 180_000);

beforeEach(async () => {
  namespace = await server.namespace('fencing');
  ec2 = new FakeEc2();
  for (const id of Object.values(INSTANCES)) ec2.addInstance({ id, state: 'running', ...PLACE });
  controller = await startController(server, namespace, { ec2 });
});
afterEach(async () => {
  await Promise.all([...nodes.values()].map((node) => node.silence()));
  nodes.clear();
  await controller.stop();
});

const PLACE = { zone: 'a', vpcId: 'vpc-1', subnetId: 'subnet-1', interfaces: [] };
const soon = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 60_000, interval: 50 });
const group = async (name = 'g') => (await controller.api.get(failoverGroups, namespace, name))!; // applied by `serve`
const node = async (name: Name) => await controller.api.get(failoverNodes, namespace, name);
const condition = (of: { status?: { conditions: readonly Condition[] } | undefined } | undefined, type = 'Ready') =>
  of?.status?.conditions.find((one) => one.type === type);
const calls = (verb: string) => ec2.calls.filter((call) => call.verb === verb && call.about[0] === INSTANCES.server1);

async function apply(kind: string, name: string, spec: object): Promise<void> {
  await server.kubectl(['apply', '-f', '-'], {
    input: stringify({ apiVersion: 'pointsman.dev/v1alpha1', kind, metadata: { name, namespace }, spec }),
  });
}

/** The group serves from the first of the two, under epoch 1. */
async function serve(name: string, names: readonly [Name, Name]): Promise<void> {
  const timing = { renewEvery: '300ms', fenceAfter: '3s', killWithin: '200ms', takeoverAfter: '4s' };
  for (const one of names) {
    await apply('FailoverNode', one, { instanceId: INSTANCES[one], timing });
    nodes.set(one, await startReportingNode(controller.api, namespace, one, name));
  }
  await apply('FailoverGroup', name, {
    nodes: names,
    fencing: { policy: 'Instance' },
    sharedDisk: { mountPath: '/mnt/efs', heartbeat: false },
    process: { command: ['/bin/x'], user: 'x' },
  });
  await soon(async () => expect((await group(name)).status?.assignment).toMatchObject({ node: names[0], epoch: 1 }));
  await nodes.get(names[0])?.report({ epoch: 1, state: 'Running', ready: true, pid: 7 });
  await soon(async () => expect(condition(await group(name))?.reason).toBe('Serving'));
}

async function movedByEc2(): Promise<void> {
  await soon(async () =>
    expect((await group()).status).toMatchObject({
      assignment: { node: 'server2', epoch: 2 },
      move: { reason: 'NodeLost', proof: 'InstanceStopped' },
    }),
  );
}

async function startedAgain(): Promise<void> {
  await soon(async () => {
    expect((await node('server1'))?.status?.stop).toBeUndefined();
    expect(ec2.instanceOf(INSTANCES.server1).state).toBe('running');
  });
}

describe('fencing by EC2', () => {
  it('stops the instance of a lost node, moves the group then, and starts the instance again', async () => {
    ec2.stopTakesMs = 500;
    ec2.startTakesMs = 500;
    let offBefore: boolean | undefined;
    ec2.onPower = (_, state) => {
      if (state === 'stopped') offBefore = true;
    };
    await serve('g', ['server1', 'server2']);
    await soon(async () => expect(condition(await group(), 'FencingReady')?.status).toBe('True'));
    await nodes.get('server1')?.silence();
    await movedByEc2();
    expect(offBefore, 'off before the next epoch').toBe(true);
    await startedAgain();
    const told = controller.events.filter(({ name }) => name === 'server1').map(({ reason }) => reason);
    expect(told).toEqual(expect.arrayContaining(['InstanceStopped', 'InstanceStarted']));
    expect(told.filter((reason) => reason === 'InstanceStarted')).toHaveLength(1);
  }, 180_000);

  it('is not led astray by an EC2 that throttles, loses answers and tells an old state, nor by the death of a controller', async () => {
    ec2.stopTakesMs = 1_000;
    await serve('g', ['server1', 'server2']);
    ec2.fail({ verb: 'describeInstances', fault: 'throttled' });
    ec2.fail({ verb: 'stopInstance', fault: 'lostReply' });
    ec2.fail({ verb: 'stopInstance', fault: 'unanswered' });
    ec2.fail({ verb: 'describeInstances', fault: 'stale', times: 2 });
    await nodes.get('server1')?.silence();
    await soon(async () => expect(calls('stopInstance').length).toBeGreaterThan(0));
    expect((await node('server1'))?.status?.stop, 'promised before the deed').toMatchObject({ epoch: 1 });
    await controller.stop();
    controller = await startController(server, namespace, { ec2 });
    await movedByEc2();
    await startedAgain();
  }, 180_000);

  it('says beforehand that stop protection is on; holds with the command; and goes on when it is off', async () => {
    ec2.protectFromStop(INSTANCES.server1, true);
    await serve('g', ['server1', 'server2']);
    await soon(async () => expect(condition(await group(), 'FencingReady')).toMatchObject({ reason: 'StopProtected' }));
    await nodes.get('server1')?.silence();
    await soon(async () =>
      expect(condition(await group())).toMatchObject({
        reason: 'InstanceNotStopped',
        message: expect.stringContaining(`aws ec2 stop-instances --instance-ids ${INSTANCES.server1} --force`),
      }),
    );
    expect((await group()).status?.assignment).toMatchObject({ node: 'server1', epoch: 1, state: 'Stopping' });
    ec2.protectFromStop(INSTANCES.server1, false);
    await movedByEc2();
  }, 180_000);

  it('never takes a hibernated instance for one that is off, nor starts it; a terminated one is off', async () => {
    await serve('g', ['server1', 'server2']);
    ec2.setInstanceState(INSTANCES.server1, 'stopped', 'Client.UserInitiatedHibernate');
    await nodes.get('server1')?.silence();
    await soon(async () =>
      expect(condition(await group())).toMatchObject({
        reason: 'InstanceNotStopped',
        message: expect.stringContaining('hibernated'),
      }),
    );
    expect((await group()).status?.assignment?.epoch).toBe(1);
    expect(calls('startInstance')).toEqual([]);
    ec2.setInstanceState(INSTANCES.server1, 'terminated', 'Client.UserInitiatedShutdown');
    await movedByEc2();
  }, 180_000);

  it('does not start what somebody else had stopped', async () => {
    await serve('g', ['server1', 'server2']);
    ec2.setInstanceState(INSTANCES.server1, 'stopped', 'Client.UserInitiatedShutdown');
    await nodes.get('server1')?.silence();
    await movedByEc2();
    expect((await node('server1'))?.status?.stop).toBeUndefined();
    await nodes.get('server2')?.report({ epoch: 2, state: 'Running', ready: true });
    await soon(async () => expect(condition(await group())?.reason).toBe('Serving'));
    expect(calls('startInstance')).toEqual([]);
  }, 180_000);

  it('starts again what it has stopped on an old answer that told of an earlier stop', async () => {
    await serve('g', ['server1', 'server2']);
    ec2.setInstanceState(INSTANCES.server1, 'stopped', 'Client.UserInitiatedShutdown');
    ec2.setInstanceState(INSTANCES.server1, 'running');
    ec2.stopTakesMs = 1_000;
    ec2.fail({ verb: 'describeInstances', fault: 'stale', about: INSTANCES.server1 });
    await nodes.get('server1')?.silence();
    await soon(async () => expect(calls('stopInstance').length).toBeGreaterThan(0));
    await movedByEc2();
    await startedAgain();
    expect(calls('startInstance').length).toBeGreaterThan(0);
  }, 180_000);

  it('holds no other group up while EC2 does not answer', async () => {
    await Promise.all([serve('g', ['server1', 'server2']), serve('h', ['server3', 'server4'])]);
    ec2.fail({ verb: 'stopInstance', fault: 'hang', times: FOR_EVER });
    await nodes.get('server1')?.silence();
    await soon(async () => expect(calls('stopInstance').length).toBeGreaterThan(0));
    await server.kubectl(['annotate', 'fog', 'h', '-n', namespace, 'pointsman.dev/move-to=server4']);
    await soon(async () => expect((await group('h')).status?.assignment?.state).toBe('Stopping'));
    await nodes.get('server3')?.report({ ended: 1, epoch: 0, state: 'Stopped', ready: false });
    await soon(async () => expect((await group('h')).status?.assignment).toMatchObject({ node: 'server4', epoch: 2 }));
    expect((await group()).status?.assignment?.epoch, 'no answer is no proof').toBe(1);
    ec2.heal();
    await movedByEc2();
  }, 180_000);

  it('says when EC2 refuses to start the instance again, and lets the node go when it is deleted', async () => {
    ec2.fail({ verb: 'startInstance', fault: 'denied', times: FOR_EVER });
    await serve('g', ['server1', 'server2']);
    await nodes.get('server1')?.silence();
    await movedByEc2();
    await soon(async () =>
      expect(condition(await node('server1'))).toMatchObject({
        reason: 'StartRefused',
        message: expect.stringContaining(`aws ec2 start-instances --instance-ids ${INSTANCES.server1}`),
      }),
    );
    await server.kubectl(['delete', 'fn', 'server1', '-n', namespace, '--wait=false']);
    await soon(async () => expect(await node('server1')).toBeUndefined());
  }, 180_000);

  it('accepts the fence when the policy is changed to Lease in the midst of the move, and starts what it stopped', async () => {
    ec2.protectFromStop(INSTANCES.server1, true);
    await serve('g', ['server1', 'server2']);
    await nodes.get('server1')?.silence();
    await soon(async () => expect(condition(await group())?.reason).toBe('InstanceNotStopped'));
    const spec = { fencing: { policy: 'Lease' } };
    await server.kubectl(['patch', 'fog', 'g', '-n', namespace, '--type=merge', '-p', JSON.stringify({ spec })]);
    await soon(async () =>
      expect((await group()).status).toMatchObject({ assignment: { epoch: 2 }, move: { proof: 'LeaseExpired' } }),
    );
    await startedAgain();
    expect(condition(await group(), 'FencingReady')).toBeUndefined();
  }, 180_000);
});
