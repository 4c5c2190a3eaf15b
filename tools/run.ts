import { spawn } from 'node:child_process';

export interface RunResult {
  /** The exit code, or undefined when the command could not be started, was killed or ran out of time. */
  readonly code: number | undefined;
  /** What it wrote to stdout and stderr, the last 64 KiB. */
  readonly output: string;
}

export interface RunOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

const KEPT_CHARACTERS = 64 * 1024;

/** Runs a command to its end, or kills it and all its children after `timeoutMs`. Never rejects. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  return new Promise((resolve) => {
    // A process group of its own, so that a compiler's children end with it.
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-KEPT_CHARACTERS);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);

    const kill = () => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    };
    const timer = setTimeout(() => {
      output += `\n(killed: not done after ${options.timeoutMs / 1000} s)`;
      kill();
    }, options.timeoutMs);
    process.once('exit', kill);
    const end = (code: number | undefined) => {
      clearTimeout(timer);
      process.off('exit', kill);
      resolve({ code, output });
    };
    child.on('error', (error) => {
      output += error.message;
      end(undefined);
    });
    child.on('close', (code) => end(code ?? undefined));
  });
}
