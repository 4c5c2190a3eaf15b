import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { openDisk } from '../../src/agent/disk.ts';
import { type DiskRecord, decodeRecord } from '../../src/agent/record.ts';
import { isAlive, readProcess } from '../../src/agent/scan.ts';
import { bootClock } from '../../src/base/clock.ts';
import type { Assignment } from '../../src/crds/failovergroup.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { type FaultProxy, startFaultProxy } from '../kube/proxy.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type Machine, startMachine } from './machine.ts';
import { until } from './processes.ts';

/** Real agents on one shared disk, with the second channel in force; the test is the controller. Needs root. */

/** Deadlines must pass, with room for a busy machine. */
vi.setConfig({ testTimeout: 150_000 });

let server: ApiServerAccess;
let namespace: string;
const machines: Machine[] = [];

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('channel');
});
afterEach(async () => {
  // The first has the mount.
  for (const machine of machines.splice(0).reverse()) await machine.close();
});

/** A busy machine must not come near its end. */
const FENCE_AFTER_MS = 8_000;
const TAKEOVER_AFTER_S = 10;
const TIMING = { renewEvery: '500ms', fenceAfter: '8s', killWithin: '500ms', takeoverAfter: `${TAKEOVER_AFTER_S}s` };

/** The first with its wire to the API server, and others that have the same disk. */
async function fitMachines(
  count: number,
  timing = TIMING,
): Promise<{ first: Machine; others: Machine[]; wire: FaultProxy }> {
  const wire = await startFaultProxy(server.url);
  onTestFinished(() => wire.stop());
  for (let at = 0; at < count; at += 1) machines.push(await startMachine(server, namespace, { beside: machines[0] }));
  const [first, ...others] = machines as [Machine, ...Machine[]]; // count is at least 1
  for (const machine of machines) await machine.declareNode({ timing });
  await first.declareGroup(['/bin/sleep', '1000'], { nodes: machines.map(({ node }) => node) });
  first.startAgent(wire.url);
  for (const machine of others) machine.startAgent();
  for (const machine of machines) await machine.untilReported('the node is fit', ({ fit }) => fit, 30_000);
  return { first, others, wire };
}

async function assign(to: Machine, epoch: number, earlier: Assignment['basis']['earlier'] = []): Promise<Assignment> {
  const nodes = [...machines.map(({ node, instanceId }) => ({ name: node, instanceId })), ABSENT].map((node) => ({
    ...node,
    takeoverAfterSeconds: TAKEOVER_AFTER_S,
  }));
  const { diskId } = (await to.report())!.groups[0]!; // it is fit
  const basis = { mountPath: to.mountPath, ...(diskId ? { diskId } : {}), heartbeat: true, nodes, earlier };
  return await to.assign(epoch, { basis });
}

/** A node of the group that has never been there. */
const ABSENT = { name: 'absent', instanceId: 'i-0123456789abcdef0' };

async function untilRuns(machine: Machine, epoch: number) {
  const { pid } = await machine.untilReported(
    `epoch ${epoch} runs`,
    (group) => group.state === 'Running' && group.epoch === epoch,
    30_000,
  );
  return { pid: pid!, user: readProcess(pid!)! }; // it runs
}

function fileOf({ mountPath, groupName }: Machine, node: string): string {
  return join(mountPath, '.pointsman', namespace, groupName, node);
}

function recordOf(machine: Machine, node = machine.node): DiskRecord | undefined {
  return decodeRecord(readFileSync(fileOf(machine, node)));
}

const earlierOf = ({ node, epoch, basis: { earlier, ...basis } }: Assignment) => [
  ...earlier,
  { node, epoch, ...basis },
];

test('while the API server is away the process goes on, and is restarted in place', async () => {
  const { first, wire } = await fitMachines(1);
  await assign(first, 1);
  const { user, pid } = await untilRuns(first, 1);
  await until('it ticks', () => recordOf(first)?.state === 'running');
  expect(statSync(fileOf(first, ABSENT.name)).size).toBe(0);
  wire.set('silent');
  const from = bootClock.nowMs();
  await until('every deadline by the Lease is over', () => bootClock.nowMs() > from + FENCE_AFTER_MS + 1_000, 20_000);
  expect(isAlive(user)).toBe(true);
  process.kill(pid, 'SIGKILL');
  const again = await until('it was started again', async () =>
    (await first.marked()).find((one) => one.startTicks > user.startTicks && one.pid !== pid),
  );
  wire.set('open');
  const group = await first.untilReported('it is in touch again', ({ pid: now }) => now === again.pid, 30_000);
  expect(group).toMatchObject({ epoch: 1, ended: 0, state: 'Running', highestRead: 0 });
  expect((await first.lease())?.transitions).toBe(1);
});

test('an agent that comes back while the API server is away ticks for the process that it finds', async () => {
  const patient = { ...TIMING, fenceAfter: '60s', takeoverAfter: '70s' };
  const { first, wire } = await fitMachines(1, patient);
  await assign(first, 1);
  const { user } = await untilRuns(first, 1);
  await until('it ticks', () => recordOf(first)?.state === 'running');
  wire.set('silent');
  await first.endAgent();
  const [mark] = recordOf(first)!.beat.split(/-\d+$/); // it is there
  first.startAgent(wire.url);
  await until('the new agent ticks', () => !recordOf(first)?.beat.startsWith(`${mark}-`), 40_000);
  expect(recordOf(first)).toMatchObject({ state: 'running', claim: 1, epoch: 1 });
  expect(isAlive(user)).toBe(true);
});

test('while the disk hangs the process goes on by its Lease', async () => {
  const { first } = await fitMachines(1);
  await assign(first, 1);
  const { user } = await untilRuns(first, 1);
  // Its open never ends, as that of a file whose server is away.
  rmSync(fileOf(first, ABSENT.name));
  execFileSync('mkfifo', [fileOf(first, ABSENT.name)]);
  await first.untilReported(
    'it cannot read its neighbour',
    ({ neighbours }) => neighbours.some(({ state }) => state === 'unknown'),
    30_000,
  );
  // Nothing was read for `fenceAfter`, so no tick extends anything any more.
  const beat = recordOf(first)?.beat;
  const from = bootClock.nowMs();
  await until('the agent has looked', () => bootClock.nowMs() > from + 1_000);
  expect(isAlive(user)).toBe(true);
  expect(recordOf(first)?.beat, 'no beat follows a tick whose read hangs').toBe(beat);
  rmSync(fileOf(first, ABSENT.name));
  await until('it ticks again', () => recordOf(first)?.beat !== beat, 30_000);
});

test('a node that is cut from the API server is seen on the disk, and lets another in as soon as that claims', async () => {
  const { first, others, wire } = await fitMachines(2);
  const second = others[0]!; // there are two
  const assigned = await assign(first, 1);
  const { user } = await untilRuns(first, 1);
  const saw = (state: string) =>
    second.untilReported(
      `its neighbour is ${state}`,
      ({ neighbours }) => neighbours.find(({ name }) => name === first.node)?.state === state,
      30_000,
    );
  wire.set('silent');
  const from = bootClock.nowMs();
  await until('its Lease has aged', () => bootClock.nowMs() > from + TAKEOVER_AFTER_S * 1000 + 1_000, 20_000);
  await saw('seen');
  expect(isAlive(user)).toBe(true);
  await assign(second, 2, earlierOf(assigned));
  await untilRuns(second, 2);
  expect(isAlive(user)).toBe(false);
  expect(recordOf(first)).toMatchObject({ state: 'ended', ended: 1, claim: 1 });
  await until('the new one ticks', () => recordOf(second)?.state === 'running');
  expect(recordOf(second)).toMatchObject({ claim: 2, epoch: 2, ended: 0 });
  await saw('notSeen');
});

test('a node that is gone without a word is given the time that its own file asks for', async () => {
  const { first, others } = await fitMachines(2);
  const second = others[0]!; // there are two
  const assigned = await assign(first, 1);
  await untilRuns(first, 1);
  await until('it ticks', () => recordOf(first)?.state === 'running');
  await first.endAgent();
  for (const { pid } of await first.marked()) process.kill(pid, 'SIGKILL');
  const lastBeatMs = statSync(fileOf(first, first.node)).mtimeMs;
  await assign(second, 2, earlierOf(assigned));
  await until('it has claimed', () => recordOf(second)?.claim === 2, 20_000);
  const sleeps = () => second.untilReported('it runs', ({ state }) => state === 'Running', 40_000);
  await sleeps();
  expect(Date.now() - lastBeatMs).toBeGreaterThanOrEqual(TAKEOVER_AFTER_S * 1000);
  expect(recordOf(first)?.state).toBe('running');
});

test('a number that is not below its own ends the epoch of a node that ticks, and is reported', async () => {
  const { first } = await fitMachines(1);
  await assign(first, 1);
  const { user } = await untilRuns(first, 1);
  const files = mkdtempSync(join(tmpdir(), 'pointsman-channel-'));
  onTestFinished(() => rmSync(files, { recursive: true }));
  const other = openDisk({
    ...{ mountPath: first.mountPath, namespace, node: ABSENT.name, clock: bootClock },
    recordFiles: { disk: join(files, 'disk'), channel: join(files, 'channel') },
  });
  onTestFinished(() => other.close());
  const claim = { state: 'claiming', ended: 0, claim: 9, epoch: 0, takeoverAfterSeconds: 1 } as const;
  await other.writeOwn(first.groupName, claim, 5_000);
  const ended = await first.untilReported('its epoch has ended', (group) => group.ended === 1, 30_000);
  expect(ended).toMatchObject({ settled: true, highestRead: 9, state: 'Stopped' });
  expect(isAlive(user)).toBe(false);
  await assign(first, 2);
  await first.untilReported('it does not start', ({ epoch, highestRead }) => epoch === 2 && highestRead === 9, 30_000);
  expect(recordOf(first)).toMatchObject({ state: 'ended', ended: 1, claim: 1 });
  await assign(first, 10, earlierOf(await assign(first, 3)));
  await untilRuns(first, 10);
});
