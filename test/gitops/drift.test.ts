import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { MOVE_TO_ANNOTATION } from '../../src/crds/failovergroup.ts';
import { mergePatch } from '../../src/kube/mergepatch.ts';
import { failoverGroups, failoverNodes } from '../../src/kube/resources.ts';
import { FakeEc2 } from '../fakes/ec2.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import {
  type ReportingNode,
  startController,
  startReportingNode,
  type TestController,
} from '../reconcilers/controller.ts';
import { AGREES, actionScripts, ask, judge } from './judges.ts';
import type { StoredObject } from './states.ts';

/** The manifests of the example as Git would hold them, on a real API server, with the controller and two nodes. */
const MANIFESTS = join(import.meta.dirname, '../../manifests');
const KINDS = 'fog,fn,vip,dm';
const SECONDS_60 = { timeout: 60_000, interval: 50 };

interface Live extends StoredObject {
  readonly metadata: {
    readonly name: string;
    readonly generation: number;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly managedFields: readonly {
      readonly manager: string;
      readonly subresource?: string;
      readonly fieldsV1: Readonly<Record<string, unknown>>;
    }[];
  };
  readonly status?: { readonly conditions: readonly { readonly type: string; readonly reason: string }[] };
}

let server: ApiServerAccess;
let namespace: string;
let git: string;
let controller: TestController | undefined;
let nodes: ReportingNode[];

beforeEach(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('gitops');
  const example = await readFile(join(MANIFESTS, 'examples/minio.yaml'), 'utf8');
  git = example
    .replaceAll('namespace: storage', `namespace: ${namespace}`)
    .replace('name: storage\n', `name: ${namespace}\n`);
  nodes = [];
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.silence()));
  await controller?.stop();
  controller = undefined;
});

/** EC2 with what the example names. */
function cloud(): FakeEc2 {
  const specs = parseAllDocuments(git).map((document) => document.toJS() as { kind: string; spec: never });
  const specOf = <T>(kind: string) => specs.filter((one) => one.kind === kind).map(({ spec }) => spec as T);
  const [vip] = specOf<{ vpcId: string; routeTableIds: string[] }>('VipResource');
  const place = { vpcId: vip!.vpcId, subnetId: 'subnet-1' }; // the example has one
  const ec2 = new FakeEc2();
  ec2.addVpc({ id: place.vpcId, cidrs: ['10.0.0.0/16'], dnsSupport: true, dnsHostnames: true });
  for (const id of vip!.routeTableIds) ec2.addTable(id, place.vpcId);
  specOf<{ instanceId: string }>('FailoverNode').forEach(({ instanceId: id }, i) => {
    const nic = { id: `eni-${i}`, attached: true, sourceDestCheck: false, privateIp: `10.0.0.${i + 4}`, ...place };
    ec2.addInstance({ id, state: 'running', zone: 'a', primaryInterfaceId: nic.id, interfaces: [nic], ...place });
  });
  return ec2;
}

async function live(): Promise<Live[]> {
  const args = ['get', KINDS, '-n', namespace, '-o', 'json', '--show-managed-fields'];
  return (JSON.parse(await server.kubectl(args)) as { items: Live[] }).items; // kubectl's List
}

/** What Git is about: everything but what the API server and the controller write beside it. */
const wished = (objects: readonly Live[]) =>
  objects.map(({ kind, metadata: { name, generation }, spec }) => ({ kind, name, generation, spec }));

async function judged(): Promise<string[]> {
  const objects = await live();
  const said = await judge(objects);
  return objects.map(({ kind, metadata: { name } }, i) => {
    const { argocd, kstatus } = said[i]!; // one for each object
    expect(AGREES[argocd.status ?? ''], `${kind} ${name}`).toContain(kstatus.status);
    return `${kind} ${name} ${argocd.status}`;
  });
}
const all = (health: string) =>
  ['FailoverGroup failover', 'FailoverNode server1', 'FailoverNode server2', 'VipResource awsvip', 'DiskMonitor diskw']
    .map((one) => `${one} ${health}`)
    .sort();
const eventually = async (health: string) =>
  await vi.waitFor(async () => expect((await judged()).sort()).toEqual(all(health)), SECONDS_60);

/** The controller and two agents come, and the group serves from the node that is returned. */
async function serve(): Promise<Served> {
  controller = await startController(server, namespace, { ec2: cloud() });
  const { api } = controller;
  // Long enough for a machine that is busy with other things: here no Lease is to age.
  for (const name of ['server1', 'server2']) nodes.push(await startReportingNode(api, namespace, name, 'failover', 60));
  for (const name of ['server1', 'server2']) {
    const disks = [{ name: 'diskw', state: 'Healthy', failures: 0 }];
    await api.patchStatus(failoverNodes, namespace, name, { status: { report: { disks } } });
  }
  const assigned = async () => (await api.get(failoverGroups, namespace, 'failover'))?.status?.assignment?.node;
  await vi.waitFor(async () => expect(await assigned()).toBeTypeOf('string'), SECONDS_60);
  // Mostly the first; the other where the first was too slow to be seen in time.
  const at = (await assigned()) === 'server1' ? 0 : 1;
  const node = nodes[at]!; // both were started above
  await node.report({ epoch: 1, state: 'Running', ready: true, pid: 7 });
  await eventually('Healthy');
  return { node, other: `server${2 - at}` };
}

interface Served {
  readonly node: ReportingNode;
  /** The name of the node that does not have the group. */
  readonly other: string;
}

describe.each([
  ['kubectl apply', []],
  ['kubectl apply --server-side', ['--server-side']],
])('with %s', (_, how) => {
  const apply = async (text = git) => await server.kubectl(['apply', ...how, '-f', '-'], { input: text });
  // Ends with 1 where something differs.
  const diff = async (text = git) => await server.kubectl(['diff', ...how, '-f', '-'], { input: text });

  it('nothing drifts: applied again, nothing changes, whatever controller and agents have written', async () => {
    await apply();
    await eventually('Progressing'); // nobody has looked at anything, and nobody takes it for done
    const first = wished(await live());
    await expect(diff(git.replace('size: 1', 'size: 2'))).rejects.toThrow('exit 1');
    // A wish is none of Git's business either.
    const annotate = (wish: string) => server.kubectl(['annotate', 'fog', 'failover', '-n', namespace, wish]);
    await annotate(`${MOVE_TO_ANNOTATION}=server1`);
    await apply();
    await diff();
    expect(wished(await live())).toEqual(first);
    const group = (await live()).find(({ kind }) => kind === 'FailoverGroup');
    expect(group?.metadata.annotations).toMatchObject({ [MOVE_TO_ANNOTATION]: 'server1' });
    await annotate(`${MOVE_TO_ANNOTATION}-`);

    await serve();
    expect(wished(await live())).toEqual(first);
    await diff();
    await apply();
    await diff();
    expect(wished(await live())).toEqual(first);
    await eventually('Healthy');
  }, 240_000);
});

it('neither the controller nor an agent owns any part of a spec', async () => {
  await server.kubectl(['apply', '--server-side', '-f', '-'], { input: git });
  await serve();
  const owners = (await live()).flatMap(({ kind, metadata }) =>
    metadata.managedFields.map(({ manager, subresource, fieldsV1 }) => ({
      kind,
      manager,
      subresource,
      owns: Object.keys(fieldsV1),
    })),
  );
  const ours = owners.filter(({ manager }) => manager !== 'kubectl');
  expect(new Set(ours.map(({ kind }) => kind)).size).toBe(4);
  expect(ours.filter(({ owns }) => owns.includes('f:spec'))).toEqual([]);
  expect(
    ours.filter(({ owns }) => owns.includes('f:status')).every(({ subresource }) => subresource === 'status'),
  ).toBe(true);
}, 240_000);

it('a group that Git stops is healthy when it is stopped, with all that belongs to it', async () => {
  const apply = async (text: string) => await server.kubectl(['apply', '-f', '-'], { input: text });
  await apply(git);
  const { node } = await serve();
  await apply(git.replace('spec:\n  nodes:', 'spec:\n  running: false\n  nodes:'));
  const group = async () => (await live()).find(({ kind }) => kind === 'FailoverGroup');
  const reason = async () => (await group())?.status?.conditions.find(({ type }) => type === 'Ready')?.reason;
  await vi.waitFor(async () => expect(await reason()).toBe('Stopping'), SECONDS_60);
  await node.report({ ended: 1, epoch: 0, state: 'Stopped', ready: false });
  await vi.waitFor(async () => expect(await reason()).toBe('Stopped'), SECONDS_60);
  await eventually('Healthy');
}, 240_000);

it('the action moves the group and touches no spec', async () => {
  await server.kubectl(['apply', '-f', '-'], { input: git });
  const { other } = await serve();
  const before = await live();
  const patch = await vi.waitFor(async () => {
    const object = (await live()).find(({ kind }) => kind === 'FailoverGroup');
    const [ran] = await ask([{ ask: 'act', lua: actionScripts.get('move') ?? '', object: object ?? {} }]);
    expect(ran?.error).toBeUndefined(); // the other node is out of touch for a moment
    return JSON.stringify(mergePatch(object, ran?.resources?.[0]?.resource));
  }, SECONDS_60);
  await server.kubectl(['patch', 'fog', 'failover', '-n', namespace, '--type=merge', '-p', patch]);
  const move = async () => {
    const path = '{.status.move.reason} {.status.move.to} {.metadata.annotations}';
    return await server.kubectl(['get', 'fog', 'failover', '-n', namespace, '-o', `jsonpath=${path}`]);
  };
  await vi.waitFor(
    async () => expect(await move()).toMatch(new RegExp(`^Requested ${other} (?!.*move-to)`)),
    SECONDS_60,
  );
  expect(wished(await live())).toEqual(wished(before));
}, 240_000);

it('the component adds its scripts to the argocd-cm that is there, and keeps what that says', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'pointsman-argocd-'));
  try {
    await mkdir(join(dir, 'argocd'));
    const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'argocd-cm', namespace: 'argocd' } };
    await writeFile(join(dir, 'argocd/argocd-cm.yaml'), JSON.stringify({ ...configMap, data: { url: 'https://a' } }));
    const component = relative(join(dir, 'argocd'), join(MANIFESTS, 'argocd'));
    await writeFile(
      join(dir, 'argocd/kustomization.yaml'),
      JSON.stringify({ resources: ['argocd-cm.yaml'], components: [component] }),
    );
    const built = parse(await server.kubectl(['kustomize', join(dir, 'argocd')])) as { data: Record<string, string> };
    const ours = parse(await readFile(join(MANIFESTS, 'argocd/argocd-cm.yaml'), 'utf8')) as typeof built;
    expect(built.data).toEqual({ url: 'https://a', ...ours.data });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
