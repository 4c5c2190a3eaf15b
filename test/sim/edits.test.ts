import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applied, EDITS } from './edits.ts';

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

/** Some of those that are found soonest; `main.ts --without` finds the others. */
const FOUND_SOON = ['age', 'fence conditional', 'the kill', 'a missing Lease is no proof', 'the agent kills too'];

describe('without the rule', () => {
  test.each(FOUND_SOON)('"%s" the simulator finds a violation', { timeout: 240_000 }, async (rule) => {
    const { status, said } = await simulated('--without', rule, '--seeds', '150');
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
