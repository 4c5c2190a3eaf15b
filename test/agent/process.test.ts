import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import type { GroupProcess } from '../../src/agent/process.ts';
import { isAlive, listProcesses, type Process, readProcess } from '../../src/agent/scan.ts';
import type { Accepted } from '../../src/agent/shim-protocol.ts';
import { bootClock } from '../../src/base/clock.ts';
import { type Bench, openBench, until, untilState } from './processes.ts';

/** Real shims and real processes, with and without a cgroup. Needs root. */

const benches: Bench[] = [];
afterEach(async () => {
  for (const bench of benches.splice(0)) await bench.close();
});

function bench(cgroups: boolean): Bench {
  const opened = openBench({ cgroups });
  benches.push(opened);
  return opened;
}

const inMs = (ms: number) => bootClock.nowMs() + ms;
/** The default of a FailoverNode. */
const KILL_WITHIN_MS = 1_000;
const SLEEP = ['/bin/sleep', '1000'];
/** Forks a daemon in a session of its own and says its pid. */
const DAEMON = ['/bin/sh', '-c', 'setsid sleep 1000 & echo "daemon $!"; exec sleep 1000'];
const DEAF = ['/bin/sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.05; done'];

async function untilWatched({ wardens }: Bench): Promise<number[]> {
  return until('the warden waits', async () => {
    const found = await wardens();
    return found.length > 0 ? found : undefined;
  });
}

describe.each([
  ['with a cgroup', true],
  ['without a cgroup', false],
])('%s', (_, cgroups) => {
  async function running(command: readonly string[], lifeMs = 20_000) {
    const opened = bench(cgroups);
    if (cgroups) expect(opened.cgroup, 'this machine lets us write no cgroup v2').toBeDefined();
    const agent = opened.agent();
    await agent.warm(); // the boot of a shim is no part of its process's life
    const deadlineMs = inMs(lifeMs);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs, run: opened.run(command) });
    const view = await untilState(agent, 'running');
    const user = readProcess(view.pid!)!; // it runs
    return { deadlineMs, bench: opened, agent, pid: view.pid!, user, shim: readProcess(user.parent)! };
  }

  test('a killed shim takes the process with it, also after a change of user', async () => {
    const { bench, user, shim, agent } = await running(SLEEP);
    agent.leave(); // nobody but the kernel is to do it
    const wardens = await untilWatched(bench);
    for (const pid of [...wardens, shim.pid]) process.kill(pid, 'SIGKILL');
    await until('the process is gone', () => !isAlive(user), 1_000);
  });

  test('a killed shim: what the process forked away goes too, and the agent knows when', async () => {
    const { bench, shim, agent } = await running(DAEMON);
    await until('the daemon runs', () => /daemon/.test(bench.output()));
    process.kill(shim.pid, 'SIGKILL');
    const view = await untilState(agent, 'absent');
    expect(await bench.alive()).toEqual([]);
    expect(view.last).toMatchObject({ cause: 'Lost', epoch: 1 });
  });

  test('shim and agent killed together: what the process forked away goes too, and nobody is left', async () => {
    const { bench, shim, agent } = await running(DAEMON);
    await until('the daemon runs', () => /daemon/.test(bench.output()));
    await untilWatched(bench);
    agent.leave(); // it does nothing any more
    process.kill(shim.pid, 'SIGKILL');
    await until('nothing of it is left', async () => (await bench.alive()).length === 0);
    await until('the warden has ended', async () => (await bench.wardens()).length === 0);
  });

  test('a warden that is killed alone is replaced, and ends with a shim that ends on purpose', async () => {
    const { bench, agent } = await running(DAEMON);
    const [first] = await untilWatched(bench);
    process.kill(first!, 'SIGKILL');
    await until('there is another', async () => (await bench.wardens()).some((pid) => pid !== first));
    agent.leave();
    const socket = connect(join(bench.directory, 'group.sock'));
    socket.on('error', () => {});
    socket.write('{"id":1,"type":"quit"}\n');
    await until('the shim has ended', async () => (await bench.alive()).length === 0);
    await until('the warden has ended', async () => (await bench.wardens()).length === 0);
  });

  test('without an agent the process lives until its deadline and no longer', async () => {
    const { bench, user, agent, deadlineMs } = await running(DAEMON, 700);
    agent.leave();
    await until('the process is gone', async () => !isAlive(user) && (await bench.alive()).length === 1, 5_000);
    expect(bootClock.nowMs()).toBeGreaterThanOrEqual(deadlineMs);
    expect(bootClock.nowMs()).toBeLessThan(deadlineMs + KILL_WITHIN_MS);
  });

  test('an agent that comes back in time adopts the same process and prolongs it', async () => {
    const { bench, pid, agent, user, deadlineMs: first } = await running(SLEEP, 3_000);
    agent.leave();
    const next = bench.agent();
    await next.adopt();
    expect(next.view()).toMatchObject({ state: 'running', pid, epoch: 1 });
    await next.setDeadline(inMs(30_000));
    await until('the first deadline is over', () => bootClock.nowMs() > first + 250);
    expect(isAlive(user)).toBe(true);
  });

  test('an agent that leaves before the shim has answered leaves the process to the next one', async () => {
    const { bench, pid, agent } = await running(SLEEP);
    void agent.setDeadline(inMs(30_000));
    agent.leave();
    const next = bench.agent();
    await next.adopt();
    expect(next.view()).toMatchObject({ state: 'running', pid });
  });

  test('an earlier deadline is kept', async () => {
    const { agent, user } = await running(SLEEP);
    await agent.setDeadline(inMs(200));
    await until('the process is gone', () => !isAlive(user), 600);
  });

  test('a stopped shim is killed with its group once it has been silent for half a second', async () => {
    const { bench, agent, shim } = await running(DAEMON);
    process.kill(shim.pid, 'SIGSTOP');
    const told = agent.setDeadline(inMs(30_000));
    // Half a second of silence, then killWithin, which is 1 s by default. That nothing is left is looked at twice before
    // it is said, which may take longer on a busy machine.
    await until('nothing of it is left', async () => (await bench.alive()).length === 0, 1_500);
    await told;
  });

  test('a stopped shim does not outlive the deadline: the agent kills as well', async () => {
    const { bench, agent, shim, deadlineMs } = await running(DAEMON, 2_000);
    process.kill(shim.pid, 'SIGSTOP');
    await untilState(agent, 'absent');
    expect(await bench.alive()).toEqual([]);
    expect(bootClock.nowMs()).toBeLessThan(deadlineMs + KILL_WITHIN_MS);
  });

  test('a process that ignores SIGTERM is killed after the time it is given', async () => {
    const { bench, agent } = await running(DEAF);
    await until('it is deaf', () => /deaf/.test(bench.output()));
    const from = bootClock.nowMs();
    agent.stop('SIGTERM', 300);
    expect(agent.view().state).toBe('stopping');
    const view = await untilState(agent, 'idle');
    expect(bootClock.nowMs() - from).toBeGreaterThanOrEqual(290);
    expect(view.last).toMatchObject({ cause: 'Stopped', epoch: 1 });
    expect(await bench.alive()).toHaveLength(1); // the shim
  });

  test('what a process leaves behind ends with it, before the group counts as ended', async () => {
    const opened = bench(cgroups);
    const agent = opened.agent();
    const run = opened.run(['/bin/sh', '-c', 'setsid sleep 1000 & exit 7']);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(20_000), run });
    const view = await until('it has exited', () => (agent.view().state === 'idle' ? agent.view() : undefined));
    expect(view.last).toMatchObject({ cause: 'Exited', message: 'exit status 7' });
    expect(await opened.alive()).toHaveLength(1); // the shim
  });
});

test('a stranger that starts programs without an environment does not keep the dead from counting as dead', async () => {
  const opened = bench(true);
  const agent = opened.agent();
  await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(60_000), run: opened.run(SLEEP) });
  await untilState(agent, 'running');
  const stranger = spawn('bash', ['-c', 'while :; do env -i sleep 1 & sleep 0.3; done'], { stdio: 'ignore' });
  onTestFinished(() => void stranger.kill('SIGKILL'));
  const bare = ({ parent, pid }: Process) =>
    parent === stranger.pid && readFileSync(`/proc/${pid}/environ`, 'latin1') === '';
  await until('one of them runs', () => listProcesses().some(bare));
  const killed = agent.kill('test').then(() => 'killed');
  expect(await Promise.race([killed, bootClock.sleep(5_000).then(() => 'not within 5 s')])).toBe('killed');
  expect(await opened.alive()).toEqual([]);
}, 20_000);

describe('a cut of the deadline holds', () => {
  const accepted = ({ directory }: Bench) =>
    (JSON.parse(readFileSync(join(directory, 'group.json'), 'utf8')) as Accepted).status.deadlineMs;
  /** Longer than a shim takes to boot on a busy machine. */
  const CUT_MS = 5_000;

  /** By the shim's own word, and to the end: also the agent's kill does not come later. */
  async function expectCut(opened: Bench, agent: GroupProcess, cutMs: number) {
    const { pid } = await untilState(agent, 'running');
    expect(accepted(opened)).toBeLessThanOrEqual(cutMs);
    const user = readProcess(pid!)!; // it runs
    process.kill(user.parent, 'SIGSTOP'); // then it is the agent's turn
    await until('the process is gone', () => !isAlive(user), cutMs + KILL_WITHIN_MS - bootClock.nowMs());
  }

  test('against a longer one that is on its way to the shim', async () => {
    const opened = bench(false);
    const agent = opened.agent();
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(20_000), run: opened.run(SLEEP) });
    await untilState(agent, 'running');
    const longer = agent.setDeadline(inMs(30_000));
    const cutMs = inMs(CUT_MS);
    await agent.cutDeadline(cutMs);
    await longer;
    await expectCut(opened, agent, cutMs);
  });

  test('against a start that is on its way to the shim', async () => {
    const opened = bench(false);
    const agent = opened.agent();
    await agent.warm();
    const start = agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(30_000), run: opened.run(SLEEP) });
    await Promise.resolve();
    await Promise.resolve();
    const cutMs = inMs(CUT_MS);
    await agent.cutDeadline(cutMs);
    await start;
    await expectCut(opened, agent, cutMs);
  });

  test('against a start that waits for its shim to boot', async () => {
    const opened = bench(false);
    const agent = opened.agent();
    const start = agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(30_000), run: opened.run(SLEEP) });
    const cutMs = inMs(CUT_MS);
    await agent.cutDeadline(cutMs);
    await start;
    await expectCut(opened, agent, cutMs);
  });

  test('and never makes a deadline later', async () => {
    const opened = bench(false);
    const agent = opened.agent();
    const deadlineMs = inMs(CUT_MS);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs, run: opened.run(SLEEP) });
    await agent.cutDeadline(inMs(30_000));
    await expectCut(opened, agent, deadlineMs);
  });
});

describe('the start', () => {
  test('is refused when the deadline has passed, and when the incarnation is over', async () => {
    const opened = bench(true);
    const agent = opened.agent();
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(-10), run: opened.run(SLEEP) });
    expect(agent.view()).toMatchObject({ state: 'idle', last: { cause: 'NotStarted' } });
    opened.setIncarnation(2);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(5_000), run: opened.run(SLEEP) });
    expect(agent.view().last?.message).toContain('incarnation 1 is over');
  });

  test('is refused while another holds the lock', async () => {
    const lock = join(bench(false).directory, 'lock');
    const [first, second] = [bench(true), bench(true)];
    const [holder, refused] = [first.agent(), second.agent()];
    await holder.start({ epoch: 4, incarnation: 1, deadlineMs: inMs(9_000), run: first.run(SLEEP, { lock }) });
    await untilState(holder, 'running');
    await refused.start({ epoch: 5, incarnation: 1, deadlineMs: inMs(9_000), run: second.run(SLEEP, { lock }) });
    await until('it is refused', () => refused.view().last !== undefined);
    expect(refused.view().last).toMatchObject({ cause: 'LockHeld', epoch: 5 });
    await refused.start({ epoch: 5, incarnation: 1, deadlineMs: inMs(9_000), run: second.run(SLEEP) });
    await untilState(refused, 'running');
  });

  test('is given up, and counts as a failure, where the file of the lock does not answer for 10 s', async () => {
    const opened = bench(true);
    const agent = opened.agent();
    const lock = join(opened.directory, 'lock');
    execFileSync('mkfifo', [lock]); // its open waits for ever, as one of a file whose server is away
    const fromMs = bootClock.nowMs();
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(60_000), run: opened.run(SLEEP, { lock }) });
    const { last } = await untilState(agent, 'idle');
    expect(last).toMatchObject({ cause: 'NotStarted', epoch: 1 });
    expect(opened.output()).toContain('the command was not reached within 10 s');
    expect(bootClock.nowMs() - fromMs).toBeGreaterThan(9_900);
    expect(await opened.alive()).toHaveLength(1); // the shim
  });

  test('gives the process its user, directory and environment, and nothing of it to a link that is still root', async () => {
    const opened = bench(true);
    const agent = opened.agent();
    const env = { PATH: '/usr/bin:/bin', SECRET: `it's "quoted" $HOME\nand \\ more`, LD_PRELOAD: '/nonexistent.so' };
    const run = opened.run(['/bin/sh', '-c', 'id -u; pwd; printf %s "$SECRET"; umask; env | cut -d= -f1 | sort'], {
      env,
      workingDirectory: '/tmp',
    });
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(5_000), run });
    await untilState(agent, 'idle');
    const text = opened.output();
    expect(text).toContain(`65534\n`);
    expect(text).toContain('/tmp\n');
    expect(text).toContain(env.SECRET);
    expect(text).not.toContain('POINTSMAN_ENV_');
    // ld.so complains once for each program run with it: sh and what it runs, never sh of the chain, flock or setpriv.
    expect(text).not.toMatch(/setpriv|flock/);
  });

  test('keeps the log of a process that goes on writing within its bound', async () => {
    const opened = bench(true);
    const agent = opened.agent();
    const bound = 16 << 20;
    const run = opened.run(['/bin/sh', '-c', 'while :; do echo line; sleep 0.05; done']);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(600_000), run });
    await until('it writes', () => opened.output().includes('line'));
    truncateSync(opened.logFile, bound); // a hole: the next line stands above the bound
    await until('the log is emptied', () => statSync(opened.logFile).size < bound);
    await until('it writes on', () => opened.output().startsWith('line\n'));
    expect(statSync(`${opened.logFile}.1`).size).toBeGreaterThan(bound);
  });

  test('says why a chain did not reach the command', async () => {
    const opened = bench(true);
    const agent = opened.agent();
    const run = opened.run(SLEEP, { workingDirectory: '/nonexistent' });
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: inMs(5_000), run });
    await until('it has failed', () => agent.view().last !== undefined);
    expect(agent.view().last).toMatchObject({
      cause: 'NotStarted',
      message: expect.stringContaining('working directory'),
    });
  });

  test('finds nothing to adopt where the accepted file names a process that is another by now', async () => {
    const opened = bench(true);
    const stranger = { pid: process.pid, startTicks: 1, status: { phase: 'running', pid: process.pid } };
    writeFileSync(join(opened.directory, 'group.json'), JSON.stringify(stranger));
    const agent = opened.agent();
    await agent.adopt();
    expect(agent.view().state).toBe('absent');
  });
});
