import { afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { vipResources } from '../../src/kube/resources.ts';
import { FakeEc2 } from '../fakes/ec2.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type ReportingNode, startController, startReportingNode, type TestController } from './controller.ts';

/** Which interface of a server a route leads to, on a real API server. EC2 is the fake; the server has two of them. */
const VPC = 'vpc-00000001';
const INSTANCE = 'i-00000001';
const PRIMARY = 'eni-00000001';
const SECOND = 'eni-00000002';
const ROUTE = ['rtb-00000001', '10.1.0.20/32'] as const;

let server: ApiServerAccess;
let namespace: string;
let ec2: FakeEc2;
let controller: TestController;
let node: ReportingNode | undefined;

beforeAll(async () => {
  server = await sharedApiServer();
}, 180_000);

beforeEach(async () => {
  namespace = await server.namespace('interfaces');
  const at = { zone: 'a', vpcId: VPC, subnetId: 'subnet-1' };
  const nic = (id: string, privateIp: string) => ({ id, privateIp, attached: true, sourceDestCheck: true, ...at });
  const interfaces = [nic(PRIMARY, '10.0.2.11'), nic(SECOND, '10.0.2.12')];
  ec2 = new FakeEc2();
  ec2.addTable(ROUTE[0], VPC);
  ec2.addInstance({ id: INSTANCE, state: 'running', primaryInterfaceId: PRIMARY, interfaces, ...at });
  controller = await startController(server, namespace, { ec2 });
});
afterEach(async () => {
  await node?.silence();
  await controller.stop();
});

const soon = (check: () => Promise<void> | void) => vi.waitFor(check, { timeout: 60_000, interval: 20 });
const target = () => ec2.routeOf(...ROUTE)?.target;
const vip = async () => (await controller.api.get(vipResources, namespace, 'v'))?.status;

async function apply(kind: string, name: string, spec: object): Promise<void> {
  await server.kubectl(['apply', '-f', '-'], {
    input: stringify({ apiVersion: 'pointsman.dev/v1alpha1', kind, metadata: { name, namespace }, spec }),
  });
}

/** The only node of a group with an address; `spec` may name an interface. */
async function serveFrom(spec: { networkInterfaceId?: string }): Promise<void> {
  await apply('FailoverNode', 'server1', { instanceId: INSTANCE, ...spec });
  node = await startReportingNode(controller.api, namespace, 'server1', 'g', 60);
  const routeTableIds = [ROUTE[0]];
  await apply('VipResource', 'v', { groupRef: { name: 'g' }, address: '10.1.0.20', vpcId: VPC, routeTableIds });
  await apply('FailoverGroup', 'g', {
    nodes: ['server1'],
    sharedDisk: { mountPath: '/mnt/efs' },
    process: { command: ['/bin/x'], user: 'x' },
  });
}

async function leadsTo(id: string): Promise<void> {
  await soon(() => expect(target()).toBe(id));
  await soon(async () => expect((await vip())?.target).toMatchObject({ node: 'server1', networkInterfaceId: id }));
}

it('leads to the interface that the node names, primary or not, and switches off the check of that one alone', async () => {
  await serveFrom({ networkInterfaceId: SECOND });
  await leadsTo(SECOND);
  await soon(() =>
    expect(ec2.instanceOf(INSTANCE).interfaces).toMatchObject([
      { id: PRIMARY, sourceDestCheck: true },
      { id: SECOND, sourceDestCheck: false },
    ]),
  );
});

it('leads to another one once the node names that', async () => {
  await serveFrom({});
  await leadsTo(PRIMARY);
  await apply('FailoverNode', 'server1', { instanceId: INSTANCE, networkInterfaceId: SECOND });
  await leadsTo(SECOND);
});

it('leads nowhere while the node names one that its instance does not have', async () => {
  await serveFrom({ networkInterfaceId: 'eni-000000ff' });
  await soon(async () =>
    expect((await vip())?.conditions).toContainEqual(
      expect.objectContaining({ type: 'Ready', status: 'Unknown', reason: 'InterfaceUnknown' }),
    ),
  );
  expect(target()).toBeUndefined();
  await apply('FailoverNode', 'server1', { instanceId: INSTANCE, networkInterfaceId: SECOND });
  await leadsTo(SECOND);
});
