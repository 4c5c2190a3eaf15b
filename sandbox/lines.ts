import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A worker in another network namespace: JSON lines in, JSON lines out. It ends when its standard input does. */
export interface Worker {
  send(message: object): void;
  onMessage(listener: (message: never) => void): void;
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

const STOP_LIMIT_MS = 2_000;

/** The launcher's end. The child has pipes for standard input and output. */
export function workerOf(child: ChildProcess): Worker {
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let listener: (message: never) => void = () => {};
  createInterface({ input: child.stdout! }).on('line', (line) => listener(JSON.parse(line) as never)); // pipes, see above
  child.stdin?.on('error', () => {}); // it has ended
  return {
    send: (message) => void child.stdin?.write(`${JSON.stringify(message)}\n`),
    onMessage: (wanted) => {
      listener = wanted;
    },
    exited,
    stop: async () => {
      child.stdin?.end();
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
      await exited;
      clearTimeout(late);
    },
  };
}

/** The worker's end: answers what comes, ends with its input. */
export function work(handle: (message: never) => void): (message: object) => void {
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => handle(JSON.parse(line) as never)); // the launcher's own words
  input.on('close', () => process.exit(0));
  return (message) => void process.stdout.write(`${JSON.stringify(message)}\n`);
}
