import { EC2Client, ModifyVpcAttributeCommand, StopInstancesCommand } from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ensureRoutes, type RouteFinding, type RouteWish, readRoutes } from '../../src/aws/routes.ts';
import type { SeededCloud } from '../../tools/moto/seed.ts';
import { CREDENTIALS, type Emulator, REGION, startEmulator } from './emulator.ts';

const VIP = '10.1.0.20/32';
const CALL = { timeoutMs: 20_000 };
const always = () => true;

let aws: Emulator;
let cloud: SeededCloud;
let tables: [main: string, a: string, b: string];
let to1: RouteWish;
let to2: RouteWish;

beforeAll(async () => {
  aws = await startEmulator();
}, 120_000);
afterAll(async () => await aws?.stop());
beforeEach(async () => {
  cloud = await aws.reset();
  tables = [cloud.mainTableId, cloud.routeATableId, cloud.routeBTableId];
  to1 = { destination: VIP, tableIds: tables, networkInterfaceId: cloud.server1.networkInterfaceId };
  to2 = { ...to1, networkInterfaceId: cloud.server2.networkInterfaceId };
});

const ensure = (wishes: RouteWish[], timeoutMs = 20_000) =>
  ensureRoutes(aws.ec2, wishes, { timeoutMs, stillMine: always });

const states = (findings: readonly RouteFinding[]) => findings.map((finding) => finding.state);

/** What moto holds, seen around the proxy. */
async function targets(destination = VIP): Promise<(string | undefined)[]> {
  const seen = await aws.direct.describeRoutes(tables, CALL);
  return tables.map((id) => {
    const table = seen.get(id);
    return table === undefined || table === 'missing'
      ? undefined
      : table.routes.find((route) => route.destination === destination)?.target;
  });
}

const calls = (action: string) => aws.proxy.trace().filter((call) => call.action === action);

describe('ensureRoutes()', () => {
  test('creates the route in every table that has none', async () => {
    expect(states(await ensure([to1]))).toEqual(['InPlace', 'InPlace', 'InPlace']);
    expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
  });

  test('moves three tables at the same time, without a look first, and reads them back with one question', async () => {
    await ensure([to1]);
    aws.proxy.reset();
    aws.proxy.latency('ReplaceRoute', 800);

    const findings = await ensure([to2]);

    expect(states(findings)).toEqual(['InPlace', 'InPlace', 'InPlace']);
    expect(await targets()).toEqual(Array(3).fill(cloud.server2.networkInterfaceId));
    const replaced = calls('ReplaceRoute').map((call) => call.atMs);
    // One after the other they would be 1600 ms apart.
    expect(Math.max(...replaced) - Math.min(...replaced)).toBeLessThan(750);
    expect(calls('DescribeRouteTables')).toHaveLength(1);
  });

  test('moves the addresses of several groups together, with one question for all', async () => {
    const other: RouteWish = { ...to2, destination: '10.1.0.21/32' };
    const findings = await ensure([to1, other]);
    expect(states(findings)).toEqual(Array(6).fill('InPlace'));
    expect(await targets(VIP)).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
    expect(await targets('10.1.0.21/32')).toEqual(Array(3).fill(cloud.server2.networkInterfaceId));
    expect(calls('DescribeRouteTables')).toHaveLength(1);
  });

  test('a table that is denied keeps no other from moving, and says what to allow', async () => {
    await ensure([to1]);
    aws.proxy.rule({ action: 'ReplaceRoute', fault: 'unauthorized', contains: tables[1], times: 100 });

    const findings = await ensure([to2]);

    expect(states(findings)).toEqual(['InPlace', 'Refused', 'InPlace']);
    expect(findings[1]?.message).toContain('allow ec2:ReplaceRoute');
    expect(findings[1]?.target).toBe(cloud.server1.networkInterfaceId);
    const { server1, server2 } = cloud;
    expect(await targets()).toEqual([
      server2.networkInterfaceId,
      server1.networkInterfaceId,
      server2.networkInterfaceId,
    ]);
  });

  test('a table that is throttled again and again is moved all the same, and delays no other', async () => {
    await ensure([to1]);
    aws.proxy.rule({ action: 'ReplaceRoute', fault: 'throttle', contains: tables[0], times: 4 });

    const findings = await ensure([to2]);

    expect(states(findings)).toEqual(['InPlace', 'InPlace', 'InPlace']);
    const [main, a, b] = findings.map((finding) => finding.acceptedAfterMs ?? Number.NaN);
    // It waited four times, at least 25, 50, 100 and 200 ms; had the others waited for it, they would be later still.
    expect(main).toBeGreaterThanOrEqual(370);
    expect(a).toBeLessThan(main!);
    expect(b).toBeLessThan(main!);
  });

  test('an endpoint that hangs is Unknown by the deadline, and nothing is said to be missing', async () => {
    await ensure([to1]);
    aws.proxy.rule({ action: '*', fault: 'hang', times: 1_000 });
    const began = performance.now();

    const findings = await ensure([to2], 600);

    expect(performance.now() - began).toBeLessThan(2_400);
    expect(states(findings)).toEqual(['Unknown', 'Unknown', 'Unknown']);
    expect(findings[0]?.message).toContain('has not answered');
  });

  test('one table whose call hangs leaves the others in place, and is told as it stands', async () => {
    await ensure([to1]);
    aws.proxy.rule({ action: 'ReplaceRoute', fault: 'hang', contains: tables[0], times: 100 });

    const findings = await ensure([to2], 6_000);

    expect(states(findings)).toEqual(['Elsewhere', 'InPlace', 'InPlace']);
    expect(findings[0]?.message).toContain('has not answered');
  });

  test('a change whose answer is lost is found in place', async () => {
    await ensure([to1]);
    for (const table of tables) aws.proxy.rule({ action: 'ReplaceRoute', fault: 'lostReply', contains: table });
    expect(states(await ensure([to2]))).toEqual(['InPlace', 'InPlace', 'InPlace']);
  });

  test('a creation whose answer is lost is found in place', async () => {
    for (const table of tables) aws.proxy.rule({ action: 'CreateRoute', fault: 'lostReply', contains: table });
    expect(states(await ensure([to1]))).toEqual(['InPlace', 'InPlace', 'InPlace']);
  });

  test.each(['internalError', 'unavailable', 'reset', 'html'] as const)(
    'is not stopped by a passing %s',
    async (fault) => {
      await ensure([to1]);
      for (const table of tables) aws.proxy.rule({ action: 'ReplaceRoute', fault, contains: table });
      expect(states(await ensure([to2]))).toEqual(['InPlace', 'InPlace', 'InPlace']);
    },
  );

  test('changes nothing once it is no longer ours to change', async () => {
    await ensure([to1]);
    const findings = await ensureRoutes(aws.ec2, [to2], { timeoutMs: 20_000, stillMine: () => false });
    expect(states(findings)).toEqual(['Elsewhere', 'Elsewhere', 'Elsewhere']);
    expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
  });

  test('stops repeating a throttled change as soon as it is no longer ours', async () => {
    await ensure([to1]);
    aws.proxy.rule({ action: 'ReplaceRoute', fault: 'throttle', times: 3 });
    let asked = 0;
    const onlyOnce = () => ++asked <= 3;
    const findings = await ensureRoutes(aws.ec2, [to2], { timeoutMs: 20_000, stillMine: onlyOnce });
    expect(states(findings)).toEqual(['Elsewhere', 'Elsewhere', 'Elsewhere']);
    expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
  });

  test('an address of IPv6 is moved and found, however it is spelled', async () => {
    const v6 = { ...to1, destination: 'fd00:0:0::20/128' };
    expect(states(await ensure([v6]))).toEqual(['InPlace', 'InPlace', 'InPlace']);
    expect(await targets('fd00::20/128')).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
    expect(
      states(await ensure([{ ...v6, destination: 'fd00::20/128', networkInterfaceId: to2.networkInterfaceId }])),
    ).toEqual(['InPlace', 'InPlace', 'InPlace']);
  });

  test('a table that does not exist is told by name and spoils no other', async () => {
    const wish = { ...to1, tableIds: [tables[0], 'rtb-00000000000000000', tables[2]] };
    const findings = await ensure([wish]);
    expect(states(findings)).toEqual(['InPlace', 'Refused', 'InPlace']);
    expect(findings[1]?.message).toContain('rtb-00000000000000000 does not exist');
  });

  test('an interface that does not exist is refused in every table, and nothing is lost', async () => {
    await ensure([to1]);
    const findings = await ensure([{ ...to1, networkInterfaceId: 'eni-00000000000000000' }]);
    expect(states(findings)).toEqual(['Refused', 'Refused', 'Refused']);
    expect(findings[0]?.message).toContain('InvalidNetworkInterfaceID.NotFound');
    expect(await targets()).toEqual(Array(3).fill(cloud.server1.networkInterfaceId));
  });
});

describe('readRoutes()', () => {
  const read = (wishes: RouteWish[], timeoutMs = 20_000) => readRoutes(aws.ec2, wishes, { timeoutMs });

  test('sees a route that somebody moved, and one that somebody deleted', async () => {
    await ensure([to1]);
    const moved = { tableId: tables[0], destination: VIP, networkInterfaceId: cloud.server2.networkInterfaceId };
    await aws.direct.replaceRoute(moved, CALL);
    await aws.direct.deleteRoute({ tableId: tables[1], destination: VIP }, CALL);
    const findings = await read([to1]);
    expect(states(findings)).toEqual(['Elsewhere', 'Missing', 'InPlace']);
    expect(findings[0]?.target).toBe(cloud.server2.networkInterfaceId);
  });

  test('sees a black hole when the instance behind the route is stopped', async () => {
    await ensure([to1]);
    const client = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
    await client.send(new StopInstancesCommand({ InstanceIds: [cloud.server1.instanceId] }));
    client.destroy();
    expect(states(await read([to1]))).toEqual(['Blackhole', 'Blackhole', 'Blackhole']);
  });

  test('is Unknown when AWS may not be asked, throttles for long or does not answer', async () => {
    await ensure([to1]);
    for (const fault of ['unauthorized', 'throttle', 'hang', 'html'] as const) {
      aws.proxy.reset();
      aws.proxy.rule({ action: 'DescribeRouteTables', fault, times: 1_000 });
      expect(states(await read([to1], 400))).toEqual(['Unknown', 'Unknown', 'Unknown']);
    }
  });

  test('changes nothing', async () => {
    expect(states(await read([to1]))).toEqual(['Missing', 'Missing', 'Missing']);
    expect(await targets()).toEqual([undefined, undefined, undefined]);
  });
});

describe('the edge', () => {
  test('switches the source/destination check of an interface off, and sees that it is', async () => {
    const { instanceId, networkInterfaceId, privateIp, zone } = cloud.server1;
    const before = (await aws.ec2.describeInstances([instanceId], CALL)).get(instanceId);
    expect(before).toMatchObject({
      state: 'running',
      zone,
      vpcId: cloud.vpcId,
      primaryInterfaceId: networkInterfaceId,
      interfaces: [{ id: networkInterfaceId, attached: true, sourceDestCheck: true, privateIp, vpcId: cloud.vpcId }],
    });
    await aws.ec2.setSourceDestCheck(networkInterfaceId, false, CALL);
    const after = (await aws.ec2.describeInstances([instanceId], CALL)).get(instanceId);
    expect(after).toMatchObject({ interfaces: [{ id: networkInterfaceId, sourceDestCheck: false }] });
  });

  test('answers about instances that exist although one does not', async () => {
    const answer = await aws.ec2.describeInstances(['i-00000000000000000', cloud.server2.instanceId], CALL);
    expect(answer.get('i-00000000000000000')).toBe('missing');
    expect(answer.get(cloud.server2.instanceId)).toMatchObject({ id: cloud.server2.instanceId });
  });

  test('tells why an instance is stopped', async () => {
    const client = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
    await client.send(new StopInstancesCommand({ InstanceIds: [cloud.server1.instanceId], Force: true }));
    client.destroy();
    const seen = (await aws.ec2.describeInstances([cloud.server1.instanceId], CALL)).get(cloud.server1.instanceId);
    expect(seen).toMatchObject({ state: 'stopped', stateReason: 'Client.UserInitiatedShutdown' });
  });

  test('tells the CIDRs and DNS attributes of a VPC, and that one does not exist', async () => {
    expect(await aws.ec2.describeVpc(cloud.vpcId, CALL)).toEqual({
      id: cloud.vpcId,
      cidrs: ['10.0.0.0/16'],
      dnsSupport: true,
      dnsHostnames: true,
    });
    const client = new EC2Client({ region: REGION, endpoint: aws.moto.endpoint, credentials: CREDENTIALS });
    await client.send(new ModifyVpcAttributeCommand({ VpcId: cloud.vpcId, EnableDnsHostnames: { Value: false } }));
    client.destroy();
    expect(await aws.ec2.describeVpc(cloud.vpcId, CALL)).toMatchObject({ dnsSupport: true, dnsHostnames: false });
    expect(await aws.ec2.describeVpc('vpc-00000000000000000', CALL)).toBe('missing');
  });
});
