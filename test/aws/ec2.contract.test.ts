import { EC2Client, ModifyInstanceAttributeCommand } from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Call, Ec2 } from '../../src/aws/ec2.ts';
import {
  Denied,
  Missing,
  NoSuchRoute,
  RouteExists,
  StopProtected,
  Throttled,
  Unanswered,
} from '../../src/aws/errors.ts';
import type { SeededCloud } from '../../tools/moto/seed.ts';
import { type Ec2Fault, FakeEc2 } from '../fakes/ec2.ts';
import { CREDENTIALS, type Emulator, REGION, startEmulator } from './emulator.ts';

/**
 * What every Ec2 promises, held against the real one on moto and against the fake: a fake that answers otherwise would
 * make the simulator prove things about another world.
 */

const CALL: Call = { timeoutMs: 20_000, urgent: true };
const VIP = '10.1.0.20/32';

let aws: Emulator;
let cloud: SeededCloud;

beforeAll(async () => {
  aws = await startEmulator();
}, 120_000);
afterAll(async () => await aws?.stop());

interface Subject {
  readonly ec2: Ec2;
  fail(fault: Ec2Fault): void;
  protectServer1(on: boolean): Promise<void>;
}

describe.each([
  { name: 'EC2 by the SDK', make: sdkSubject },
  { name: 'the fake', make: fakeSubject },
])('$name', ({ make }) => {
  let subject: Subject;
  let ec2: Ec2;
  let table: string;
  let eni1: string;
  let eni2: string;
  beforeEach(async () => {
    cloud = await aws.reset();
    subject = make();
    ec2 = subject.ec2;
    table = cloud.routeATableId;
    eni1 = cloud.server1.networkInterfaceId;
    eni2 = cloud.server2.networkInterfaceId;
  });

  const route = async () => {
    const seen = (await ec2.describeRoutes([table], CALL)).get(table);
    if (seen === undefined || seen === 'missing') throw new Error(`no table ${table}`);
    return seen.routes.find((candidate) => candidate.destination === VIP);
  };
  const order = (networkInterfaceId: string, tableId = table) => ({ tableId, destination: VIP, networkInterfaceId });

  test('a route is created once, replaced often, deleted once', async () => {
    await expect(ec2.replaceRoute(order(eni1), CALL)).rejects.toThrow(NoSuchRoute);
    await expect(ec2.deleteRoute(order(eni1), CALL)).rejects.toThrow(NoSuchRoute);
    await ec2.createRoute(order(eni1), CALL);
    await expect(ec2.createRoute(order(eni2), CALL)).rejects.toThrow(RouteExists);
    expect(await route()).toEqual({ destination: VIP, target: eni1, state: 'active' });
    await ec2.replaceRoute(order(eni2), CALL);
    await ec2.replaceRoute(order(eni2), CALL);
    expect(await route()).toMatchObject({ target: eni2 });
    await ec2.deleteRoute(order(eni2), CALL);
    expect(await route()).toBeUndefined();
  });

  test('a route to an instance that is stopped is a black hole until it runs again', async () => {
    await ec2.createRoute(order(eni1), CALL);
    await ec2.stopInstance(cloud.server1.instanceId, CALL);
    expect(await route()).toMatchObject({ target: eni1, state: 'blackhole' });
    await ec2.startInstance(cloud.server1.instanceId, CALL);
    expect(await route()).toMatchObject({ target: eni1, state: 'active' });
  });

  test('what does not exist is Missing to a change, and an answer to a question', async () => {
    await expect(ec2.createRoute(order(eni1, 'rtb-00000000000000000'), CALL)).rejects.toThrow(Missing);
    await expect(ec2.replaceRoute(order(eni1, 'rtb-00000000000000000'), CALL)).rejects.toThrow(Missing);
    await expect(ec2.createRoute(order('eni-00000000000000000'), CALL)).rejects.toThrow(Missing);
    await expect(ec2.setSourceDestCheck('eni-00000000000000000', false, CALL)).rejects.toThrow(Missing);
    expect((await ec2.describeRoutes(['rtb-00000000000000000'], CALL)).get('rtb-00000000000000000')).toBe('missing');
    expect((await ec2.describeInstances(['i-00000000000000000'], CALL)).get('i-00000000000000000')).toBe('missing');
    expect(await ec2.describeVpc('vpc-00000000000000000', CALL)).toBe('missing');
  });

  test('instances and their VPC are described alike', async () => {
    const { server1, vpcId } = cloud;
    expect((await ec2.describeInstances([server1.instanceId], CALL)).get(server1.instanceId)).toEqual({
      id: server1.instanceId,
      state: 'running',
      zone: server1.zone,
      vpcId,
      subnetId: server1.subnetId,
      primaryInterfaceId: eni1,
      interfaces: [
        {
          id: eni1,
          attached: true,
          sourceDestCheck: true,
          privateIp: server1.privateIp,
          subnetId: server1.subnetId,
          vpcId,
        },
      ],
    });
    expect(await ec2.describeVpc(vpcId, CALL)).toMatchObject({ cidrs: [cloud.vpcCidr], dnsSupport: true });
  });

  test('a source/destination check that is switched off stays off', async () => {
    await ec2.setSourceDestCheck(eni1, false, CALL);
    const seen = (await ec2.describeInstances([cloud.server1.instanceId], CALL)).get(cloud.server1.instanceId);
    expect(seen).toMatchObject({ interfaces: [{ sourceDestCheck: false }] });
  });

  const server1 = async () => {
    const { instanceId } = cloud.server1;
    return (await ec2.describeInstances([instanceId], CALL)).get(instanceId);
  };

  test('an instance is stopped by a user, once, and started again, once', async () => {
    const { instanceId } = cloud.server1;
    expect(await ec2.stopInstance(instanceId, CALL)).toEqual({ was: 'running', now: 'stopping' });
    expect(await server1()).toMatchObject({ state: 'stopped', stateReason: 'Client.UserInitiatedShutdown' });
    expect(await ec2.stopInstance(instanceId, CALL)).toEqual({ was: 'stopped', now: 'stopped' });
    expect(await ec2.startInstance(instanceId, CALL)).toBe('pending');
    expect(await server1()).toMatchObject({ state: 'running' });
    expect(await ec2.startInstance(instanceId, CALL)).toBe('running');
  });

  test('a stop whose answer is lost has been carried out, and can be asked for again', async () => {
    const { instanceId } = cloud.server1;
    subject.fail({ verb: 'stopInstance', fault: 'lostReply' });
    await expect(ec2.stopInstance(instanceId, CALL)).rejects.toThrow(Unanswered);
    expect(await server1()).toMatchObject({ state: 'stopped' });
    expect(await ec2.stopInstance(instanceId, CALL)).toMatchObject({ now: 'stopped' });
  });

  test('a protected instance is not stopped, and the protection is seen before', async () => {
    const { instanceId } = cloud.server1;
    expect(await ec2.isStopProtected(instanceId, CALL)).toBe(false);
    await subject.protectServer1(true);
    expect(await ec2.isStopProtected(instanceId, CALL)).toBe(true);
    await expect(ec2.stopInstance(instanceId, CALL)).rejects.toThrow(StopProtected);
    await expect(ec2.mayChangePower(instanceId, 'stop', CALL)).rejects.toThrow(StopProtected);
    expect(await server1()).toMatchObject({ state: 'running' });
    await subject.protectServer1(false);
    expect(await ec2.stopInstance(instanceId, CALL)).toMatchObject({ now: 'stopping' });
  });

  test('a dry run changes nothing, and is refused as the call would be', async () => {
    const { instanceId } = cloud.server1;
    await ec2.mayChangePower(instanceId, 'stop', CALL);
    await ec2.mayChangePower(instanceId, 'start', CALL);
    expect(await server1()).toMatchObject({ state: 'running' });
    subject.fail({ verb: 'mayChangePower', fault: 'denied' });
    await expect(ec2.mayChangePower(instanceId, 'stop', CALL)).rejects.toThrow(Denied);
  });

  test('an instance that does not exist cannot be stopped, started or asked about', async () => {
    const nobody = 'i-00000000000000000';
    await expect(ec2.stopInstance(nobody, CALL)).rejects.toThrow(Missing);
    await expect(ec2.startInstance(nobody, CALL)).rejects.toThrow(Missing);
    await expect(ec2.isStopProtected(nobody, CALL)).rejects.toThrow(Missing);
    await expect(ec2.mayChangePower(nobody, 'stop', CALL)).rejects.toThrow(Missing);
  });

  test('faults come back in our words', async () => {
    await ec2.createRoute(order(eni1), CALL);
    subject.fail({ verb: 'replaceRoute', fault: 'throttled' });
    await expect(ec2.replaceRoute(order(eni2), CALL)).rejects.toThrow(Throttled);
    subject.fail({ verb: 'replaceRoute', fault: 'denied' });
    await expect(ec2.replaceRoute(order(eni2), CALL)).rejects.toThrow(Denied);
    subject.fail({ verb: 'replaceRoute', fault: 'unanswered' });
    await expect(ec2.replaceRoute(order(eni2), CALL)).rejects.toThrow(Unanswered);
    expect(await route()).toMatchObject({ target: eni1 });
    subject.fail({ verb: 'replaceRoute', fault: 'lostReply' });
    await expect(ec2.replaceRoute(order(eni2), CALL)).rejects.toThrow(Unanswered);
    expect(await route()).toMatchObject({ target: eni2 });
  });

  test('a call that hangs ends by its own limit, and at once when it is called off', async () => {
    subject.fail({ verb: 'describeRoutes', fault: 'hang', times: 2 });
    await expect(ec2.describeRoutes([table], { timeoutMs: 200 })).rejects.toThrow(Unanswered);
    const stop = new AbortController();
    const asked = ec2.describeRoutes([table], { timeoutMs: 60_000, signal: stop.signal });
    stop.abort();
    await expect(asked).rejects.toThrow(Unanswered);
  });
});

const ACTIONS: Partial<Record<Ec2Fault['verb'], string>> = {
  replaceRoute: 'ReplaceRoute',
  describeRoutes: 'DescribeRouteTables',
  stopInstance: 'StopInstances',
  mayChangePower: 'StopInstances',
};
const FAULTS = {
  throttled: 'throttle',
  denied: 'unauthorized',
  unanswered: 'internalError',
  hang: 'hang',
  lostReply: 'lostReply',
} as const satisfies Record<Exclude<Ec2Fault['fault'], 'stale'>, string>;

function sdkSubject(): Subject {
  return {
    ec2: aws.ec2,
    fail: ({ verb, fault, times }) => {
      if (fault === 'stale') throw new Error('moto is never stale');
      aws.proxy.rule({ action: ACTIONS[verb] ?? verb, fault: FAULTS[fault], times: times ?? 1 });
    },
    protectServer1: async (on) => {
      const client = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
      await client.send(
        new ModifyInstanceAttributeCommand({ InstanceId: cloud.server1.instanceId, DisableApiStop: { Value: on } }),
      );
      client.destroy();
    },
  };
}

function fakeSubject(): Subject {
  const fake = new FakeEc2();
  fake.addVpc({ id: cloud.vpcId, cidrs: [cloud.vpcCidr], dnsSupport: true, dnsHostnames: true });
  for (const id of [cloud.mainTableId, cloud.routeATableId, cloud.routeBTableId]) fake.addTable(id, cloud.vpcId);
  for (const server of [cloud.server1, cloud.server2]) {
    const { subnetId, zone, privateIp } = server;
    const { vpcId } = cloud;
    fake.addInstance({
      id: server.instanceId,
      state: 'running',
      zone,
      vpcId,
      subnetId,
      primaryInterfaceId: server.networkInterfaceId,
      interfaces: [
        { id: server.networkInterfaceId, attached: true, sourceDestCheck: true, privateIp, subnetId, vpcId },
      ],
    });
  }
  return {
    ec2: fake,
    fail: (fault) => fake.fail(fault),
    protectServer1: async (on) => fake.protectFromStop(cloud.server1.instanceId, on),
  };
}
