import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { extname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../base/clock.ts';
import { SYSTEM_PATH } from './chain.ts';
import { writeAtomic } from './files.ts';
import { listProcesses, readProcess } from './scan.ts';

/** The file access did not end in time, or an earlier one has still not ended. */
export class Hung extends Error {
  override name = 'Hung';
}

/** A child process that does what may hang for ever: access to a shared disk whose server may be away. */
export interface Helper {
  /**
   * One request at a time, in order. Rejects with {@link Hung} after `timeoutMs`, counted from now; the child is then
   * killed. A process that waits in the kernel may survive that: until it is gone no other takes its place and every
   * request fails at once, so at most one access is under way.
   */
  ask(request: object, timeoutMs: number): Promise<unknown>;
  /** Has the child ready. */
  warm(): void;
  close(): void;
}

export interface HelperOptions {
  /** The name of its file beside this one, without extension. */
  readonly script: string;
  /** What it works on, for messages. */
  readonly subject: string;
  /** Where its pid is kept, so that a later agent knows of one that hangs. */
  readonly recordFile: string;
  readonly clock: Clock;
}

const LAST_LOOKS = 5;
const LAST_LOOK_MS = 20;

interface Waiting {
  readonly request: object;
  readonly settle: (answer: { value: unknown } | { error: Error }) => void;
}

export function createHelper(options: HelperOptions): Helper {
  const { subject, clock } = options;
  let child: ChildProcess | undefined;
  let current: Waiting | undefined;
  const queue: Waiting[] = [];
  let preparing = false;
  let closed = false;

  function ask(request: object, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let settled = false;
      const waiting: Waiting = {
        request,
        settle: (answer) => {
          if (settled) return;
          settled = true;
          cancel();
          if ('error' in answer) reject(answer.error);
          else resolve(answer.value);
        },
      };
      const cancel = clock.after(timeoutMs, () => {
        waiting.settle({ error: new Hung(`Cannot access ${subject}: no answer within ${timeoutMs} ms`) });
        if (current === waiting) discard();
        else queue.splice(queue.indexOf(waiting), 1);
        next();
      });
      queue.push(waiting);
      next();
    });
  }

  function next(): void {
    if (current !== undefined || preparing || queue.length === 0 || closed) return;
    preparing = true;
    void readyOrProblem().then((ready) => {
      preparing = false;
      const waiting = queue.shift();
      if (waiting === undefined) return; // it has given up meanwhile
      if (ready instanceof Error) {
        waiting.settle({ error: ready });
        next();
        return;
      }
      current = waiting;
      (ready.stdin as Writable).write(`${JSON.stringify(waiting.request)}\n`); // stdio says "pipe"
    });
  }

  async function readyOrProblem(): Promise<ChildProcess | Error> {
    try {
      return await childOrHung();
    } catch (error) {
      return new Error(`Cannot access ${subject}: the helper process does not start`, { cause: error });
    }
  }

  async function childOrHung(): Promise<ChildProcess | Hung> {
    if (child !== undefined) return child;
    // One that can be killed is gone in a moment.
    let left = leftOver(options.recordFile);
    for (let look = 0; left !== undefined && look < LAST_LOOKS; look += 1) {
      await clock.sleep(LAST_LOOK_MS);
      left = leftOver(options.recordFile);
    }
    if (left !== undefined) {
      return new Hung(`Cannot access ${subject}: process ${left} of an earlier access still hangs`);
    }
    if (child !== undefined) return child;
    const spawned = spawnHelper(options);
    child = spawned;
    let buffered = '';
    const stdout = spawned.stdout as Readable; // stdio says "pipe"
    stdout.setEncoding('utf8');
    stdout.on('data', (text: string) => {
      const lines = (buffered + text).split('\n');
      buffered = lines.pop() ?? '';
      for (const line of lines) answered(spawned, JSON.parse(line) as { value?: unknown; error?: string });
    });
    spawned.stdin?.on('error', () => {});
    spawned.on('error', () => gone(spawned));
    spawned.on('exit', () => gone(spawned));
    return spawned;
  }

  function answered(from: ChildProcess, answer: { value?: unknown; error?: string }): void {
    if (from !== child) return;
    const waiting = current;
    current = undefined;
    waiting?.settle(answer.error === undefined ? { value: answer.value } : { error: new Error(answer.error) });
    next();
  }

  function gone(from: ChildProcess): void {
    if (from !== child) return;
    child = undefined;
    const waiting = current;
    current = undefined;
    waiting?.settle({ error: new Error(`Cannot access ${subject}: the helper process ended`) });
    next();
  }

  function discard(): void {
    const hung = child;
    child = undefined;
    current = undefined;
    if (hung?.pid !== undefined) killGroup(hung.pid);
  }

  return {
    ask,
    warm: () => {
      if (closed || child !== undefined || preparing) return;
      preparing = true;
      void readyOrProblem().then(() => {
        preparing = false;
        next();
      });
    },
    close: () => {
      closed = true;
      child?.stdin?.end();
    },
  };
}

const HELPER_FLAGS = ['--max-old-space-size=32', '--max-semi-space-size=1'];

function spawnHelper({ script, recordFile }: HelperOptions): ChildProcess {
  const path = fileURLToPath(new URL(`./${script}${extname(import.meta.filename)}`, import.meta.url));
  const child = spawn(process.execPath, [...HELPER_FLAGS, path], {
    cwd: '/', // never on the disk
    // Without our mark: it is none of the user's processes, and one that hangs must not keep the node from serving.
    env: { PATH: SYSTEM_PATH },
    detached: true, // what it runs is in its group
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.unref();
  const started = child.pid === undefined ? undefined : readProcess(child.pid);
  if (started !== undefined) writeAtomic(recordFile, JSON.stringify({ pid: started.pid, start: started.startTicks }));
  return child;
}

/** Kills what is left of the last helper. The pid of what survives that, waiting in the kernel. */
function leftOver(recordFile: string): number | undefined {
  let record: { pid: number; start: number };
  try {
    record = JSON.parse(readFileSync(recordFile, 'utf8')) as typeof record; // written by ourselves, as a whole
  } catch {
    return undefined;
  }
  const left = listProcesses().filter(
    (process) =>
      process.startTicks >= record.start &&
      (process.pid === record.pid ? process.startTicks === record.start : process.group === record.pid) &&
      process.state !== 'Z',
  );
  if (left.length === 0) {
    rmSync(recordFile, { force: true });
    return undefined;
  }
  for (const process of left) killGroup(process.group === record.pid ? record.pid : process.pid);
  return left[0]?.pid;
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Gone.
  }
}
