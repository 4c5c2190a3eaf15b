import { describe, expect, test } from 'vitest';
import { explore } from './explore.ts';
import { RULES } from './rules.ts';
import { MUTATIONS, WALKS } from './walks.ts';
import { worldModel } from './world.ts';

describe('in every order of everything that may happen', () => {
  test.each(WALKS)(
    '$name: never two processes, and the service can always come back',
    ({ options }) => {
      const { violation, whole } = explore(worldModel(options));
      if (violation) expect.fail(`${violation.message}\n${violation.story.join('\n')}`);
      expect(whole).toBe(true);
    },
    300_000,
  );
});

describe('without a rule the walk tells how it goes wrong', () => {
  test.each(MUTATIONS.map((mutation) => ({ ...mutation, rules: mutation.without.join(', and ') })))(
    '$rules',
    ({ options, without }) => {
      const { violation } = explore(worldModel({ ...options, without }), { checkService: false });
      expect(violation?.message).toMatch(/^two processes live|^epoch \d+ /);
      expect(violation?.story.length).toBeGreaterThan(3);
    },
    300_000,
  );

  test('there is a walk for each rule', () => {
    const shown = new Set(MUTATIONS.flatMap(({ without }) => without));
    expect(Object.keys(RULES).filter((rule) => !shown.has(rule as keyof typeof RULES))).toEqual([]);
  });
});
