import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, extname } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { removeCgroup } from './cgroup.ts';
import { SYSTEM_PATH } from './chain.ts';
import type { Kin, Victims } from './kill.ts';
import { wardenMarkOf } from './mark.ts';
import type { Parts } from './parts.ts';
import { MARK, type Process, readProcess } from './scan.ts';
import {
  CHAIN_EXIT,
  type Message,
  type Request,
  type RunSpec,
  type ShimConfig,
  type ShimStatus,
} from './shim-protocol.ts';
import { describeStuck, type Stuck } from './stuck.ts';

/** A shim that does not answer for so long is killed with everything it runs (docs/protocol.md, "Who kills"). */
const SILENT_MS = 500;
/** Node takes 50 to 100 ms to boot, on a busy machine much longer. */
const BOOT_LIMIT_MS = 10_000;
/** How often the boot clock is looked at; timers stand still during a suspend. */
const LOOK_EVERY_MS = 100;

/** The process of one group, as its agent knows it. */
export interface ProcessView {
  /**
   * - `absent`: nothing runs and there is no shim.
   * - `idle`: nothing runs, a shim is ready.
   * - `starting`, `running`: as the shim says.
   * - `stopping`: asked to end.
   * - `ending`: being killed, or dead and not all of it known to be gone yet.
   */
  readonly state: 'absent' | 'idle' | 'starting' | 'running' | 'stopping' | 'ending';
  readonly epoch: number;
  readonly pid: number | undefined;
  /** The latest run that is over. */
  readonly last: Ended | undefined;
  /** What was killed and does not end, because it waits in the kernel. */
  readonly stuck?: readonly Stuck[];
}

export interface Ended {
  readonly epoch: number;
  /** By the boot clock. */
  readonly atMs: number;
  /**
   * - `Exited`: by itself.
   * - `Stopped`, `Deadline`, `Killed`: it was made to end.
   * - `Lost`: its shim died or did not answer, so it was killed.
   * - `LockHeld`: it never ran, another holds the lock on the shared disk.
   * - `NotStarted`: it never ran.
   */
  readonly cause: EndCause;
  readonly message: string;
}

export type EndCause = 'Exited' | 'Stopped' | 'Deadline' | 'Killed' | 'Lost' | 'LockHeld' | 'NotStarted';

export interface StartRequest {
  readonly epoch: number;
  readonly incarnation: number;
  readonly deadlineMs: number;
  readonly run: RunSpec;
}

export interface GroupProcess {
  view(): ProcessView;
  /** Has a shim ready, so that its boot is not on the way of a start. */
  warm(): Promise<void>;
  /** Takes over the shim of an earlier agent, or ends what is left of one. */
  adopt(): Promise<void>;
  start(request: StartRequest): Promise<void>;
  stop(signal: NodeJS.Signals, timeoutMs: number): void;
  /** Resolves when the shim has said yes, or when it has been killed with its group and nothing is left. */
  setDeadline(untilMs: number): Promise<void>;
  /**
   * As {@link setDeadline}, but never makes it later, and holds against whatever is on its way to the shim: when it
   * resolves, nothing asked for before can let anything live longer.
   */
  cutDeadline(untilMs: number): Promise<void>;
  /** Ends shim and group, and resolves once none of them is left. */
  kill(why: string, cause?: EndCause): Promise<void>;
  /** Leaves the process and its shim to the next agent. */
  leave(): void;
}

export interface GroupProcessOptions {
  readonly config: ShimConfig;
  readonly shimLogFile: string;
  readonly clock: Clock;
  readonly log: Log;
  /** The machine. */
  readonly parts: Parts;
  /** After every change of the view. */
  readonly onChange: () => void;
}

export function createGroupProcess(options: GroupProcessOptions): GroupProcess {
  const { config, clock, log, parts, onChange } = options;
  let shim: Connection | undefined;
  let booting: Promise<void> | undefined;
  let killing: Promise<void> | undefined;
  /** The deadline of a start that waits for its shim. */
  let startUntilMs: number | undefined;
  /** Starts that the shim has not answered: until it has, its phase says nothing about them. */
  let starts = 0;
  let stopping = false;
  let last: Ended | undefined;
  let seenRun = 0;
  let left = false;
  let cancelLook: (() => void) | undefined;
  /** What this agent's own kill waits for. */
  let stuck: readonly Stuck[] = [];
  const toldStuck = new Set<() => void>();

  function view(): ProcessView {
    const status = shim?.status;
    if (killing !== undefined) return { state: 'ending', epoch: status?.epoch ?? 0, pid: status?.pid, last, stuck };
    if (status === undefined) return { state: 'absent', epoch: 0, pid: undefined, last };
    const alive = status.phase === 'starting' || status.phase === 'running';
    const state = stopping && alive ? 'stopping' : status.phase;
    return { state, epoch: status.epoch, pid: status.pid, last, stuck: status.stuck ?? [] };
  }

  async function warm(): Promise<void> {
    if (shim !== undefined || killing !== undefined || left) return;
    booting ??= boot().finally(() => {
      booting = undefined;
    });
    await booting;
  }

  async function boot(): Promise<void> {
    const pid = await parts.spawnShim(options);
    await attach(pid);
  }

  async function attach(known: Pick<Process, 'pid' | 'startTicks'>): Promise<void> {
    const connection = await openConnection(config.socket, known, options, { onStatus, onClosed });
    shim = connection;
    onStatus(connection);
  }

  function onStatus(connection: Connection): void {
    if (connection !== shim) return;
    const { status } = connection;
    if (status.phase === 'idle') stopping = false;
    if (status.last !== undefined && status.last.run !== seenRun) {
      seenRun = status.last.run;
      last = endedFrom(status.last, clock.nowMs());
    }
    look();
    onChange();
  }

  function onClosed(connection: Connection): void {
    if (connection === shim && !left) void kill('its shim is gone', 'Lost');
  }

  /** The agent kills at the deadline as well: a shim that is merely stopped cannot. */
  function look(): void {
    cancelLook?.();
    if (shim === undefined || shim.status.phase === 'idle' || killing !== undefined) return;
    if (clock.nowMs() >= shim.deadlineMs) {
      void kill('the deadline has passed', 'Deadline');
      return;
    }
    cancelLook = clock.after(Math.min(LOOK_EVERY_MS, shim.deadlineMs - clock.nowMs()), look);
  }

  async function adopt(): Promise<void> {
    const accepted = parts.readAccepted(config.acceptedFile);
    if (accepted !== undefined && parts.isAlive(accepted)) {
      try {
        await attach(accepted);
        if (shim !== undefined) seenRun = shim.status.last?.run ?? 0;
        log.info('adopted the shim of an earlier agent', { pid: accepted.pid, process: accepted.status.pid });
        return;
      } catch (error) {
        log.warn('the shim of an earlier agent does not answer', { error: describeError(error) });
      }
    }
    await killed('no shim of an earlier agent answers');
  }

  async function start(request: StartRequest): Promise<void> {
    startUntilMs = request.deadlineMs;
    let deadlineMs: number;
    try {
      await warm();
    } finally {
      deadlineMs = startUntilMs;
      startUntilMs = undefined;
    }
    if (shim === undefined || killing !== undefined) throw new Error('Cannot start: no shim is ready');
    stopping = false;
    shim.deadlineMs = deadlineMs;
    shim.askedMs = deadlineMs;
    shim.asks += 1;
    starts += 1;
    const refused = await ask({ type: 'start', ...request, deadlineMs }).finally(() => {
      starts -= 1;
    });
    if (refused === undefined) return;
    last = { epoch: request.epoch, atMs: clock.nowMs(), cause: 'NotStarted', message: refused };
    onChange();
  }

  function stop(signal: NodeJS.Signals, timeoutMs: number): void {
    // Asked to start and not answered yet: once it has answered, whoever wants it stopped asks again.
    if (shim === undefined || shim.status.phase === 'idle') return;
    stopping = true;
    void ask({ type: 'stop', signal, timeoutMs });
    onChange();
  }

  async function setDeadline(untilMs: number): Promise<void> {
    if (startUntilMs !== undefined) startUntilMs = untilMs;
    if (shim === undefined || isIdle(shim)) return;
    const { deadlineMs } = shim;
    await askDeadline(shim, untilMs, untilMs < deadlineMs);
  }

  async function cutDeadline(untilMs: number): Promise<void> {
    if (startUntilMs !== undefined) startUntilMs = Math.min(startUntilMs, untilMs);
    if (killing !== undefined) return killed('its deadline is cut');
    if (shim === undefined || isIdle(shim)) return;
    // Also where the last one asked for is early enough: what was asked for before it may be all that the shim has.
    await askDeadline(shim, Math.min(untilMs, shim.askedMs), true);
  }

  function isIdle({ status }: Connection): boolean {
    return status.phase === 'idle' && starts === 0;
  }

  async function askDeadline(asked: Connection, untilMs: number, must: boolean): Promise<void> {
    // An earlier one holds for the agent's own kill at once, a later one only when the shim has it.
    asked.deadlineMs = Math.min(asked.deadlineMs, untilMs);
    asked.askedMs = untilMs;
    asked.asks += 1;
    const { asks } = asked;
    const refused = await ask({ type: 'deadline', untilMs });
    if (refused !== undefined) {
      if (must) await killed(refused);
      // The shim answers in order: what it was asked for since may be earlier.
    } else if (shim === asked && asked.asks === asks) asked.deadlineMs = untilMs;
    look();
  }

  /** What speaks against it, as the shim says. A shim that says nothing is killed. */
  async function ask(request: Request): Promise<string | undefined> {
    const asked = shim;
    if (asked === undefined) return 'the shim is gone';
    try {
      return await asked.ask(request);
    } catch (error) {
      // Left to the next agent, answered or not: nothing here may go on from what the shim has not said.
      if (left) return await new Promise<never>(() => {});
      await killed(describeError(error));
      return describeError(error);
    }
  }

  function kill(why: string, cause: EndCause = 'Killed'): Promise<void> {
    killing ??= killEverything(why, cause).finally(() => {
      killing = undefined;
      stopping = false;
      onChange();
    });
    return killing;
  }

  /**
   * Resolves when nothing is left, or nothing but what no kill can end. What waits in the kernel must not keep this node
   * from renewing its Lease: a node in touch is not fenced, and the group goes nowhere before that process has ended.
   */
  function killed(why: string): Promise<void> {
    return Promise.race([
      kill(why, 'Lost'),
      new Promise<void>((resolve) => {
        if (stuck.length > 0) resolve();
        else toldStuck.add(resolve);
      }),
    ]);
  }

  async function killEverything(why: string, cause: EndCause): Promise<void> {
    const status = shim?.status;
    const victims = victimsOf(options, shim);
    parts.killNow(victims);
    if (shim !== undefined || parts.readAccepted(config.acceptedFile) !== undefined)
      log.warn('killing shim and group', { why });
    shim?.close();
    await parts.killAll(victims, undefined, (left) => {
      if (JSON.stringify(left) === JSON.stringify(stuck)) return;
      log.error('cannot end the group', { why: describeStuck(left) });
      stuck = left;
      for (const tell of toldStuck) tell();
      onChange();
    });
    stuck = [];
    toldStuck.clear();
    try {
      parts.forgetShim(config);
    } catch (error) {
      log.error('cannot remove what the shim has left', { error: describeError(error) }); // it is dead all the same
    }
    shim = undefined;
    seenRun = 0;
    if (status !== undefined && status.phase !== 'idle') {
      last = { epoch: status.epoch, atMs: clock.nowMs(), cause, message: `killed: ${why}` };
    }
  }

  function leave(): void {
    left = true;
    cancelLook?.();
    shim?.close();
  }

  return { view, warm, adopt, start, stop, setDeadline, cutDeadline, kill, leave };
}

function victimsOf({ config, parts }: GroupProcessOptions, shim: Connection | undefined): Victims {
  // A shim that has died may have written whom it saw, and not have come to say so.
  const written = parts.readAccepted(config.acceptedFile)?.status.family ?? [];
  const known: Kin[] = [...(shim === undefined ? [] : [shim.process]), ...(shim?.status.family ?? []), ...written];
  const leader = shim?.status.pid === undefined ? undefined : parts.readProcess(shim.status.pid);
  if (leader !== undefined && shim !== undefined && leader.startTicks >= shim.process.startTicks) known.push(leader);
  return {
    // The shim's warden as well: a late one would end what is started next.
    matches: (mark) => mark === config.mark || mark === wardenMarkOf(config.mark),
    cgroups: config.cgroup === undefined ? [] : [config.cgroup],
    known,
    sinceTicks: 0,
    cgroupHoldsAll: false, // the shim is not in it
  };
}

/** Resolves when it listens; rejects when it does not within {@link BOOT_LIMIT_MS}. */
export async function spawnShim(
  options: Pick<GroupProcessOptions, 'config' | 'shimLogFile'>,
): Promise<Pick<Process, 'pid' | 'startTicks'>> {
  const { config } = options;
  for (const path of [config.socket, config.logFile, options.shimLogFile])
    mkdirSync(dirname(path), { recursive: true });
  const errors = openSync(options.shimLogFile, 'a', 0o640);
  const child = spawn(process.execPath, [...SHIM_FLAGS, SHIM, JSON.stringify(config)], {
    cwd: '/',
    env: { PATH: SYSTEM_PATH, [MARK]: config.mark },
    detached: true, // it outlives the agent
    stdio: ['ignore', 'pipe', errors],
  });
  closeSync(errors);
  child.unref();
  const stdout = child.stdout as Readable; // stdio says "pipe"
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('Cannot start a shim: it does not boot')), BOOT_LIMIT_MS);
      stdout.once('data', () => {
        clearTimeout(timer);
        resolve();
      });
      const failed = (why: unknown) => {
        clearTimeout(timer);
        reject(new Error(`Cannot start a shim: it ended at once (${String(why)}); see ${options.shimLogFile}`));
      };
      child.once('error', failed);
      child.once('exit', failed);
    });
    const started = child.pid === undefined ? undefined : readProcess(child.pid);
    if (started === undefined) throw new Error('Cannot start a shim: it is gone already');
    return started;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    stdout.destroy();
  }
}

/** Beside this file, whatever a bundler has called it. */
const SHIM = fileURLToPath(new URL(`./shim${extname(import.meta.filename)}`, import.meta.url));
/** It holds next to nothing. */
const SHIM_FLAGS = ['--max-old-space-size=32', '--max-semi-space-size=1'];

interface Connection {
  readonly process: Pick<Process, 'pid' | 'startTicks'>;
  readonly status: ShimStatus;
  /** When the agent kills, whatever the shim says. */
  deadlineMs: number;
  /** The last that the shim was asked for, and how often it was. */
  askedMs: number;
  asks: number;
  ask(request: Request): Promise<string | undefined>;
  close(): void;
}

interface Listener {
  onStatus(connection: Connection): void;
  onClosed(connection: Connection): void;
}

/** Connects and asks for the status; throws when no answer comes in time. */
async function openConnection(
  path: string,
  shimProcess: Pick<Process, 'pid' | 'startTicks'>,
  { clock, parts }: Pick<GroupProcessOptions, 'clock' | 'parts'>,
  listener: Listener,
): Promise<Connection> {
  const socket = await parts.connectTo(path);
  const waiting = new Map<number, (answer: { refused?: string } | Error) => void>();
  let status: ShimStatus | undefined;
  let nextId = 1;
  let buffered = '';

  const ask = (request: Request) =>
    new Promise<string | undefined>((resolve, reject) => {
      const id = nextId++;
      const cancel = clock.after(SILENT_MS, () => {
        // After a stall of our own the answer may lie there unread: one turn of the loop reads it (libuv runs timers
        // before it polls).
        setImmediate(() => setImmediate(() => waiting.get(id)?.(new Error('the shim does not answer'))));
      });
      waiting.set(id, (answer) => {
        cancel();
        waiting.delete(id);
        if (answer instanceof Error) reject(answer);
        else resolve(answer.refused);
      });
      socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });

  const connection: Connection = {
    process: shimProcess,
    get status() {
      if (status === undefined) throw new Error('Broken invariant: a connection without a status');
      return status;
    },
    deadlineMs: 0,
    askedMs: 0,
    asks: 0,
    ask,
    close: () => socket.destroy(),
  };

  let open = false;
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const lines = (buffered + text).split('\n');
    buffered = lines.pop() ?? '';
    for (const line of lines) {
      const message = JSON.parse(line) as Message; // from our own shim
      status = message.status;
      if (message.type === 'reply') waiting.get(message.id)?.(message);
      if (open) listener.onStatus(connection);
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    for (const reject of [...waiting.values()]) reject(new Error('the shim is gone'));
    if (open) listener.onClosed(connection);
  });
  try {
    await ask({ type: 'status' });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  connection.deadlineMs = connection.status.deadlineMs;
  connection.askedMs = connection.status.deadlineMs;
  open = true;
  return connection;
}

/** What connects an agent to its shim. */
export type Wire = Pick<Socket, 'setEncoding' | 'on' | 'write' | 'destroy'>;

export function connectTo(path: string): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new Error('the shim does not answer')), SILENT_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** Nothing of it lives: what it has left behind goes as well. */
export function forgetShim(config: ShimConfig): void {
  rmSync(config.acceptedFile, { force: true });
  rmSync(config.socket, { force: true });
  if (config.cgroup !== undefined) removeCgroup(config.cgroup);
}

function endedFrom(run: NonNullable<ShimStatus['last']>, atMs: number): Ended {
  const how = run.signal === null ? `exit status ${run.code}` : `signal ${run.signal}`;
  const base = { epoch: run.epoch, atMs };
  if (run.cause !== 'Exited') return { ...base, cause: run.cause, message: `${how} (${run.cause})` };
  if (run.stage === 'executed') return { ...base, cause: 'Exited', message: how };
  if (run.code === CHAIN_EXIT.lockHeld) {
    return { ...base, cause: 'LockHeld', message: 'another process holds the lock on the shared disk' };
  }
  const why = CHAIN_FAILURE[run.code ?? -1] ?? `${how} before the command was reached; see the log of the group`;
  return { ...base, cause: 'NotStarted', message: `Cannot start: ${why}` };
}

const CHAIN_FAILURE: Readonly<Record<number, string>> = {
  [CHAIN_EXIT.parentGone]: 'its shim had gone',
  [CHAIN_EXIT.directory]: 'its working directory cannot be entered; see the log of the group',
};
