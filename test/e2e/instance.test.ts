import { EC2Client, ModifyInstanceAttributeCommand } from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf, readyOf, VIP } from '../../sandbox/cluster.ts';
import { type S3, startS3 } from '../../sandbox/s3.ts';
import type { ServerName } from '../../sandbox/topology.ts';
import { articleCluster } from './fixture.ts';

/** `fencing.policy: Instance`: a lost server is switched off by EC2 before its group is served elsewhere. */
const article = articleCluster((yaml) =>
  yaml.replace('  nodes: [server1, server2]', '  fencing: {policy: Instance}\n  nodes: [server1, server2]'),
);

describe('fencing by EC2', () => {
  let s3: S3;
  const written = new Map<string, string>();

  beforeAll(async () => {
    const { cluster } = article();
    await cluster.untilServed(60_000);
    s3 = await startS3(cluster.sandbox, {
      endpoint: `http://${VIP}:9000`,
      accessKeyId: 'minioadmin',
      secretAccessKey: 'minioadmin',
    });
    await s3.createBucket('kept');
    await redundant();
  }, 120_000);
  afterAll(() => s3?.stop());

  const active = async (): Promise<ServerName> =>
    ((await article().cluster.group()).status?.activeNode ?? 'server1') as ServerName;
  const other = (name: ServerName): ServerName => (name === 'server1' ? 'server2' : 'server1');
  const epoch = async () => (await article().cluster.group()).status?.assignment?.epoch ?? 0;

  async function redundant(): Promise<void> {
    await article().cluster.until('redundancy', 60_000, async () => {
      const condition = conditionOf(await article().cluster.group(), 'Degraded');
      return condition?.status === 'False' || (condition?.message ?? false);
    });
  }

  async function write(key: string): Promise<void> {
    await s3.putObject('kept', key, `written as ${key}`);
    written.set(key, `written as ${key}`);
  }

  async function nothingIsLost(): Promise<void> {
    for (const [key, body] of written) expect(await s3.getObject('kept', key), key).toBe(body);
  }

  /** The server was switched off for the move, and is back. */
  async function backAgain(name: ServerName): Promise<void> {
    await article().cluster.until(`${name} started again`, 60_000, async () => {
      const node = await article().cluster.node(name);
      return (node.status?.stop === undefined && readyOf(node)?.status === 'True') || (readyOf(node)?.message ?? false);
    });
    await redundant();
  }

  it('has a server without power stopped by EC2, serves elsewhere, and starts it again', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await cluster.until('ready to fence', 30_000, async () => {
      const condition = conditionOf(await cluster.group(), 'FencingReady');
      return condition?.status === 'True' || (condition?.message ?? false);
    });
    await write('before the power cut');
    await cluster.sandbox.server(node).powerCut();
    const group = await cluster.untilServed(90_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ reason: 'NodeLost', proof: 'InstanceStopped', from: node });
    await nothingIsLost();
    await backAgain(node);
    expect(await epoch(), 'it does not go back by itself').toBe(before + 1);
  });

  it('never has two writers when a whole server stands still, and nothing of it goes on afterwards', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    await write('before the standstill');
    const stopped = cluster.sandbox
      .server(node)
      .processes()
      .map(({ pid }) => pid);
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    const group = await cluster.untilServed(90_000, { node: other(node), above: before });
    expect(group.status?.move).toMatchObject({ proof: 'InstanceStopped', from: node });
    await write('after the standstill');
    // What is left of it would go on now; the fixture looks for a second MinIO all the time.
    const left = cluster.sandbox
      .server(node)
      .processes()
      .filter(({ pid }) => stopped.includes(pid));
    for (const { pid } of left) process.kill(pid, 'SIGCONT');
    expect(left, 'nothing of it is left').toEqual([]);
    await nothingIsLost();
    await backAgain(node);
  });

  it('holds a lost server that may not be stopped, as it said beforehand, until the protection is off', async () => {
    const { cluster } = article();
    const [node, before] = [await active(), await epoch()];
    const id = cluster.sandbox.ids[node].instanceId;
    await protect(id, true);
    // Whoever leads next asks anew.
    await cluster.sandbox.controller.kill();
    await cluster.until('the warning', 60_000, async () => {
      const condition = conditionOf(await cluster.group(), 'FencingReady');
      return condition?.reason === 'StopProtected' || (condition?.message ?? false);
    });
    await cluster.sandbox.server(node).powerCut();
    const command = `aws ec2 stop-instances --instance-ids ${id} --force --skip-os-shutdown --region us-east-1`;
    await cluster.until('it is held', 60_000, async () => {
      const ready = readyOf(await cluster.group());
      return (ready?.reason === 'InstanceNotStopped' && ready.message.includes(command)) || (ready?.message ?? false);
    });
    expect(await epoch()).toBe(before);
    await protect(id, false);
    await cluster.untilServed(90_000, { node: other(node), above: before });
    await nothingIsLost();
    await backAgain(node);
  });

  async function protect(instanceId: string, on: boolean): Promise<void> {
    const { sandbox } = article().cluster;
    const client = new EC2Client({
      region: sandbox.ids.region,
      endpoint: sandbox.awsEndpoint,
      credentials: { accessKeyId: 'sandbox', secretAccessKey: 'sandbox' },
    });
    await client.send(new ModifyInstanceAttributeCommand({ InstanceId: instanceId, DisableApiStop: { Value: on } }));
    client.destroy();
  }
});
