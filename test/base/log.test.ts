import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { expect, onTestFinished, test, vi } from 'vitest';

/** The log on the stdout of a process of its own. */

function start(level = 'info', to: 'pipe' | number = 'pipe') {
  const program = join(import.meta.dirname, 'log-child.ts');
  const child = fork(program, [level], { stdio: ['ignore', to, 'inherit', 'ipc'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ask = async (word: string) => {
    const answered = once(child, 'message');
    child.send(word);
    await answered;
  };
  return { child, ask };
}

function startPiped(level?: string) {
  const { child, ask } = start(level);
  return { child, ask, stdout: child.stdout as Readable }; // stdio says "pipe"
}

/** The lines of `words`. The end is not waited for: lines that are under way then may come in another order. */
async function written(words: readonly string[], level?: string): Promise<string[]> {
  const { child, stdout, ask } = startPiped(level);
  let text = '';
  stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  for (const word of [...words, 'last']) await ask(word);
  await vi.waitUntil(() => text.endsWith('"msg":"last"}\n'), { timeout: 60_000 });
  await end(child);
  return text.split('\n').slice(0, -2);
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.disconnect();
  expect(await ended).toEqual([0, null]);
}

/** What a stream of Node reads without being asked to. */
const READ_AHEAD = 60_000;

const parsed = (lines: readonly string[]) => lines.map((line): Record<string, unknown> => JSON.parse(line));

test('a line is one JSON object: level, time, name, msg, and the fields as they were given', async () => {
  const beforeMs = Date.now();
  const [line, ...more] = parsed(await written(['fields']));
  expect(more).toEqual([]);
  expect(line).toEqual({
    ...{ level: 30, time: expect.any(String), name: 'test', msg: 'moved' },
    ...{ group: 'failover', epoch: 7, nodes: ['server1', 'server2'], move: { ms: 1.5 } },
  });
  const time = String(line?.['time']);
  expect(new Date(time).toISOString()).toBe(time);
  expect(Date.parse(time)).toBeGreaterThanOrEqual(beforeMs);
});

test.each([
  ['debug', ['d', 'i', 'w', 'e'], [20, 30, 40, 50]],
  ['info', ['i', 'w', 'e'], [30, 40, 50]],
  ['error', ['e'], [50]],
])('from level %s on', async (level, messages, levels) => {
  const lines = parsed(await written(['levels'], level));
  expect(lines.map(({ msg }) => msg)).toEqual(messages);
  expect(lines.map((line) => line['level'])).toEqual(levels);
});

test('what a log was made with stands on each of its lines', async () => {
  expect(parsed(await written(['with']))).toMatchObject([{ msg: 'plan', node: 'server1', group: 'g', do: 'start' }]);
});

test('an error is readable, its cause included', async () => {
  expect(parsed(await written(['error']))).toMatchObject([
    { msg: 'cannot read', error: 'it is away (connect ECONNREFUSED)', was: 'first' },
  ]);
});

test('a message of two lines is one line', async () => {
  const lines = await written(['newline', 'one']);
  expect(lines).toHaveLength(2);
  expect(parsed(lines)).toMatchObject([{ msg: 'two\nlines\r\nand \u2028 "quotes"', field: 'a\nb' }, { msg: 'one' }]);
});

test('what JSON cannot say costs no line and no process', async () => {
  expect(parsed(await written(['circular', 'one']))).toMatchObject([{ msg: 'circle' }, { msg: 'one' }]);
});

test('a reader that stalls stops nothing: what is too much is dropped, whole lines of it', async () => {
  const { child, stdout, ask } = startPiped();
  await ask('flood'); // nobody reads
  await ask('one');
  const lines: string[] = [];
  createInterface({ input: stdout }).on('line', (line) => lines.push(line));
  // What is kept goes out first, and until then more is dropped.
  await vi.waitUntil(
    async () => {
      await ask('one');
      return lines.some((line) => line.endsWith('"msg":"one"}'));
    },
    { timeout: 60_000 },
  );
  const floods = parsed(lines).filter(({ msg }) => msg === 'flood');
  expect(floods.length).toBeGreaterThan(0);
  expect(floods.length).toBeLessThan(8_192);
  expect(floods.map((line) => line['index'])).toEqual(floods.map((_, index) => index));
  await end(child);
});

test('nor does it keep the process from its end', async () => {
  const { child, stdout, ask } = startPiped();
  await ask('flood');
  await vi.waitUntil(() => stdout.readableLength >= READ_AHEAD, { timeout: 60_000 });
  await end(child);
});

test('a full disk under stdout ends nothing', async () => {
  const full = openSync('/dev/full', 'w');
  onTestFinished(() => closeSync(full));
  const { child, ask } = start('info', full);
  for (let times = 0; times < 20; times += 1) await ask('one');
  await end(child);
});

test.each([
  ['that had read everything', 'one', 1],
  ['that had not read everything', 'some', READ_AHEAD],
  ['that had stalled', 'flood', READ_AHEAD],
])('a reader %s and is gone ends nothing', async (_, word, bytes) => {
  const { child, stdout, ask } = startPiped();
  await ask(word);
  await vi.waitUntil(() => stdout.readableLength >= bytes, { timeout: 60_000 });
  stdout.destroy();
  await once(stdout, 'close');
  for (let times = 0; times < 20; times += 1) await ask('one');
  await end(child);
});
