import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { timingProblem } from '../../src/decide/timing.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';

/** What a real API server says to what people write. */
let server: ApiServerAccess;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('admission');
});

const node = (spec: object) => ({ kind: 'FailoverNode', spec: { instanceId: 'i-0a1b2c3d4e5f60718', ...spec } });
const timing = (change: object) => node({ timing: change });
const process = { command: ['/work/minio', 'server'], user: 'minio' };
const sharedDisk = { mountPath: '/mnt/efs' };
const group = (spec: object) => ({
  kind: 'FailoverGroup',
  spec: { nodes: ['server1', 'server2'], sharedDisk, process, ...spec },
});
const vip = (spec: object) => ({
  kind: 'VipResource',
  spec: {
    groupRef: { name: 'failover' },
    address: '10.1.0.20',
    vpcId: 'vpc-12345678',
    routeTableIds: ['rtb-12345678'],
    ...spec,
  },
});
const monitor = (spec: object) => ({
  kind: 'DiskMonitor',
  spec: { groupRef: { name: 'failover' }, path: '/mnt/efs/monitor.txt', ...spec },
});

/** On both sides of the sum, and at its edge. */
const SUMS = [
  { renewEveryMs: 100, fenceAfterMs: 5_000, killWithinMs: 1_000, takeoverAfterMs: 6_000 },
  { renewEveryMs: 100, fenceAfterMs: 5_000, killWithinMs: 1_000, takeoverAfterMs: 7_000 },
  { renewEveryMs: 100, fenceAfterMs: 498, killWithinMs: 1, takeoverAfterMs: 1_000 },
  { renewEveryMs: 100, fenceAfterMs: 398, killWithinMs: 100, takeoverAfterMs: 1_000 },
  { renewEveryMs: 100, fenceAfterMs: 399, killWithinMs: 101, takeoverAfterMs: 1_000 },
  { renewEveryMs: 100, fenceAfterMs: 100_000, killWithinMs: 10_000, takeoverAfterMs: 110_000 },
  { renewEveryMs: 100, fenceAfterMs: 100_000, killWithinMs: 10_000, takeoverAfterMs: 111_000 },
].filter(({ killWithinMs }) => killWithinMs >= 100);

interface Row {
  readonly when: string;
  readonly object: { kind: string; spec: object };
  /** What the answer must say: what to write instead. */
  readonly says: RegExp;
}

const REFUSED: readonly Row[] = [
  {
    when: 'an address is not an IP',
    object: vip({ address: '10.1.0.300' }),
    says: /address must be an IPv4 or IPv6 address without a prefix length, such as 10\.1\.0\.20/,
  },
  { when: 'an address has a prefix length', object: vip({ address: '10.1.0.20/32' }), says: /without a prefix length/ },
  { when: 'an IPv6 address is not canonical', object: vip({ address: 'FD00::0020' }), says: /written canonically/ },
  { when: 'an address is loopback', object: vip({ address: '127.0.0.1' }), says: /unicast address that can be routed/ },
  {
    when: 'a route table is named twice',
    object: vip({ routeTableIds: ['rtb-12345678', 'rtb-12345678'] }),
    says: /names a table twice/,
  },
  { when: 'no route table is named', object: vip({ routeTableIds: [] }), says: /at least 1 item/ },
  {
    when: 'a node is named twice',
    object: group({ nodes: ['server1', 'server1'] }),
    says: /names a node twice; name each once/,
  },
  {
    when: 'takeoverAfter breaks the sum',
    object: timing({ takeoverAfter: '6s' }),
    says: /takeoverAfter 6s is too short: it must be at least \(fenceAfter 5s \+ killWithin 1s\) x 1\.002 \+ 500ms/,
  },
  {
    when: 'fenceAfter breaks the sum',
    object: timing({ fenceAfter: '30s' }),
    says: /takeoverAfter 8s is too short.*fenceAfter 30s/,
  },
  {
    when: 'takeoverAfter is not in whole seconds',
    object: timing({ takeoverAfter: '8500ms' }),
    says: /in whole seconds/,
  },
  {
    when: 'renewals are too rare',
    object: timing({ renewEvery: '3s' }),
    says: /renewEvery must be at most a third of fenceAfter/,
  },
  { when: 'a duration has no unit', object: timing({ fenceAfter: '5' }), says: /should match/ },
  { when: 'a field is unknown', object: group({ failoverPolicy: 'x' }), says: /unknown field "spec\.failoverPolicy"/ },
  {
    when: 'a field of a list is unknown',
    object: group({ process: { ...process, env: [{ nam: 'X' }] } }),
    says: /unknown field "spec\.process\.env\[0\]\.nam"|name: Required/,
  },
  {
    when: 'a command is not an absolute path',
    object: group({ process: { ...process, command: ['minio'] } }),
    says: /must be an absolute path, such as \/work\/minio/,
  },
  {
    when: 'a variable of ours is set',
    object: group({ process: { ...process, env: [{ name: 'POINTSMAN_X', value: '1' }] } }),
    says: /names that begin with POINTSMAN_ are set by the agent/,
  },
  {
    when: 'the mount path is the root',
    object: group({ sharedDisk: { mountPath: '/' } }),
    says: /plain absolute path without a slash at its end, such as \/mnt\/efs/,
  },
  {
    when: 'a probe asks in two ways',
    object: group({ process: { ...process, startupProbe: { httpGet: { port: 1 }, tcpSocket: { port: 1 } } } }),
    says: /exactly one of httpGet and tcpSocket/,
  },
  { when: 'an instance id is not one', object: node({ instanceId: 'server1' }), says: /should match '\^i-/ },
  {
    when: 'a monitor asks for a method that does not exist',
    object: monitor({ method: 'Scribble' }),
    says: /supported values: "WriteFile", "ReadFile"/,
  },
  { when: 'a monitor fails never', object: monitor({ failureThreshold: 0 }), says: /greater than or equal to 1/ },
];

const ACCEPTED: readonly { when: string; object: { kind: string; spec: object } }[] = [
  { when: 'only what is required is given', object: group({}) },
  { when: 'a node gives nothing but its instance', object: node({}) },
  { when: 'an address is IPv6', object: vip({ address: 'fd00::20' }) },
  {
    when: 'timing is changed so that the sum holds',
    object: timing({ renewEvery: '500ms', fenceAfter: '2s', killWithin: '500ms', takeoverAfter: '4s' }),
  },
];

describe('the API server', () => {
  for (const [i, { when, object, says }] of REFUSED.entries()) {
    it(`refuses with what to write instead when ${when}`, async () => {
      await expect(apply(`refused-${i}`, object)).rejects.toThrow(says);
    });
  }

  for (const [i, { when, object }] of ACCEPTED.entries()) {
    it(`accepts when ${when}`, async () => {
      await apply(`accepted-${i}`, object);
    });
  }

  it('refuses an assignment that would give one epoch to two nodes, or take one back, whoever writes it', async () => {
    await apply('epochs', group({}));
    const set = (assignment: object) =>
      server.kubectl([
        'patch',
        'fog',
        'epochs',
        '-n',
        namespace,
        '--subresource=status',
        '--type=merge',
        '-p',
        JSON.stringify({ status: { assignment } }),
      ]);
    const never = /an epoch never falls, belongs to one node, and does not go back from Stopping/;
    await set({
      node: 'server1',
      incarnation: 1,
      epoch: 5,
      state: 'Active',
      basis: { mountPath: '/mnt/efs', nodes: [] },
    });
    await expect(set({ node: 'server2' })).rejects.toThrow(never);
    await expect(set({ incarnation: 2 })).rejects.toThrow(never);
    await expect(set({ epoch: 4 })).rejects.toThrow(never);
    await set({ state: 'Stopping' });
    await expect(set({ state: 'Active' })).rejects.toThrow(never);
    await set({ node: 'server2', epoch: 6, state: 'Active' });
  });

  it('refuses a name that no file on a server could bear', async () => {
    await expect(apply('x'.repeat(64), group({}))).rejects.toThrow(/metadata.name must be at most 63 characters/);
  });

  it('refuses to change an instance id or an address, and says to make another object', async () => {
    await apply('immutable', node({}));
    await expect(apply('immutable', node({ instanceId: 'i-00000000000000009' }))).rejects.toThrow(
      /instanceId cannot be changed: delete this FailoverNode and create another/,
    );
    await apply('immutable', vip({}));
    await expect(apply('immutable', vip({ address: '10.1.0.21' }))).rejects.toThrow(/address cannot be changed/);
  });

  it('computes the same timing sum as decide/timing', async () => {
    for (const [i, wanted] of SUMS.entries()) {
      const words = (ms: number) => `${ms}ms`;
      const object = timing({
        renewEvery: '100ms',
        fenceAfter: words(wanted.fenceAfterMs),
        killWithin: words(wanted.killWithinMs),
        takeoverAfter: words(wanted.takeoverAfterMs),
      });
      const refused = await apply(`sum-${i}`, object).then(
        () => false,
        (error: Error) => error.message.includes('too short'),
      );
      expect(refused, JSON.stringify(wanted)).toBe(timingProblem(wanted) !== undefined);
    }
  });

  it('explains every field', async () => {
    for (const kind of ['failovergroup', 'failovernode', 'vipresource', 'diskmonitor']) {
      const text = await server.kubectl(['explain', kind, '--recursive=false']);
      expect(text).not.toContain('<no description>');
      const spec = await server.kubectl(['explain', `${kind}.spec`]);
      expect(spec).not.toContain('<no description>');
    }
    expect(await server.kubectl(['explain', 'failovernode.spec.timing.fenceAfter'])).toMatch(
      /after its last successful renewal a node ends what it runs/,
    );
  });

  it('fills in the defaults, and knows the short names', async () => {
    await apply('defaults', node({}));
    const timingNow = await server.kubectl(['get', 'fn', 'defaults', '-n', namespace, '-o', 'jsonpath={.spec.timing}']);
    expect(JSON.parse(timingNow)).toEqual({
      renewEvery: '1s',
      fenceAfter: '5s',
      killWithin: '1s',
      takeoverAfter: '8s',
    });
    for (const short of ['fog', 'vip', 'dm', 'fn', 'pointsman']) await server.kubectl(['get', short, '-n', namespace]);
  });
});

describe('the policies beside the roles', () => {
  /** With every right, so that nothing but the policy can refuse it. */
  const patchStatus = (account: string, status: object) =>
    server.kubectl([
      ...['patch', 'fn', 'server1', '-n', namespace, '--subresource=status', '--type=merge'],
      ...['-p', JSON.stringify({ status }), '--as', account, '--as-group=system:masters'],
    ]);
  // Other words each time: what changes nothing is never refused.
  let tries = 0;
  const another = () => {
    tries += 1;
    return String(tries);
  };
  const stop = { instanceId: 'i-0a1b2c3d4e5f60718', group: 'failover', epoch: 1, since: '2026-11-28T10:00:00Z' };
  const report = { incarnation: 1, bootId: 'b', instanceId: stop.instanceId, agentVersion: '1' };

  it('leave the promise about an instance to the controller, and the report to the agent', async () => {
    await apply('server1', node({}));
    await server.kubectl(['apply', '-f', '-'], { input: policiesOf(namespace) });
    const [agent, controller] = [
      `system:serviceaccount:${namespace}:pointsman-agent-server1`,
      'system:serviceaccount:pointsman-system:pointsman-controller',
    ];
    // The API server takes a moment to read a policy.
    await vi.waitFor(
      () =>
        expect(patchStatus(controller, { report: { ...report, bootId: another() } })).rejects.toThrow(
          /status\.report is the agent's/,
        ),
      { timeout: 20_000, interval: 100 },
    );
    await vi.waitFor(
      () =>
        expect(patchStatus(agent, { stop: { ...stop, group: another() } })).rejects.toThrow(
          /the agent writes status\.report alone/,
        ),
      {
        timeout: 20_000,
        interval: 100,
      },
    );
    await patchStatus(agent, { report });
    await patchStatus(controller, { stop });
    await expect(patchStatus(agent, { stop: null })).rejects.toThrow(/the agent writes status\.report alone/);
  });
});

/** In force in this namespace alone: other tests run on the same API server. */
function policiesOf(only: string): string {
  const file = fileURLToPath(new URL('../../manifests/controller/admission.yaml', import.meta.url));
  const here = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': only } } };
  const documents = parseAllDocuments(readFileSync(file, 'utf8'));
  for (const one of documents)
    if (one.get('kind') === 'ValidatingAdmissionPolicyBinding') one.setIn(['spec', 'matchResources'], here);
  return documents.join('');
}

async function apply(name: string, { kind, spec }: { kind: string; spec: object }): Promise<void> {
  const object = { apiVersion: 'pointsman.dev/v1alpha1', kind, metadata: { name, namespace }, spec };
  await server.kubectl(['apply', '-f', '-'], { input: stringify(object, { version: '1.1' }) });
}
