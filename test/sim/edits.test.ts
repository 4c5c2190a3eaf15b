import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applied, EDITS } from './edits.ts';
import type { Rule } from './rules.ts';

const ROOT = join(import.meta.dirname, '../..');

test.each(Object.entries(EDITS))(
  'the lines that keep the rule "%s" are where the simulator looks for them',
  (_, edits) => {
    for (const edit of edits) {
      const source = readFileSync(join(ROOT, edit.file), 'utf8');
      expect(applied(source, edit)).not.toBe(source);
    }
  },
);

/**
 * Some of those that are found soonest; `main.ts --without` finds the others. Where there are two or three, each keeps
 * what the others keep, and none is found alone.
 */
const FOUND_SOON: readonly (readonly Rule[])[] = [
  ...([
    ['age'],
    ['fence conditional'],
    ['the kill'],
    ['a missing Lease is no proof'],
    ['the agent kills too'],
  ] as const),
  ...([['Rejoined needs a holder'], ['every other node'], ["the file's own number"]] as const),
  ...([['no claim or epoch at or above'], ["the gate's round after the claim"]] as const),
  ['deadline from the start of the tick'],
  ['n above the highest ended', 'the GET'],
  ['ended kept', 'the GET'],
  ['ended before the report', 'the GET'],
  ['the gap', 'the deadline test', 'look before exec'],
];

describe('without the rule', () => {
  const cases = FOUND_SOON.map((rules) => ({ rules, said: rules.join('", and "') }));
  test.each(cases)('"$said", the simulator finds a violation', { timeout: 240_000 }, async ({ rules }) => {
    const { status, said } = await simulated(...rules.flatMap((rule) => ['--without', rule]), '--seeds', '400');
    expect(said).toMatch(/^seed \d+: (two processes|lost write|epochs|address)/m);
    expect(status).toBe(1);
  });
});

function simulated(...args: string[]): Promise<{ status: number; said: string }> {
  return new Promise((resolve) => {
    const main = join(import.meta.dirname, 'main.ts');
    execFile(process.execPath, [main, ...args], { timeout: 200_000 }, (error, stdout) => {
      resolve({ status: error === null ? 0 : Number(error.code), said: stdout });
    });
  });
}
