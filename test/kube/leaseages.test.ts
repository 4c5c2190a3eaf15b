import { expect, test } from 'vitest';
import { LeaseAges } from '../../src/kube/leaseages.ts';

test('a record ages from our first sight of it as it is', () => {
  const ages = new LeaseAges();
  ages.saw('server1', '10', 1_000);
  expect(ages.saw('server1', '10', 5_000)).toEqual({ resourceVersion: '10', firstSeenMs: 1_000 });
  expect(ages.saw('server1', '11', 6_000)).toMatchObject({ firstSeenMs: 6_000, changedMs: 6_000 });
  expect(ages.get('server1')).toMatchObject({ firstSeenMs: 6_000, changedMs: 6_000 });
});

test('nobody counts as alive before we ourselves saw its record change', () => {
  const ages = new LeaseAges();
  expect(ages.get('server1')).toBeUndefined();
  expect(ages.saw('server1', '10', 1_000).changedMs).toBeUndefined();
  ages.saw('server1', '11', 2_000);
  ages.reset();
  expect(ages.get('server1')).toBeUndefined();
  expect(ages.saw('server1', '12', 9_000)).toEqual({ resourceVersion: '12', firstSeenMs: 9_000 });
});

test('an old copy after a new one is no sign of life', () => {
  const ages = new LeaseAges();
  ages.saw('server1', '9', 1_000);
  ages.saw('server1', '10', 2_000);
  ages.saw('server1', '9', 3_000);
  expect(ages.saw('server1', '10', 4_000)).toMatchObject({ firstSeenMs: 2_000, changedMs: 2_000 });
});
