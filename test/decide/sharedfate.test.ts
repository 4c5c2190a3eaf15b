import { describe, expect, it } from 'vitest';
import type { DiskReport } from '../../src/crds/failovernode.ts';
import type { GroupSeen } from '../../src/decide/seen.ts';
import { type Fate, fateOf, RETURN_AFTER_MS } from '../../src/decide/sharedfate.ts';
import { situationOf } from '../../src/decide/situation.ts';
import { agedFor, disk, group, monitor, NOW, node, running, seen } from './build.ts';

/** The disk has failed on server1, which runs the group; the rows say what is known elsewhere. */
interface Row {
  readonly when: string;
  /** By node: what it reports of the monitor; `gone`: its Lease has aged; undefined: its report does not name it. */
  readonly elsewhere: readonly (DiskReport['state'] | 'gone' | undefined)[];
  readonly failingForMs?: number;
  readonly left?: GroupSeen['diskFlights'];
  readonly fate: Fate['kind'];
  readonly to?: string;
  readonly lookAgainInMs?: number;
}

const left = (agoMs: number, node = 'server2') => ({ node, agoMs, message: 'EIO' });

const TABLE: readonly Row[] = [
  { when: 'it works elsewhere', elsewhere: ['Healthy'], fate: 'leave', to: 'server2' },
  { when: 'it has failed elsewhere', elsewhere: ['Failed'], fate: 'shared' },
  { when: 'it has begun to fail elsewhere', elsewhere: ['Failing'], fate: 'wait' },
  { when: 'it was not probed elsewhere yet', elsewhere: ['Unknown'], fate: 'wait' },
  { when: 'it is probed only where the group runs', elsewhere: ['Idle'], fate: 'leave', to: 'server2' },
  { when: 'nobody probes it elsewhere', elsewhere: [undefined], fate: 'leave', to: 'server2' },
  { when: 'the other node is out of touch', elsewhere: ['gone'], fate: 'nowhere' },
  { when: 'the group has one node', elsewhere: [], fate: 'nowhere' },
  {
    when: 'its first failure was seen a moment ago, so the other node may not have probed since',
    elsewhere: ['Healthy'],
    failingForMs: 5_999,
    fate: 'wait',
    lookAgainInMs: 1,
  },
  {
    when: 'each node has probed since its first failure',
    elsewhere: ['Healthy'],
    failingForMs: 6_000,
    fate: 'leave',
    to: 'server2',
  },
  { when: 'one of two others works', elsewhere: ['Failing', 'Healthy'], fate: 'leave', to: 'server3' },
  { when: 'one of two others is undecided', elsewhere: ['Failed', 'Failing'], fate: 'wait' },
  { when: 'both others fail', elsewhere: ['Failed', 'Failed'], fate: 'shared' },
  { when: 'one other fails and one is out of touch', elsewhere: ['Failed', 'gone'], fate: 'nowhere' },
  {
    when: 'the group has come from there, because of its disk, a moment ago',
    elsewhere: ['Healthy'],
    left: [left(30_000)],
    fate: 'shared',
    lookAgainInMs: RETURN_AFTER_MS - 30_000,
  },
  {
    when: 'the group has come from there a moment ago, where the disk is not probed any more',
    elsewhere: ['Idle'],
    left: [left(30_000)],
    fate: 'shared',
    lookAgainInMs: RETURN_AFTER_MS - 30_000,
  },
  {
    when: 'the group has come from there long enough ago',
    elsewhere: ['Healthy'],
    left: [left(RETURN_AFTER_MS)],
    fate: 'leave',
    to: 'server2',
  },
  {
    when: 'the group has come from there twice',
    elsewhere: ['Healthy'],
    left: [left(RETURN_AFTER_MS), left(3 * RETURN_AFTER_MS)],
    fate: 'shared',
    lookAgainInMs: RETURN_AFTER_MS,
  },
  {
    when: 'the group has come from one of two others',
    elsewhere: ['Healthy', 'Healthy'],
    left: [left(30_000)],
    fate: 'leave',
    to: 'server3',
  },
];

describe('a disk that has failed on the active node', () => {
  it.each(TABLE)('$when: $fate', ({ elsewhere, failingForMs, left, fate, to, lookAgainInMs }) => {
    const others = elsewhere.map((state, at) =>
      node(`server${at + 2}`, {
        ...(state === 'gone' ? { lease: agedFor(20_000) } : {}),
        disks: state === undefined || state === 'gone' ? [] : [disk(state)],
      }),
    );
    const names = ['server1', ...others.map(({ name }) => name)];
    const value = seen({
      group: group({ nodes: names }),
      nodes: [node('server1', { report: running(3), disks: [disk('Failed')] }), ...others],
      monitors: [monitor()],
      diskFlights: left ?? [],
      diskFailingSinceMs: { diskw: NOW.ms - (failingForMs ?? 60_000) },
    });
    const found = fateOf(situationOf(value, NOW), monitor());
    expect(found).toMatchObject({ kind: fate, ...(to === undefined ? {} : { to }) });
    const again = 'lookAgainAtMs' in found ? found.lookAgainAtMs : undefined;
    expect(again).toBe(lookAgainInMs === undefined ? undefined : NOW.ms + lookAgainInMs);
  });
});
