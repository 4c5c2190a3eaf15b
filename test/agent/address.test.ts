import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';

/** The addresses, on a real interface in a network namespace that ends with the worker. Needs root. */

let seen: Record<'put' | 'again' | 'removed' | 'short' | 'expired', string[]> & { shown: string; refused: string };

beforeAll(() => {
  const worker = join(import.meta.dirname, 'address-worker.ts');
  seen = JSON.parse(execFileSync('unshare', ['--net', process.execPath, worker], { encoding: 'utf8' }));
});

test('are put there as hosts, ready at once, and again without harm', () => {
  expect(seen.put).toEqual(['10.1.0.20', '10.1.0.99', 'fd00::20']);
  expect(seen.shown).toContain('10.1.0.20/32');
  expect(seen.shown).toContain('fd00::20/128');
  expect(seen.shown).not.toMatch(/fd00::20.*tentative/);
  expect(seen.again).toEqual(seen.put);
});

test('are removed alone, and it is no error where one is not there', () => {
  expect(seen.removed).toEqual(['10.1.0.99', 'fd00::20']);
});

test('go by themselves when nobody prolongs them', () => {
  expect(seen.short).toContain('10.1.0.20');
  expect(seen.expired).toEqual(['10.1.0.99']);
});

test('an interface that is not there is said to be', () => {
  expect(seen.refused).toContain('Cannot run "ip');
});
