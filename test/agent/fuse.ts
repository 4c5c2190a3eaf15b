import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system whose server does what a test asks. */
export interface Faulty {
  /** Every name in it is the same file. */
  readonly mountPoint: string;
  /** By operation: an errno, or `hang`: whoever asks waits in the kernel, and no signal ends that. */
  behave(behaviour: Readonly<Record<string, string>>): void;
  /** How many requests have been left without an answer. */
  hanging(): number;
  /** The server dies: everybody who waits is let go, with ENOTCONN. */
  end(): Promise<void>;
  close(): Promise<void>;
}

export async function mountFaulty(): Promise<Faulty> {
  const mountPoint = mkdtempSync(join(tmpdir(), 'pointsman-faulty-'));
  const behaviourFile = `${mountPoint}.json`;
  // As a whole: the server reads it at any time.
  const behave = (behaviour: object) => {
    writeFileSync(`${behaviourFile}.new`, JSON.stringify(behaviour));
    execFileSync('mv', [`${behaviourFile}.new`, behaviourFile]);
  };
  behave({});
  const script = join(import.meta.dirname, 'fuse-server.ts');
  const server: ChildProcess = spawn(process.execPath, [script, mountPoint, behaviourFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  await Promise.race([
    once(server.stdout as NodeJS.ReadableStream, 'data'), // stdio says "pipe"
    ended.then(() => Promise.reject(new Error('Cannot mount by FUSE: is /dev/fuse there?'))),
  ]);
  let hanging = 0;
  server.stdout?.on('data', (said: Buffer) => {
    hanging += said.toString().split('hangs').length - 1;
  });
  const end = async () => {
    server.kill('SIGKILL');
    await ended;
  };
  return {
    mountPoint,
    behave,
    hanging: () => hanging,
    end,
    close: async () => {
      await end();
      execFileSync('umount', ['--lazy', mountPoint]);
      rmdirSync(mountPoint);
      rmSync(behaviourFile);
    },
  };
}
