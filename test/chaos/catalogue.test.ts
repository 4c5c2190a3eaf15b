import { expect, it } from 'vitest';
import { ALL_FAULTS } from '../../sandbox/chaos/faults.ts';

it('the catalogue names each fault once, with the sum that its outage should obey', () => {
  const names = ALL_FAULTS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, sum } of ALL_FAULTS) expect(sum, name).not.toBe('');
});
