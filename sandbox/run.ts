import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface RunOptions {
  readonly input?: string;
  /** Default: 30 s. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

export interface RunResult {
  /** 128 + the signal's number where a signal ended it, as a shell says it; -1 where the limit did. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, whatever its code. */
export async function tryRun(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file, ...args] = command;
  if (file === undefined) throw new Error('Cannot run a command: it is empty');
  const child = spawn(file, args, { stdio: 'pipe', ...pick(options) });
  const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  child.stdin.on('error', () => {}); // it need not read what it is given
  child.stdin.end(options.input ?? '');
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, options.timeoutMs ?? 30_000);
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exit, signal) => resolve(exit ?? (signal === 'SIGKILL' ? 137 : 143)));
    });
    const text = (name: 'stdout' | 'stderr') => Buffer.concat(output[name]).toString();
    return { code: late ? -1 : code, stdout: text('stdout'), stderr: text('stderr') };
  } finally {
    clearTimeout(limit);
  }
}

/** Runs a command and returns its output. @throws with what it wrote to stderr, where its code is not 0 */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await tryRun(command, options);
  if (code === 0) return stdout;
  const why = code === -1 ? `did not end within ${options.timeoutMs ?? 30_000} ms` : `exit code ${code}`;
  throw new Error(`Cannot run ${command.join(' ').slice(0, 300)}: ${why}: ${(stderr || stdout).trim().slice(-2000)}`);
}

/** A process that stays, its output in a file. */
export interface Daemon {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves with a word on how it ended. */
  readonly exited: Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `graceMs`. */
  stop(graceMs?: number): Promise<void>;
  /** The last lines of its log. */
  tail(lines?: number): string;
}

export interface DaemonOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly logFile: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

export function startDaemon({ name, command, logFile, ...options }: DaemonOptions): Daemon {
  const [file, ...args] = command;
  if (file === undefined) throw new Error(`Cannot start ${name}: its command is empty`);
  // The file is its output itself: nothing of ours stands between a process and its log, so nobody can block it.
  const log = openSync(logFile, 'a');
  const child: ChildProcess = spawn(file, args, { stdio: ['ignore', log, log], ...pick(options) });
  closeSync(log);
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
  return {
    name,
    pid: child.pid ?? -1,
    logFile,
    exited,
    kill: (signal) => {
      child.kill(signal);
    },
    stop: async (graceMs = 3_000) => {
      child.kill('SIGTERM');
      const ended = await Promise.race([exited, delay(graceMs, undefined, { ref: false })]);
      if (ended === undefined) child.kill('SIGKILL');
      await exited;
    },
    tail: (lines = 20) => tailOf(logFile, lines),
  };
}

export function tailOf(logFile: string, lines = 20): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}

function pick({ env, cwd }: { env?: NodeJS.ProcessEnv | undefined; cwd?: string | undefined }) {
  return { ...(env === undefined ? {} : { env }), ...(cwd === undefined ? {} : { cwd }) };
}
