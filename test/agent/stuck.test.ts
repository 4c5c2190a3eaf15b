import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { isAlive, readProcess } from '../../src/agent/scan.ts';
import { describeStuck } from '../../src/agent/stuck.ts';
import { bootClock } from '../../src/base/clock.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type Faulty, mountFaulty } from './fuse.ts';
import { startMachine } from './machine.ts';
import { type Bench, openBench, until, untilState } from './processes.ts';

/** Processes that wait in the kernel for a file system whose server does not answer. No signal ends them. */

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function faulty(): Promise<Faulty> {
  const mounted = await mountFaulty();
  closing.push(mounted.close);
  return mounted;
}

function bench(cgroups: boolean): Bench {
  const opened = openBench({ cgroups });
  // After the file system has let go of them: it is closed first.
  closing.unshift(opened.close);
  return opened;
}

describe.each([
  ['with a cgroup', true],
  ['without a cgroup', false],
])('%s, a process that waits in the kernel', (_, cgroups) => {
  async function hanging() {
    const disk = await faulty();
    const opened = bench(cgroups);
    if (cgroups) expect(opened.cgroup, 'this machine lets us write no cgroup v2').toBeDefined();
    disk.behave({ read: 'hang' });
    const agent = opened.agent();
    await agent.warm();
    const command = ['/bin/cat', join(disk.mountPoint, 'data')];
    const deadlineMs = bootClock.nowMs() + 60_000;
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs, run: opened.run(command) });
    const { pid } = await untilState(agent, 'running');
    const user = readProcess(pid!)!; // it runs
    await until('it waits', () => disk.hanging() > 0);
    return { disk, opened, agent, user, shim: readProcess(user.parent)! };
  }
  const named = (pid: number) => [{ pid, name: 'cat', state: 'D', waitsIn: 'request_wait_answer' }];

  test('is named with what it waits in, never counts as ended, and ends when it is let go', async () => {
    const { disk, opened, agent, user } = await hanging();
    agent.stop('SIGTERM', 100);
    const view = await until('it is named', () => (agent.view().stuck?.length ? agent.view() : undefined));
    expect(view.stuck).toEqual(named(user.pid));
    expect(view.state).toBe('stopping');
    expect(view.last).toBeUndefined();
    expect(isAlive(user)).toBe(true);
    await disk.end();
    const { last, stuck } = await untilState(agent, 'idle');
    expect(last).toMatchObject({ cause: 'Stopped', epoch: 1 });
    expect(stuck).toEqual([]);
    expect(isAlive(user)).toBe(false);
    expect(await opened.alive()).toHaveLength(1); // the shim
  });

  test('is named when its shim has died too, and keeps nobody from going on with what else there is to do', async () => {
    const { disk, opened, agent, user, shim } = await hanging();
    process.kill(shim.pid, 'SIGKILL');
    await until('it is named', () => agent.view().stuck?.length);
    expect(agent.view()).toMatchObject({ state: 'ending', epoch: 1, stuck: named(user.pid) });
    await agent.cutDeadline(bootClock.nowMs() + 1_000); // resolves: the Lease is renewed all the same
    const started = agent.start({ epoch: 2, incarnation: 1, deadlineMs: Infinity, run: opened.run(['/bin/true']) });
    await expect(started).rejects.toThrow('Cannot start');
    await disk.end();
    expect((await untilState(agent, 'absent')).last).toMatchObject({ cause: 'Lost', epoch: 1 });
    expect(await opened.alive()).toEqual([]);
  });
});

describe.each([
  ['with a cgroup', true],
  ['without a cgroup', false],
])('%s, a daemon whose end waits for its files to be written', (_, cgroups) => {
  /** Its memory, and so its mark, goes before its files do: what is caught between the two shows no environment. */
  async function ending(end: 'a stop' | 'the death of its shim') {
    const disk = await faulty();
    const opened = bench(cgroups);
    const agent = opened.agent();
    await agent.warm();
    const daemon = `exec 9>>${disk.mountPoint}/data; echo "pid $$"; exec sleep 1000`;
    const command = ['/bin/sh', '-c', '(setsid sh -c "$1" &); exec sleep 1000', 'sh', daemon];
    const deadlineMs = bootClock.nowMs() + 60_000;
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs, run: opened.run(command) });
    const { pid } = await untilState(agent, 'running');
    const said = await until('the daemon is on its way', () => /pid (\d+)/.exec(opened.output())?.[1]);
    const user = readProcess(Number(said))!; // it sleeps
    // As everything that has served for a while: what is in its exit just after its start is looked at all the same.
    await until('it has run for a while', () => bootClock.nowMs() > user.startTicks * 10 + 3_000);
    disk.behave({ flush: 'hang' });
    if (end === 'a stop') agent.stop('SIGTERM', 100);
    else process.kill(readProcess(pid!)!.parent, 'SIGKILL'); // the leader runs
    await until('it waits', () => disk.hanging() > 0);
    return { disk, opened, agent, user };
  }

  test.each(['a stop', 'the death of its shim'] as const)('has not ended after %s before they are', async (end) => {
    const { disk, opened, agent, user } = await ending(end);
    const view = await until('it is named', () => (agent.view().stuck?.length ? agent.view() : undefined));
    expect(view.stuck).toMatchObject([{ pid: user.pid, name: 'sleep', waitsIn: 'request_wait_answer' }]);
    expect(view.last).toBeUndefined();
    await disk.end();
    await untilState(agent, 'idle', 'absent');
    expect(isAlive(user)).toBe(false);
    expect(await opened.alive()).toHaveLength(end === 'a stop' ? 1 : 0); // the shim
  });
});

test('a node whose process waits in the kernel says so, has not ended the group, and ends it when it is let go', async () => {
  const server = await sharedApiServer();
  const namespace = await server.namespace('stuck');
  const machine = await startMachine(server, namespace);
  closing.unshift(machine.close);
  const disk = await faulty();
  disk.behave({ read: 'hang' });
  await machine.declareNode();
  const stop = { stop: { timeout: '200ms' } };
  const command = ['/bin/sh', '-c', `exec cat ${disk.mountPoint}/data`];
  const fsTypes = ['tmpfs'];
  const sharedDisk = { mountPath: machine.mountPath, fsTypes };
  await machine.declareGroup(command, { sharedDisk, process: { command, user: 'nobody', ...stop } });
  machine.startAgent();
  await machine.untilReported('the disk is known', ({ diskId }) => diskId !== undefined);
  await machine.assign(1);
  await machine.untilReported('it runs', ({ state }) => state === 'Running');
  await until('it waits', () => disk.hanging() > 0);
  await machine.assign(1, { state: 'Stopping' });
  const stuck = await machine.untilReported('it says so', ({ reason }) => reason === 'ProcessStuck');
  expect(stuck).toMatchObject({ ended: 0, epoch: 1, state: 'Stopping', fit: false });
  expect(stuck.message).toMatch(/process \d+ \(cat\) waits in the kernel in request_wait_answer.*reboot the server/);
  // The Lease goes on being renewed: a node in touch is not fenced.
  const before = (await machine.lease())?.metadata.resourceVersion;
  await until('the Lease is renewed', async () => (await machine.lease())?.metadata.resourceVersion !== before);
  await disk.end();
  const ended = await machine.untilReported('it has ended', ({ ended }) => ended === 1);
  expect(ended).toMatchObject({ settled: true, fit: true, state: 'Stopped' });
}, 60_000);

test('the message names three processes at most', () => {
  const one = { pid: 7, name: 'minio', state: 'D', waitsIn: 'rpc_wait_bit_killable' };
  expect(describeStuck([one])).toContain('process 7 (minio) waits in the kernel in rpc_wait_bit_killable');
  expect(describeStuck([one])).toContain('for an answer of the NFS server');
  expect(describeStuck([one, one, one, one])).toContain('and 1 more');
  expect(describeStuck([{ ...one, state: 'T', waitsIn: '' }])).toContain('is in state T');
});
