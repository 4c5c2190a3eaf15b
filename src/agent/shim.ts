import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { bootClock } from '../base/clock.ts';
import { isPopulated, removeCgroup } from './cgroup.ts';
import { chain } from './chain.ts';
import { writeAtomic } from './files.ts';
import { family, type Kin, killAll, killNow, type Victims } from './kill.ts';
import { keepBounded } from './logfile.ts';
import { type Process, readProcess } from './scan.ts';
import type { Accepted, Envelope, LastRun, Message, Phase, ShimConfig, ShimStatus, Stage } from './shim-protocol.ts';
import type { Stuck } from './stuck.ts';
import { keepWarden } from './wardenkeeper.ts';

/*
 * The shim: parent of the user's process, and the one that ends it when its time is up. It goes on when the agent hangs,
 * is killed, or is being upgraded. It knows no API and no disk, and waits for nothing but its clock.
 */

/** Timers stand still while the machine is suspended, the boot clock does not; so it is looked at this often. */
const LOOK_EVERY_MS = 100;
const IDLE_LOOK_EVERY_MS = 1_000;
/** How long the chain may take. It waits for the lock's file and the working directory, and so for a disk that hangs. */
const CHAIN_LIMIT_MS = 10_000;
/** How often it is looked at what the process has started, where no cgroup holds that together. */
const KIN_EVERY_MS = 2_000;
const KIN_MAX = 256;
/** An idle shim that no agent is connected to ends itself. */
const FORLORN_MS = 30_000;

const config = JSON.parse(process.argv[2] ?? '') as ShimConfig; // written by the agent that spawned us
const self = readProcess(process.pid) as Process; // we are alive

let phase: Phase = 'idle';
let runs = 0;
let epoch = 0;
let incarnation = 0;
let deadlineMs = 0;
let child: ChildProcess | undefined;
let leader: Process | undefined;
let stage: Stage = 'started';
let cause: LastRun['cause'] = 'Exited';
let last: LastRun | undefined;
let runsAsRoot = false;
let killAt: number | undefined;
/** When a chain that has not come to the user's program is given up. */
let chainUntilMs = 0;
/** What is being killed, until none of it is left. */
let killing: Promise<void> | undefined;
let stuck: readonly Stuck[] = [];
let kin: readonly Kin[] = [];
let kinSeenMs = 0;
let timer: NodeJS.Timeout | undefined;
let forlornSinceMs = bootClock.nowMs();
const agents = new Set<Socket>();

// Its end is decided here alone: a terminal's or a service manager's signal to everything must not be a kill.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});

rmSync(config.socket, { force: true });
accept();
createServer(serve).listen(config.socket, () => {
  // The agent waits for this line; afterwards nobody reads here.
  process.stdout.on('error', () => {});
  process.stdout.write('ready\n');
});
const warden = keepWarden({ mark: config.mark, cgroup: config.cgroup, acceptedFile: config.acceptedFile });
tick();

function serve(agent: Socket): void {
  agents.add(agent);
  let buffered = '';
  agent.setEncoding('utf8');
  agent.on('data', (text: string) => {
    const lines = (buffered + text).split('\n');
    buffered = lines.pop() ?? '';
    for (const line of lines) answer(agent, JSON.parse(line) as Envelope);
  });
  agent.on('error', () => {});
  agent.on('close', () => {
    agents.delete(agent);
    forlornSinceMs = bootClock.nowMs();
  });
}

function answer(agent: Socket, request: Envelope): void {
  let refused: string | undefined;
  try {
    refused = obey(request);
  } catch (error) {
    refused = String(error);
  }
  send(agent, { type: 'reply', id: request.id, ...(refused === undefined ? {} : { refused }), status: status() });
  if (request.type === 'start') tell();
}

/** What speaks against it, if anything does. */
function obey(request: Envelope): string | undefined {
  switch (request.type) {
    case 'start':
      return start(request);
    case 'deadline':
      return setDeadline(request.untilMs);
    case 'stop':
      return stop(request.signal, request.timeoutMs);
    case 'status':
      return undefined;
    case 'quit':
      void quit();
      return undefined;
  }
}

/** Arms the kill first, then looks at the deadline and at the incarnation, then spawns. */
function start(request: Extract<Envelope, { type: 'start' }>): string | undefined {
  if (phase !== 'idle') return `Cannot start: a process is ${phase} here`;
  ({ epoch, incarnation, deadlineMs } = request);
  phase = 'starting';
  last = undefined;
  killAt = undefined;
  chainUntilMs = bootClock.nowMs() + CHAIN_LIMIT_MS;
  cause = 'Exited';
  stage = 'started';
  leader = undefined;
  kin = [];
  arm();
  try {
    accept();
    if (bootClock.nowMs() >= deadlineMs) return notStarted('Cannot start: the deadline has passed');
    if (readFileSync(config.incarnationFile, 'utf8').trim() !== String(incarnation)) {
      return notStarted(`Cannot start: incarnation ${incarnation} is over`);
    }
    spawnChain(request);
  } catch (error) {
    return notStarted(String(error));
  }
  runs += 1;
  accept();
  return undefined;
}

function notStarted(reason: string): string {
  phase = 'idle';
  return reason;
}

function spawnChain({ run }: Extract<Envelope, { type: 'start' }>): void {
  if (config.cgroup !== undefined) mkdirSync(config.cgroup, { recursive: true });
  const { file, args, env } = chain(run, config.mark, process.pid);
  const log = openSync(config.logFile, 'a', 0o640);
  // A session of its own: a signal to the agent's group must not reach it, and its number finds what it forks.
  const spawned = spawn(file, args, { env, cwd: '/', detached: true, stdio: ['ignore', log, log, 'pipe', 'pipe'] });
  closeSync(log);
  runsAsRoot = run.uid === 0;
  child = spawned;
  if (spawned.pid === undefined) {
    spawned.on('error', () => {});
    throw new Error('Cannot start: setpriv cannot be run; install util-linux');
  }
  leader = readProcess(spawned.pid);
  if (config.cgroup === undefined && leader !== undefined) kin = [{ pid: leader.pid, startTicks: leader.startTicks }];
  watchChain(spawned);
  letGo(spawned, spawned.pid);
}

/** Into the cgroup first: what is forked before that would not be in it. */
function letGo(spawned: ChildProcess, pid: number): void {
  const go = spawned.stdio[4] as Socket; // a pipe to the child is a socket to us
  go.on('error', () => {});
  if (config.cgroup !== undefined) {
    try {
      writeFileSync(`${config.cgroup}/cgroup.procs`, String(pid));
    } catch {
      spawned.kill('SIGKILL');
    }
  }
  go.end('go\n');
}

function watchChain(spawned: ChildProcess): void {
  const number = runs + 1;
  const stages = spawned.stdio[3] as Socket; // as above
  let exit: { code: number | null; signal: string | null } | undefined;
  let told = false;
  const finish = () => {
    // What the chain said last may arrive after the news of its end.
    if (exit === undefined || !told) return;
    const ended: LastRun = { run: number, epoch, stage, ...exit, cause };
    void endRest(ended);
  };
  stages.on('data', (said: Buffer) => {
    if (said.includes('x')) {
      stage = 'executed';
      if (phase === 'starting') phase = 'running';
      tell();
    }
  });
  stages.on('error', () => {});
  stages.on('close', () => {
    told = true;
    finish();
  });
  spawned.on('exit', (code, signal) => {
    exit = { code, signal };
    phase = 'ending';
    finish();
  });
}

/** The process has exited; whatever it left behind goes as well. */
async function endRest(ended: LastRun): Promise<void> {
  if (!(cgroupHoldsAll() && config.cgroup !== undefined && !isPopulated(config.cgroup))) {
    tell();
    await killAll(victims(), undefined, tellStuck);
  }
  // It looks for this cgroup and this mark until it has found nothing twice: what is started next would be found.
  await killing;
  stuck = [];
  if (config.cgroup !== undefined) removeCgroup(config.cgroup);
  child = undefined;
  leader = undefined;
  last = ended;
  phase = 'idle';
  accept();
  tell();
}

/** Written before it is agreed to, so that an agent that comes back knows how long this may live. */
function setDeadline(untilMs: number): string | undefined {
  if (phase === 'idle') return undefined;
  if (cause === 'Deadline' || bootClock.nowMs() >= deadlineMs) return 'Cannot set the deadline: it has passed';
  const before = deadlineMs;
  deadlineMs = untilMs;
  arm();
  try {
    accept();
  } catch (error) {
    deadlineMs = Math.min(before, untilMs);
    arm();
    throw error;
  }
  return undefined;
}

function stop(signal: NodeJS.Signals, timeoutMs: number): string | undefined {
  if (phase === 'idle' || phase === 'ending') return undefined;
  rememberKin();
  if (cause === 'Exited') cause = 'Stopped';
  killAt = Math.min(killAt ?? Number.POSITIVE_INFINITY, bootClock.nowMs() + timeoutMs);
  child?.kill(signal);
  arm();
  return undefined;
}

async function quit(): Promise<void> {
  if (phase !== 'idle') {
    killNow(victims());
    await killAll(victims());
  }
  warden.dismiss();
  rmSync(config.socket, { force: true });
  rmSync(config.acceptedFile, { force: true });
  process.exit(0);
}

function arm(): void {
  clearTimeout(timer);
  timer = setTimeout(tick, untilLookMs());
}

function untilLookMs(): number {
  if (phase === 'idle') return IDLE_LOOK_EVERY_MS;
  const leftMs = Math.min(deadlineMs, killAt ?? deadlineMs) - bootClock.nowMs();
  // What is due is being ended already.
  return leftMs <= 0 ? LOOK_EVERY_MS : Math.min(leftMs, LOOK_EVERY_MS);
}

/** Ends what is due. Comes again until nothing is left. */
function tick(): void {
  const now = bootClock.nowMs();
  if (phase === 'idle') {
    if (agents.size === 0 && now - forlornSinceMs >= FORLORN_MS) void quit();
  } else if (now >= deadlineMs) {
    if (cause !== 'Deadline') {
      cause = 'Deadline';
      phase = 'ending';
      tell();
    }
    kill();
  } else if (killAt !== undefined && now >= killAt) kill();
  else if (phase === 'starting' && now >= chainUntilMs) giveUpChain();
  else if (now - kinSeenMs >= KIN_EVERY_MS) rememberKin();
  arm();
}

/** It counts as an end before the command was reached. */
function giveUpChain(): void {
  phase = 'ending';
  tell();
  kill();
  const limit = CHAIN_LIMIT_MS / 1000;
  const line = `pointsman: Cannot start: the command was not reached within ${limit} s; does the shared disk answer?\n`;
  try {
    appendFileSync(config.logFile, line);
  } catch {
    // No room: it is ended all the same.
  }
}

function kill(): void {
  child?.kill('SIGKILL');
  killNow(victims());
  // What has left the session is found by its mark, also while the process itself hangs in the kernel and does not exit.
  killing ??= killAll(victims(), undefined, tellStuck).finally(() => {
    killing = undefined;
  });
}

function tellStuck(left: readonly Stuck[]): void {
  if (JSON.stringify(left) === JSON.stringify(stuck)) return;
  stuck = left;
  tell();
}

/**
 * What clears its environment and leaves the session is known by its parent alone, and by nothing once that has died. So
 * the descendants are looked at while they have their parents.
 */
function rememberKin(): void {
  if (config.cgroup !== undefined || leader === undefined) return;
  kinSeenMs = bootClock.nowMs();
  const now = family([leader, ...kin]).map(({ pid, startTicks }) => ({ pid, startTicks }));
  // The newest are first: of very many, those that have run for longest are known by their marks, or never will be.
  const next = now.slice(0, KIN_MAX);
  if (JSON.stringify(next) === JSON.stringify(kin)) return;
  kin = next;
  try {
    accept();
  } catch {
    // No room in /run: then an agent that comes back does not know them, and this shim does.
  }
  tell();
}

function victims(): Victims {
  return {
    matches: (mark) => mark === config.mark,
    cgroups: config.cgroup === undefined ? [] : [config.cgroup],
    known: leader === undefined ? [] : [leader, ...kin],
    sinceTicks: leader?.startTicks ?? 0,
    cgroupHoldsAll: cgroupHoldsAll(),
  };
}

/** Root can leave a cgroup; another user's process cannot. Before it has executed it may not have entered yet. */
function cgroupHoldsAll(): boolean {
  return config.cgroup !== undefined && !runsAsRoot && stage === 'executed';
}

function accept(): void {
  const accepted: Accepted = { pid: self.pid, startTicks: self.startTicks, status: status() };
  writeAtomic(config.acceptedFile, JSON.stringify(accepted));
}

function status(): ShimStatus {
  const pid = phase === 'idle' ? undefined : leader?.pid;
  const more =
    phase === 'idle' ? {} : { ...(stuck.length > 0 ? { stuck } : {}), ...(kin.length > 0 ? { family: kin } : {}) };
  return { phase, run: runs, epoch, incarnation, deadlineMs, pid, last, ...more };
}

function tell(): void {
  for (const agent of agents) send(agent, { type: 'status', status: status() });
}

function send(agent: Socket, message: Message): void {
  agent.write(`${JSON.stringify(message)}\n`);
}

keepBounded(config.logFile);
