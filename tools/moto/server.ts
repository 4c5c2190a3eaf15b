import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { toolPath } from '../locate.ts';

export interface MotoOptions {
  /** Where it keeps its log. */
  readonly dir: string;
  /** Default: any free one. */
  readonly port?: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  /** Rewritten in place after every change, before the answer to it leaves; see moto_aws.py. */
  readonly changesFile?: string;
  /** Instances stop, start and end only when the hypervisor confirms it. */
  readonly hypervisor?: boolean;
  /** More for its environment, such as MOTO_AWS_STOP_SECONDS. */
  readonly env?: Record<string, string>;
}

export interface Moto {
  /** Such as `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** It takes 1.5 s; a machine that builds something beside it has been seen to take thirty. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 5_000;

/**
 * Starts the emulator and resolves when it listens. It ends when `stop` is called, and by itself when this process is
 * gone, however it went. Rejects with the end of its log when it does not start.
 */
export async function startMoto(options: MotoOptions): Promise<Moto> {
  const python = await toolPath('moto-python');
  mkdirSync(options.dir, { recursive: true });
  const host = options.host ?? '127.0.0.1';
  const logFile = join(options.dir, 'moto.log');
  const script = join(dirname(fileURLToPath(import.meta.url)), 'moto_aws.py');
  const child = spawn(python, [script, '--host', host, '--port', String(options.port ?? 0)], {
    cwd: options.dir,
    // Standard input is never written to: its end tells the server that we are gone.
    stdio: ['pipe', 'pipe', openSync(logFile, 'a')],
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      PYTHONDONTWRITEBYTECODE: '1',
      // Loading them takes a second, and nothing here looks at an image.
      MOTO_EC2_LOAD_DEFAULT_AMIS: 'false',
      AWS_EC2_METADATA_DISABLED: 'true',
      ...(options.changesFile === undefined ? {} : { MOTO_AWS_CHANGES: options.changesFile }),
      ...(options.hypervisor ? { MOTO_AWS_HYPERVISOR: '1' } : {}),
      ...options.env,
    },
  });
  const port = await listeningPort(child, logFile);
  return {
    endpoint: `http://${host}:${port}`,
    pid: child.pid!, // it has printed its port
    stop: () => stop(child),
  };
}

function listeningPort(child: ChildProcess, logFile: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (state: string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`Cannot start moto: ${state}; its log is ${logFile}`));
    };
    const timer = setTimeout(() => fail(`it does not listen after ${START_TIMEOUT_MS / 1000} s`), START_TIMEOUT_MS);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => fail(`it ended with ${signal ?? code}`));
    createInterface({ input: child.stdout! }).once('line', (line) => {
      clearTimeout(timer);
      child.removeAllListeners('exit');
      resolve((JSON.parse(line) as { port: number }).port); // printed by moto_aws.py's main
    });
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  child.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
}
