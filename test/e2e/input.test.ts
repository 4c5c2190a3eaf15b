import { describe, expect, it } from 'vitest';
import { conditionOf, NAMESPACE, readyOf } from '../../sandbox/cluster.ts';
import { articleCluster } from './fixture.ts';

/** What only the cluster or the host can tell: a condition that says what to write instead. Nothing crashes. */
const article = articleCluster((yaml) =>
  yaml
    .replace('nodes: [server1, server2]', 'nodes: [server9, server1]')
    .replace('/work/minio, server', '/usr/bin/python3, server'),
);

describe('a wrong spec', () => {
  it('that names a missing node and a command no host allows is held, with what to write', async () => {
    const { cluster } = article();
    await cluster.until('the condition', 30_000, async () => {
      const message = readyOf(await cluster.group())?.message ?? '';
      return (message.includes('server9: NodeMissing') && message.includes('CommandNotAllowed')) || message;
    });
    const group = await cluster.group();
    expect(readyOf(group)).toMatchObject({ status: 'False', reason: 'NoFitNode' });
    expect(conditionOf(group, 'Stalled')?.status).toBe('True');
    expect(readyOf(group)?.message).toMatch(
      /there is no FailoverNode "server9" in namespace storage: create it, or take the name out of spec.nodes/,
    );
    expect(readyOf(group)?.message).toMatch(/\/usr\/bin\/python3.*agent\.yaml/);
    expect(group.status?.assignment).toBeUndefined();
    expect(cluster.minios()).toEqual({ server1: [], server2: [] });
  });

  it('is served as soon as the command is corrected, though a node of it is still missing', async () => {
    const { cluster } = article();
    const command = ['/work/minio', 'server', '/mnt/efs', '--console-address', ':9090'];
    await cluster.sandbox.kubectl([
      'patch',
      'failovergroup/failover',
      '-n',
      NAMESPACE,
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { process: { command } } }),
    ]);
    await cluster.untilServed(40_000, { node: 'server1' });
    expect(conditionOf(await cluster.group(), 'Degraded')?.message).toMatch(/server9: NodeMissing/);
  });

  it('with a route table that does not exist leaves the other tables routed and names the one', async () => {
    const { cluster, apply } = article();
    await apply(vipYaml('second', '10.1.0.30', [cluster.sandbox.ids.mainTableId, 'rtb-0123456789abcdef0']));
    await cluster.until('the condition', 20_000, async () => {
      const text = await vipReady('second');
      return text.includes('rtb-0123456789abcdef0') || text;
    });
    expect(await vipReady('second')).toMatch(/^False/);
  });

  it('with an address that an older VipResource has is a conflict, and the older keeps it', async () => {
    const { cluster, apply } = article();
    await apply(vipYaml('twin', '10.1.0.20', [cluster.sandbox.ids.mainTableId]));
    await cluster.until('the conflict', 20_000, async () => {
      const text = await vipReady('twin');
      return (text.startsWith('False Conflict') && text.includes('VipResource "awsvip" is older')) || text;
    });
    expect(readyOf(await cluster.vip())?.reason).toBe('RoutesInPlace');
  });

  it('of two FailoverNodes with one instance stalls the younger', async () => {
    const { cluster, apply } = article();
    await apply(
      `{apiVersion: pointsman.dev/v1alpha1, kind: FailoverNode, metadata: {name: zwilling, namespace: ${NAMESPACE}}, spec: {instanceId: ${cluster.sandbox.ids.server1.instanceId}}}`,
    );
    await cluster.until('it is stalled', 20_000, async () => {
      const text = await cluster.sandbox.kubectl([
        'get',
        'fn/zwilling',
        '-n',
        NAMESPACE,
        '-o',
        'jsonpath={.status.conditions[?(@.type=="Stalled")].message}',
      ]);
      return text.includes('FailoverNode "server1" has the same instance') || text;
    });
  });

  const vipYaml = (name: string, address: string, tables: readonly string[]) =>
    `{apiVersion: pointsman.dev/v1alpha1, kind: VipResource, metadata: {name: ${name}, namespace: ${NAMESPACE}}, spec: {groupRef: {name: failover}, address: ${address}, vpcId: ${article().cluster.sandbox.ids.vpcId}, routeTableIds: [${tables.join(', ')}]}}`;

  async function vipReady(name: string): Promise<string> {
    const one = '{.status.conditions[?(@.type=="Ready")]';
    return await article().cluster.sandbox.kubectl([
      'get',
      `vip/${name}`,
      '-n',
      NAMESPACE,
      '-o',
      `jsonpath=${one}.status} ${one}.reason} ${one}.message}`,
    ]);
  }
});
