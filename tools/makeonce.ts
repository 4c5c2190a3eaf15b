import { mkdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run } from './run.ts';

export interface Recipe {
  /** What is made: a file or a directory. It appears whole, or not at all. */
  readonly target: string;
  /** Makes it at `"$OUT"`: a shell script, run by `sh -eu`. */
  readonly script: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly timeoutMs: number;
}

/**
 * Makes a thing once, however many ask for it at the same time, in this process or in others: all wait for one lock.
 *
 * The lock is flock(1)'s, which the kernel drops when its holder dies, so nothing is ever left locked. The recipe runs
 * inside it and is renamed into place at its end, so a killed one leaves nothing that looks finished.
 *
 * Resolves to undefined when the target is there, else to what went wrong.
 */
export async function makeOnce(recipe: Recipe): Promise<string | undefined> {
  if (await exists(recipe.target)) return undefined;
  const directory = dirname(recipe.target);
  await mkdir(directory, { recursive: true });
  const lock = join(directory, `.${basename(recipe.target)}.lock`);
  const script = [
    'test -e "$TARGET" && exit 0',
    // Left by one that was killed; whoever holds the lock is alone with it.
    'rm -rf "$OUT"',
    recipe.script,
    'mv "$OUT" "$TARGET"',
  ].join('\n');
  const result = await run('flock', [lock, 'sh', '-euc', script], {
    cwd: recipe.cwd,
    env: { ...recipe.env, TARGET: recipe.target, OUT: join(directory, `.${basename(recipe.target)}.making`) },
    timeoutMs: recipe.timeoutMs,
  });
  if (result.code === 0 && (await exists(recipe.target))) return undefined;
  return result.output.trim() || `flock ended with ${result.code ?? 'a signal'}`;
}

export async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
