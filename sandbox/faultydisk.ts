import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A running `tools/faultydisk`: one mount that fails on command. */
export interface FaultyDisk {
  /** Resolves when every call from now on meets the fault. `ms`: of `slow`. */
  set(fault: string, ms: number): Promise<void>;
  readonly pid: number;
  /** At once, and the dead mount is left: whoever uses the mount gets ENOTCONN, whatever it waited for. */
  end(): Promise<void>;
}

interface Said {
  readonly id?: number;
  readonly mounted?: true;
  readonly error?: string;
}

const LIMIT_MS = 10_000;

/** Mounts `directory` at `point`. */
export async function mountFaultyDisk(program: string, directory: string, point: string): Promise<FaultyDisk> {
  const child: ChildProcess = spawn(program, [directory, point], { stdio: ['pipe', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk).slice(-2_000);
  });
  child.stdin?.on('error', () => {}); // it has ended
  const ended = once(child, 'exit');
  const waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  let calls = 0;
  const answerTo = (id: number) =>
    new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${program} does not answer`)), LIMIT_MS);
      late.unref();
      waiting.set(id, { resolve, reject });
    });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const said = JSON.parse(line) as Said; // see main.go
    const call = waiting.get(said.id ?? 0);
    if (said.error === undefined) call?.resolve();
    else call?.reject(new Error(said.error));
  });
  void ended.then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`The disk at ${point} has ended: ${errors.trim()}`));
  });
  await answerTo(0); // `mounted`
  return {
    pid: child.pid ?? -1,
    set: async (fault, ms) => {
      const id = ++calls;
      const answered = answerTo(id);
      child.stdin?.write(`${JSON.stringify({ id, fault, ms })}\n`);
      await answered;
    },
    end: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
