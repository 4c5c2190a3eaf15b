import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm, rmdir, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { keepBounded } from '../../src/agent/logfile.ts';
import { until } from './processes.ts';

/** Real files. The looks come when a test says so. */

const BOUND = 16 << 20;
const LOOK_EVERY_MS = 5_000;

let path: string;

beforeEach(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pointsman-log-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  path = join(directory, 'storage.failover.log');
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** The process's own end of it, which stays open. */
function writer(of: string): (text: string) => void {
  const fd = openSync(of, 'a', 0o640);
  onTestFinished(() => closeSync(fd));
  return (text) => void writeSync(fd, text);
}

/** Time passes, look by look, until `seen`. */
async function untilLooked(what: string, seen: () => boolean): Promise<void> {
  await until(what, () => {
    vi.advanceTimersByTime(LOOK_EVERY_MS);
    return seen();
  });
}

const sizeOf = (of: string) => (existsSync(of) ? statSync(of).size : undefined);
const isEmptied = (of: string) => sizeOf(of) === 0;

test('above 16 MiB it is copied and emptied, and who writes it goes on at its start', async () => {
  const write = writer(path);
  write('first\n');
  await truncate(path, BOUND); // a hole: nothing need be written
  write('last\n');
  keepBounded(path);
  await untilLooked('it is emptied', () => isEmptied(path));
  const kept = readFileSync(`${path}.1`, 'latin1');
  expect(kept.length).toBe(BOUND + 'last\n'.length);
  expect([kept.startsWith('first\n'), kept.endsWith('\0last\n')]).toEqual([true, true]);
  write('next\n');
  expect(readFileSync(path, 'latin1')).toBe('next\n');
});

test('up to 16 MiB it is left alone', async () => {
  const write = writer(path);
  await truncate(path, BOUND);
  keepBounded(path);
  await untilOtherEmptied();
  expect([sizeOf(path), sizeOf(`${path}.1`)]).toEqual([BOUND, undefined]);
  write('x');
  await untilLooked('it is emptied', () => isEmptied(path));
  expect(sizeOf(`${path}.1`)).toBe(BOUND + 1);
});

test('it never takes more than two files, however often that happens', async () => {
  const write = writer(path);
  keepBounded(path);
  for (const round of ['one', 'two', 'three']) {
    await truncate(path, BOUND);
    write(round);
    await untilLooked(`it is emptied after ${round}`, () => isEmptied(path));
    expect(readFileSync(`${path}.1`, 'latin1').endsWith(`\0${round}`)).toBe(true);
  }
  expect(readdirSync(dirname(path)).sort()).toEqual([basename(path), `${basename(path)}.1`]);
});

test('what cannot be copied is not emptied, and is tried again', async () => {
  keepBounded(path); // there is no such file yet
  await untilOtherEmptied();
  await mkdir(`${path}.1`);
  const write = writer(path);
  await truncate(path, BOUND);
  write('x');
  await untilOtherEmptied();
  expect(sizeOf(path)).toBe(BOUND + 1);
  await rmdir(`${path}.1`);
  await untilLooked('it is emptied', () => isEmptied(path));
  expect(sizeOf(`${path}.1`)).toBe(BOUND + 1);
});

/** Tells that looks have been: another file, kept bounded from now on, was over its bound and is not any more. */
async function untilOtherEmptied(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'pointsman-log-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const other = join(directory, 'other.log');
  writer(other)('x');
  await truncate(other, BOUND + 1);
  keepBounded(other);
  await untilLooked('the other is emptied', () => isEmptied(other));
}
