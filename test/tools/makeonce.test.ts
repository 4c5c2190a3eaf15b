import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { exists, makeOnce } from '../../tools/makeonce.ts';
import { isAlive } from './alive.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pointsman-tools-'));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

const recipe = (script: string, timeoutMs = 20_000) => ({
  target: join(dir, 'cache', 'thing'),
  script,
  cwd: dir,
  env: { PATH: process.env['PATH'], LOG: join(dir, 'log') },
  timeoutMs,
});

test('makeOnce() makes a thing once, however many ask at the same time', async () => {
  await appendFile(join(dir, 'log'), '');
  const script = 'echo made >> "$LOG"; sleep 0.2; echo thing > "$OUT"';
  const answers = await Promise.all([1, 2, 3, 4].map(() => makeOnce(recipe(script))));
  expect(answers).toEqual([undefined, undefined, undefined, undefined]);
  expect(await readFile(join(dir, 'log'), 'utf8')).toBe('made\n');
  expect(await readFile(recipe('').target, 'utf8')).toBe('thing\n');
});

test('makeOnce() tells what the recipe said when it fails, and leaves nothing that looks finished', async () => {
  expect(await makeOnce(recipe('echo half > "$OUT"; echo "no compiler" >&2; false'))).toContain('no compiler');
  expect(await exists(recipe('').target)).toBe(false);
  expect(await makeOnce(recipe('test ! -e "$OUT"; echo thing > "$OUT"'))).toBeUndefined();
});

test('makeOnce() ends a recipe that hangs, with all its children, and the lock is free again', async () => {
  const hangs = 'sleep 60 & echo $! > "$LOG"; wait';
  expect(await makeOnce(recipe(hangs, 500))).toContain('not done after 0.5 s');
  const child = Number(await readFile(join(dir, 'log'), 'utf8'));
  await expect.poll(() => isAlive(child)).toBe(false);
  expect(await makeOnce(recipe('echo thing > "$OUT"', 5_000))).toBeUndefined();
});
