import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { isAlive, readProcess } from '../../src/agent/scan.ts';
import { bootClock } from '../../src/base/clock.ts';
import { fenceLease } from '../../src/kube/lease.ts';
import { failoverGroups, failoverNodes } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { groupName, type Machine, startMachine } from './machine.ts';
import { until } from './processes.ts';

/** A real agent with real processes on a real API server; the test is the controller. Needs root. */

let server: ApiServerAccess;
let namespace: string;
const machines: Machine[] = [];

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('agent');
});
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.close();
});

async function newMachine(): Promise<Machine> {
  const machine = await startMachine(server, namespace);
  machines.push(machine);
  return machine;
}

const SLEEP = ['/bin/sleep', '1000'];

/** With an agent that holds its Lease and says that it could run the group. */
async function fitMachine(command: readonly string[] = SLEEP, spec: object = {}, node: object = {}): Promise<Machine> {
  const machine = await newMachine();
  await machine.declareNode(node);
  await machine.declareGroup(command, spec);
  machine.startAgent();
  await machine.untilReported('the node is fit', (group) => group.fit);
  return machine;
}

async function runningMachine(node: object = {}) {
  const machine = await fitMachine(SLEEP, {}, node);
  await machine.assign(1);
  const group = await machine.untilReported('the process runs', ({ state, ready }) => state === 'Running' && ready);
  const user = readProcess(group.pid!)!; // it runs
  return { machine, user, pid: group.pid! };
}

test('a node takes a Lease, says that it is fit, runs what it is assigned, and ends it when told to', async () => {
  const { machine, user } = await runningMachine();
  expect(await machine.lease()).toMatchObject({ holder: machine.node, transitions: 1, durationSeconds: 3 });
  expect(await machine.report()).toMatchObject({ incarnation: 1, instanceId: machine.instanceId });
  const lock = join(machine.mountPath, '.pointsman', '.locks', namespace, groupName(machine.node));
  await until('the lock says who holds it', () => readFileSync(lock, 'utf8') === `${machine.node}, epoch 1\n`);
  await machine.assign(1, { state: 'Stopping' });
  const ended = await machine.untilReported('epoch 1 has ended', (group) => group.ended === 1);
  expect(ended).toMatchObject({ state: 'Stopped', settled: true, ready: false, epoch: 0 });
  expect(isAlive(user)).toBe(false);
  const own = join(machine.mountPath, '.pointsman', namespace, groupName(machine.node), machine.node);
  expect(JSON.parse(readFileSync(own, 'utf8').slice(0, 500))).toMatchObject({ state: 'ended', ended: 1 });
  await machine.assign(2);
  await machine.untilReported('it runs again', (group) => group.state === 'Running' && group.epoch === 2);
});

test('an epoch that has ended does not start again', async () => {
  const { machine } = await runningMachine();
  await machine.assign(1, { state: 'Stopping' });
  await machine.untilReported('epoch 1 has ended', (group) => group.ended === 1);
  const status = { status: { assignment: null } } as never; // by hand: nobody else may take an epoch back
  await machine.client.patchStatus(failoverGroups, namespace, groupName(machine.node), status);
  await machine.assign(1);
  await machine.assign(2, { incarnation: 99 });
  await bootClock.sleep(300); // nothing to wait for: nothing may happen
  expect((await machine.report())?.groups[0]).toMatchObject({ state: 'Stopped', ended: 1 });
});

test('an agent that comes back within the deadline finds the same process', async () => {
  const patient = { renewEvery: '300ms', fenceAfter: '8s', killWithin: '500ms', takeoverAfter: '10s' };
  const { machine, user, pid } = await runningMachine({ timing: patient });
  const renewed = (await machine.lease())?.renewTime;
  await machine.endAgent();
  machine.startAgent();
  const from = bootClock.nowMs();
  await until('the new agent has renewed', async () => (await machine.lease())?.renewTime !== renewed);
  await until('every deadline of the first agent is over', () => bootClock.nowMs() > from + 8_100, 9_000);
  expect(isAlive(user)).toBe(true);
  expect((await machine.report())?.groups[0]?.pid).toBe(pid);
  expect((await machine.lease())?.transitions).toBe(1);
});

test('without its agent the process is gone by the deadline, and the next agent starts it again', async () => {
  const { machine, user, pid } = await runningMachine();
  await machine.endAgent();
  // fenceAfter and killWithin of the machine, and as much again for a busy one.
  await until('the process is gone', () => !isAlive(user), 4_000);
  machine.startAgent();
  const again = await machine.untilReported('it runs again', (group) => group.state === 'Running' && group.pid !== pid);
  expect(again.epoch).toBe(1);
});

test('an agent that is asked to end leaves the process to the next one', async () => {
  // Long enough that no busy machine comes between the end of the agent and the look at the process.
  const timing = { renewEvery: '500ms', fenceAfter: '10s', killWithin: '1s', takeoverAfter: '12s' };
  const { machine, user } = await runningMachine({ timing });
  await machine.endAgent('SIGTERM');
  expect(isAlive(user)).toBe(true);
});

test('a fenced node ends everything and comes back as a new incarnation that has settled', async () => {
  const { machine, user } = await runningMachine();
  for (;;) {
    const lease = (await machine.lease())!; // the agent made it
    const site = { api: machine.client, clock: bootClock, namespace };
    const fenced = await fenceLease(site, lease).catch(() => undefined);
    if (fenced !== undefined) break; // it had not renewed in between
  }
  await until('the process is gone', () => !isAlive(user), 5_000);
  const lease = await until('the Lease is taken anew', async () => {
    const found = await machine.lease();
    return found?.holder === machine.node ? found : undefined;
  });
  expect(lease).toMatchObject({ transitions: 3, settled: true });
  const group = await machine.untilReported('the old epoch has ended', ({ ended }) => ended === 1);
  expect(group).toMatchObject({ settled: true, state: 'Stopped' });
});

test('a group that cannot be ended by itself is ended with everything else, and keeps no other from ending', async () => {
  const { machine, user } = await runningMachine();
  await machine.endAgent('SIGTERM');
  // Its memory cannot be read, so nothing can be done about this group in particular.
  writeFileSync(join(machine.runDirectory, 'groups', `${groupName(machine.node)}.json`), 'torn');
  rmSync(join(machine.runDirectory, 'incarnation'));
  machine.startAgent();
  const lease = await until('a new incarnation', async () => {
    const found = await machine.lease();
    return found?.transitions === 2 ? found : undefined;
  });
  expect(isAlive(user)).toBe(false);
  expect(lease.settled).toBe(false);
  expect(readFileSync(machine.logFile, 'utf8')).toContain('cannot settle the group');
});

test('a process that exits is restarted in place, then the node gives up', async () => {
  const restart = { limit: 2, window: '10m' };
  const process = { command: ['/bin/sh', '-c', 'exit 3'], user: 'nobody', restart };
  const machine = await fitMachine(SLEEP, { process });
  await machine.assign(1);
  const group = await machine.untilReported('it has given up', ({ state }) => state === 'Failed');
  expect(group).toMatchObject({ epoch: 1, restarts: 3, lastExit: 'exit status 3', ended: 0 });
});

test('a killed process is back at once, under the same epoch', async () => {
  const { machine, pid } = await runningMachine();
  process.kill(pid, 'SIGKILL');
  const group = await machine.untilReported('it runs again', ({ state, ...g }) => state === 'Running' && g.pid !== pid);
  expect(group).toMatchObject({ restarts: 1, epoch: 1, lastExit: 'signal SIGKILL' });
});

test('nothing starts where the disk is not mounted, and the report says so', async () => {
  const machine = await fitMachine();
  machine.unmount();
  await machine.untilReported('the node is not fit', (group) => group.reason === 'DiskNotMounted');
  await machine.assign(1);
  await bootClock.sleep(300); // nothing to wait for: nothing may happen
  expect((await machine.report())?.groups[0]).toMatchObject({ state: 'Stopped', epoch: 1, fit: false });
  machine.mount();
  const other = await machine.untilReported('the disk is another', (group) => group.reason === 'OtherDisk');
  expect(other.message).toContain('another disk is mounted');
});

test('what the host does not allow is refused, with the line that is missing', async () => {
  const machine = await fitMachine();
  machine.allow({ commands: ['/bin/true'], users: ['nobody'] });
  const group = await machine.untilReported('it is refused', ({ fit }) => !fit);
  expect(group.reason).toBe('CommandNotAllowed');
  expect(group.message).toContain('add the line "- /bin/sleep" under commands');
  await machine.assign(1);
  machine.allow({ commands: ['/bin/sleep'], users: ['nobody'] });
  await machine.untilReported('it runs', ({ state }) => state === 'Running');
});

test('an agent on another instance than its node runs nothing and says why', async () => {
  const machine = await newMachine();
  await machine.declareNode({ instanceId: 'i-0123456789abcdef0' });
  await machine.declareGroup(SLEEP);
  machine.startAgent();
  const report = await until('it has reported', () => machine.report());
  expect(report).toMatchObject({ reason: 'InstanceMismatch', incarnation: 0 });
  expect(await machine.lease()).toBeUndefined();
});

test('an agent whose node is given to another instance ends what it runs and leaves the Lease to that', async () => {
  const { machine, user } = await runningMachine();
  await machine.client.remove(failoverNodes, namespace, machine.node);
  await machine.declareNode({ instanceId: 'i-0123456789abcdef0' });
  await until('the process is gone', () => !isAlive(user));
  const before = await machine.lease();
  const fromMs = bootClock.nowMs();
  await until('several renewals would be due', () => bootClock.nowMs() > fromMs + 2_000);
  expect((await machine.lease())?.renewTime).toBe(before?.renewTime);
});

test('a group that is removed by force takes its process with it', async () => {
  const { machine, user } = await runningMachine();
  await server.kubectl(['delete', 'failovergroup', groupName(machine.node), '-n', namespace]);
  await until('the process is gone', () => !isAlive(user), 5_000);
});

test('a lost /run is a new incarnation, and what ran before is ended first', async () => {
  const { machine, user } = await runningMachine();
  await machine.endAgent();
  machine.loseRun();
  machine.startAgent();
  await until('a new incarnation', async () => (await machine.lease())?.transitions === 2);
  expect(isAlive(user)).toBe(false);
  expect(await machine.lease()).toMatchObject({ settled: true });
});

test('with /run lost and the disk away, the end of what ran before is not said to be settled', async () => {
  const { machine, user } = await runningMachine();
  await machine.endAgent();
  machine.loseRun();
  machine.unmount();
  machine.startAgent();
  const lease = await until('a new incarnation', async () => {
    const found = await machine.lease();
    return found?.transitions === 2 ? found : undefined;
  });
  expect(lease.settled).toBe(false);
  const ended = await machine.untilReported('the old epoch has ended', (group) => group.ended === 1);
  expect(ended.settled).toBe(false);
  expect(isAlive(user)).toBe(false);
  machine.mount();
});

describe('the end of an epoch is settled only on the disk that the process wrote', () => {
  const endedOf = async (machine: Machine) => {
    const stopping = { ...(await machine.group()).status!.assignment!, state: 'Stopping' }; // it was assigned
    const change = { status: { assignment: stopping } };
    await machine.client.patchStatus(failoverGroups, namespace, groupName(machine.node), change);
    return machine.untilReported('epoch 1 has ended', (group) => group.ended === 1);
  };
  const recordOn = (path: string, { node }: Machine) => join(path, '.pointsman', namespace, groupName(node), node);

  test('not on another one that is mounted at its place by now, also later', async () => {
    const { machine } = await runningMachine();
    machine.unmount();
    machine.mount();
    expect((await endedOf(machine)).settled).toBe(false);
    await bootClock.sleep(1_500); // it is tried again every second
    expect((await machine.report())?.groups[0]?.settled).toBe(false);
    expect(existsSync(recordOn(machine.mountPath, machine))).toBe(false);
    await machine.endAgent('SIGTERM');
    machine.startAgent();
    await bootClock.sleep(2_000);
    expect((await machine.report())?.groups[0]?.settled).toBe(false);
  });

  test('not by a new incarnation either', async () => {
    const { machine } = await runningMachine();
    machine.unmount();
    machine.mount();
    await machine.endAgent();
    rmSync(join(machine.runDirectory, 'incarnation'));
    machine.startAgent();
    const lease = await until('a new incarnation', async () => {
      const found = await machine.lease();
      return found?.transitions === 2 ? found : undefined;
    });
    expect(lease.settled).toBe(false);
  });

  test('and there, also when the group is to use another one from now on', async () => {
    const { machine } = await runningMachine();
    const other = mkdtempSync(join(tmpdir(), 'pointsman-other-'));
    execFileSync('mount', ['-t', 'tmpfs', 'other', other]);
    onTestFinished(() => {
      execFileSync('umount', ['--lazy', other]);
      rmSync(other, { recursive: true });
    });
    const change = { spec: { sharedDisk: { mountPath: other } } };
    await server.kubectl([
      ...['patch', 'failovergroup', groupName(machine.node), '-n', namespace],
      ...['--type', 'merge', '-p', JSON.stringify(change)],
    ]);
    await machine.untilReported(
      'it has heard of it',
      ({ reason }) => reason === 'DiskUnknown' || reason === 'OtherDisk',
    );
    expect((await endedOf(machine)).settled).toBe(true);
    expect(existsSync(recordOn(machine.mountPath, machine))).toBe(true);
    expect(existsSync(recordOn(other, machine))).toBe(false);
  });
});

test('/run lost under a running agent is a new incarnation too', async () => {
  const { machine, user } = await runningMachine();
  machine.loseRun();
  await until('a new incarnation', async () => (await machine.lease())?.transitions === 2);
  expect(isAlive(user)).toBe(false);
  await machine.untilReported('the old epoch has ended', ({ ended }) => ended === 1);
  await machine.assign(2);
  await machine.untilReported('the next one runs', ({ state, epoch }) => state === 'Running' && epoch === 2);
});

test('/run lost while an agent starts keeps it from nothing', async () => {
  const machine = await newMachine();
  await machine.declareNode();
  await machine.declareGroup(SLEEP);
  const asked = machine.holdMetadata();
  machine.startAgent();
  const answer = await asked;
  machine.loseRun();
  answer();
  await machine.untilReported('the node is fit', ({ fit }) => fit);
  await machine.assign(1);
  await machine.untilReported('the process runs', ({ state }) => state === 'Running');
});

describe('while somebody holds the lock on the disk', () => {
  async function lockedMachine(): Promise<Machine> {
    const machine = await fitMachine();
    const lock = join(machine.mountPath, '.pointsman', '.locks', namespace, groupName(machine.node));
    writeFileSync(lock, 'somebody, by hand\n');
    const holder = spawn('flock', ['--no-fork', lock, 'sleep', '1000'], { stdio: 'ignore' });
    onTestFinished(() => void holder.kill('SIGKILL'));
    await until('the lock is held', () => spawnSync('flock', ['--nonblock', lock, 'true']).status === 1);
    return machine;
  }

  test('a node that was released to does not start, and says who holds it', async () => {
    const machine = await lockedMachine();
    await machine.assign(1);
    const group = await machine.untilReported('it says so', ({ reason, message }) => {
      return reason === 'LockHeld' && message?.includes('somebody, by hand') === true;
    });
    expect(group).toMatchObject({ fit: false, state: 'Stopped', restarts: 0 });
  });

  test('a node that took over from an expired Lease starts all the same', async () => {
    const machine = await lockedMachine();
    const move = {
      reason: 'NodeLost',
      message: '',
      proof: 'LeaseExpired',
      epoch: 1,
      startedAt: '2026-01-01T00:00:00Z',
    };
    await machine.assign(1, {}, { move });
    await machine.untilReported('it runs', ({ state }) => state === 'Running');
  });
});
