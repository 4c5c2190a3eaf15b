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
});
