import { spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AttachNetworkInterfaceCommand,
  CreateNetworkInterfaceCommand,
  CreateRouteCommand,
  DeleteRouteCommand,
  DescribeInstancesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeRouteTablesCommand,
  DetachNetworkInterfaceCommand,
  EC2Client,
  ModifyInstanceAttributeCommand,
  ModifyNetworkInterfaceAttributeCommand,
  RebootInstancesCommand,
  ReplaceRouteCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type SeededCloud, seedCloud } from '../../tools/moto/seed.ts';
import { type Moto, type MotoOptions, startMoto } from '../../tools/moto/server.ts';
import { isAlive } from './alive.ts';

const VIP = '10.1.0.20/32';
const TIMEOUT_MS = 180_000;

interface Running {
  readonly moto: Moto;
  readonly ec2: EC2Client;
  readonly changesFile: string;
}

let plain: Running;
let hypervised: Running;
const cleanUps: (() => Promise<void>)[] = [];
const endings: (() => Promise<void>)[] = [];

beforeAll(async () => {
  [plain, hypervised] = await Promise.all([run({}, endings), run({ hypervisor: true }, endings)]);
}, TIMEOUT_MS);
afterEach(async () => await unwind(cleanUps));
afterAll(async () => await unwind(endings));

async function run(options: Omit<MotoOptions, 'dir'>, undo: (() => Promise<void>)[]): Promise<Running> {
  const dir = await directory(undo);
  const changesFile = join(dir, 'changes');
  const moto = await startMoto({ dir, changesFile, ...options });
  const ec2 = new EC2Client({
    region: 'us-east-1',
    endpoint: moto.endpoint,
    credentials: { accessKeyId: 'testing', secretAccessKey: 'testing' },
    maxAttempts: 1,
  });
  undo.push(async () => {
    ec2.destroy();
    await moto.stop();
  });
  return { moto, ec2, changesFile };
}

/** A running emulator with the cloud made anew in it. */
async function seeded(running: Running): Promise<Running & { readonly cloud: SeededCloud }> {
  return { ...running, cloud: await seedCloud(running.moto.endpoint) };
}

async function directory(undo: (() => Promise<void>)[]): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pointsman-moto-'));
  undo.push(async () => await rm(dir, { recursive: true, force: true }));
  return dir;
}

async function unwind(undo: (() => Promise<void>)[]): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

async function look(ec2: EC2Client, id: string) {
  const answer = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
  return answer.Reservations?.[0]?.Instances?.[0];
}

async function route(ec2: EC2Client, tableId: string) {
  const answer = await ec2.send(new DescribeRouteTablesCommand({ RouteTableIds: [tableId] }));
  return answer.RouteTables?.[0]?.Routes?.find((candidate) => candidate.DestinationCidrBlock === VIP);
}

describe('the seeded cloud', { timeout: TIMEOUT_MS }, () => {
  test('has the ids that the examples name, in every fresh server and after every reset', async () => {
    const { cloud } = await seeded(plain);
    expect((await seeded(plain)).cloud).toEqual(cloud);
    expect((await seeded(hypervised)).cloud).toEqual(cloud);
    expect(cloud).toMatchObject({
      region: 'us-east-1',
      vpcId: 'vpc-75e173e4eaede5fe8',
      mainTableId: 'rtb-462ddaed16dc0cf0b',
      routeATableId: 'rtb-865425feeaa4e2fe9',
      routeBTableId: 'rtb-2517ee5bb9cda1a2a',
      server1: {
        instanceId: 'i-9af9f0ba3d90f871f',
        networkInterfaceId: 'eni-5c471360ead4d6df1',
        privateIp: '10.0.2.10',
        zone: 'us-east-1a',
      },
      server2: {
        instanceId: 'i-93a9ef4e863a5e850',
        networkInterfaceId: 'eni-a965cda2c354fa708',
        privateIp: '10.0.4.10',
        zone: 'us-east-1b',
      },
      fileSystemId: 'fs-12f19d54',
    });
  });

  test('starts without a route to the VIP, and with source/destination checks on', async () => {
    const { cloud, ec2 } = await seeded(plain);
    for (const table of [cloud.mainTableId, cloud.routeATableId, cloud.routeBTableId]) {
      expect(await route(ec2, table)).toBeUndefined();
    }
    for (const server of [cloud.server1, cloud.server2]) {
      expect(await look(ec2, server.instanceId)).toMatchObject({ SourceDestCheck: true });
    }
  });
});

describe('routes', { timeout: TIMEOUT_MS }, () => {
  test('behave as EC2 documents where moto does not', async () => {
    const { cloud, ec2 } = await seeded(plain);
    const RouteTableId = cloud.routeATableId;
    const NetworkInterfaceId = cloud.server1.networkInterfaceId;
    const create = { RouteTableId, DestinationCidrBlock: VIP, NetworkInterfaceId };

    await expect(ec2.send(new CreateRouteCommand({ ...create, DryRun: true }))).rejects.toThrow(/DryRun/);
    expect(await route(ec2, RouteTableId)).toBeUndefined();

    await ec2.send(new CreateRouteCommand(create));
    await expect(ec2.send(new CreateRouteCommand(create))).rejects.toMatchObject({ name: 'RouteAlreadyExists' });
    expect(await route(ec2, RouteTableId)).toMatchObject({
      NetworkInterfaceId,
      InstanceId: cloud.server1.instanceId,
      InstanceOwnerId: expect.any(String),
      State: 'active',
    });

    const toNowhere = { ...create, NetworkInterfaceId: 'eni-00000000000000000' };
    await expect(ec2.send(new ReplaceRouteCommand(toNowhere))).rejects.toMatchObject({
      name: 'InvalidNetworkInterfaceID.NotFound',
    });
    expect(await route(ec2, RouteTableId)).toMatchObject({ NetworkInterfaceId });

    await expect(
      ec2.send(new CreateRouteCommand({ ...create, DestinationCidrBlock: '10.1.0.300/32' })),
    ).rejects.toMatchObject({ name: 'InvalidParameterValue' });
    await expect(
      ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '10.9.0.0/16' })),
    ).rejects.toMatchObject({ name: 'MissingParameter' });
    await expect(
      ec2.send(new DeleteRouteCommand({ RouteTableId, DestinationCidrBlock: cloud.vpcCidr })),
    ).rejects.toMatchObject({ name: 'InvalidParameterValue' });

    await ec2.send(new StopInstancesCommand({ InstanceIds: [cloud.server1.instanceId] }));
    expect(await route(ec2, RouteTableId)).toMatchObject({ NetworkInterfaceId, State: 'blackhole' });
  });

  test('a detached interface is a black hole', async () => {
    const { cloud, ec2 } = await seeded(plain);
    const made = await ec2.send(new CreateNetworkInterfaceCommand({ SubnetId: cloud.subnets.A2.id }));
    const NetworkInterfaceId = made.NetworkInterface?.NetworkInterfaceId;
    const attached = await ec2.send(
      new AttachNetworkInterfaceCommand({
        NetworkInterfaceId,
        InstanceId: cloud.server1.instanceId,
        DeviceIndex: 1,
      }),
    );
    await ec2.send(
      new CreateRouteCommand({ RouteTableId: cloud.mainTableId, DestinationCidrBlock: VIP, NetworkInterfaceId }),
    );
    expect(await route(ec2, cloud.mainTableId)).toMatchObject({ State: 'active' });
    await ec2.send(new DetachNetworkInterfaceCommand({ AttachmentId: attached.AttachmentId }));
    expect(await route(ec2, cloud.mainTableId)).toMatchObject({ State: 'blackhole' });
  });
});

describe('instances', { timeout: TIMEOUT_MS }, () => {
  test('are stopping until the hypervisor says that they are stopped', async () => {
    const { moto, cloud, ec2 } = await seeded(hypervised);
    const id = cloud.server1.instanceId;
    const door = `${moto.endpoint}/pointsman/instances/${id}`;
    const report = async (state: string) =>
      await fetch(`${door}/state`, { method: 'POST', body: JSON.stringify({ state }) });

    const answer = await ec2.send(new StopInstancesCommand({ InstanceIds: [id], Force: true, SkipOsShutdown: true }));
    expect(answer.StoppingInstances).toMatchObject([
      { CurrentState: { Name: 'stopping' }, PreviousState: { Name: 'running' } },
    ]);
    expect(await (await fetch(door)).json()).toEqual({
      instanceId: id,
      state: 'stopping',
      lastStop: { force: true, skipOsShutdown: true, hibernate: false },
      reboots: 0,
    });
    expect(await look(ec2, id)).toMatchObject({
      State: { Name: 'stopping', Code: 64 },
      StateReason: { Code: 'Client.UserInitiatedShutdown' },
      StateTransitionReason: expect.stringMatching(/^User initiated \(/),
      HibernationOptions: { Configured: false },
    });

    expect((await report('running')).status).toBe(409);
    expect((await report('stopped')).status).toBe(200);
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'stopped', Code: 80 } });

    await ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'pending' } });
    await report('running');
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'running' } });

    await ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }));
    expect(await (await fetch(door)).json()).toMatchObject({ state: 'running', reboots: 1 });

    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'shutting-down' } });
    await report('stopped');
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'terminated' } });
  });

  test('a guest that powers itself off is stopped, and not by a user', async () => {
    const { moto, cloud, ec2 } = await seeded(hypervised);
    const id = cloud.server1.instanceId;
    await fetch(`${moto.endpoint}/pointsman/instances/${id}/state`, { method: 'POST', body: '{"state":"stopped"}' });
    expect(await look(ec2, id)).toMatchObject({
      State: { Name: 'stopped' },
      StateReason: { Code: 'Client.InstanceInitiatedShutdown' },
    });
  });

  test('are not stopped while they are protected, and a dry run says so', async () => {
    const { cloud, ec2 } = await seeded(plain);
    const InstanceId = cloud.server1.instanceId;
    const InstanceIds = [InstanceId];
    await expect(ec2.send(new StopInstancesCommand({ InstanceIds, DryRun: true }))).rejects.toMatchObject({
      name: 'DryRunOperation',
    });
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiStop: { Value: true } }));
    for (const DryRun of [true, false]) {
      await expect(ec2.send(new StopInstancesCommand({ InstanceIds, DryRun }))).rejects.toMatchObject({
        name: 'OperationNotPermitted',
      });
    }
    expect(await look(ec2, InstanceId)).toMatchObject({ State: { Name: 'running' } });
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiStop: { Value: false } }));
    await ec2.send(new StopInstancesCommand({ InstanceIds }));
    expect(await look(ec2, InstanceId)).toMatchObject({ State: { Name: 'stopped' } });
  });

  test('do not hibernate unless they are configured for it', async () => {
    const { cloud, ec2 } = await seeded(plain);
    await expect(
      ec2.send(new StopInstancesCommand({ InstanceIds: [cloud.server1.instanceId], Hibernate: true })),
    ).rejects.toMatchObject({ name: 'UnsupportedHibernationConfiguration' });
  });

  test('without a hypervisor the stop takes as long as was asked', async () => {
    const { cloud, ec2 } = await seeded(await run({ env: { MOTO_AWS_STOP_SECONDS: '2' } }, cleanUps));
    const id = cloud.server1.instanceId;
    await ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
    expect(await look(ec2, id)).toMatchObject({ State: { Name: 'stopping' } });
    await expect.poll(async () => (await look(ec2, id))?.State?.Name, { timeout: 20_000 }).toBe('stopped');
  });
});

describe('changes', { timeout: TIMEOUT_MS }, () => {
  test('are in the file before the answer is, and wake whoever watches it', async () => {
    const { moto, cloud, ec2, changesFile } = await seeded(hypervised);
    const count = async () => Number(await readFile(changesFile, 'utf8'));
    const grows = async (change: () => Promise<unknown>) => {
      const before = await count();
      await change();
      expect(await count()).toBe(before + 1);
    };
    const NetworkInterfaceId = cloud.server1.networkInterfaceId;
    const InstanceIds = [cloud.server1.instanceId];

    await grows(() =>
      ec2.send(
        new CreateRouteCommand({ RouteTableId: cloud.mainTableId, DestinationCidrBlock: VIP, NetworkInterfaceId }),
      ),
    );
    await grows(() =>
      ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId, SourceDestCheck: { Value: false } })),
    );
    await grows(() => ec2.send(new StopInstancesCommand({ InstanceIds })));
    await grows(() =>
      fetch(`${moto.endpoint}/pointsman/instances/${InstanceIds[0]}/state`, {
        method: 'POST',
        body: '{"state":"stopped"}',
      }),
    );

    const before = await count();
    await ec2.send(new DescribeNetworkInterfacesCommand({}));
    await expect(ec2.send(new StopInstancesCommand({ InstanceIds: ['i-00000000000000000'] }))).rejects.toThrow();
    expect(await count()).toBe(before);

    const woken = Promise.withResolvers<void>();
    const watcher = watch(changesFile, () => woken.resolve());
    await ec2.send(new StartInstancesCommand({ InstanceIds }));
    await woken.promise;
    watcher.close();
  });
});

test('the emulator ends when whoever started it is gone', { timeout: TIMEOUT_MS }, async () => {
  const server = join(import.meta.dirname, '../../tools/moto/server.ts');
  const script = `const { startMoto } = await import(${JSON.stringify(server)});
    const moto = await startMoto({ dir: ${JSON.stringify(await directory(cleanUps))} });
    console.log(moto.pid);
    setInterval(() => {}, 1000);`;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise<number>((resolve) => starter.stdout.once('data', (data) => resolve(Number(data))));
  starter.kill('SIGKILL');
  await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
});
