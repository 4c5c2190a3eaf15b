import { describe, expect, it } from 'vitest';
import { CLAIMED_AT_MOST } from '../../src/decide/claimedepoch.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import type { GroupPlan } from '../../src/decide/plan.ts';
import type { GroupSeen } from '../../src/decide/seen.ts';
import {
  agedFor,
  type GroupChange,
  group,
  lease,
  NOW,
  type NodeChange,
  node,
  onDisk,
  reads,
  report,
  routed,
  running,
  seen,
} from './build.ts';

/** server1 has epoch 3 with a second channel, and its Lease has aged. */
function silent(
  spare: NodeChange,
  change: GroupChange = {},
  more: readonly (NodeChange & { name: string })[] = [],
): GroupSeen {
  return seen({
    group: group({ assignment: onDisk(), ...change }),
    nodes: [
      node('server1', { lease: agedFor(9_000), report: running(3) }),
      node('server2', spare),
      ...more.map(({ name, ...rest }) => node(name, rest)),
    ],
    vips: [routed(3)],
  });
}

interface Row {
  readonly when: string;
  readonly seen: GroupSeen;
  readonly reason: GroupPlan['reason'];
  readonly deeds?: readonly string[];
  readonly says?: RegExp;
}

const TABLE: readonly Row[] = [
  {
    when: 'a neighbour sees it on the disk: it serves on',
    seen: silent({ report: reads('server1', 'seen') }),
    reason: 'SeenOnDisk',
    says: /server2 sees it live on the shared disk: it serves on, and nothing is moved/,
  },
  {
    when: 'a neighbour that could not even take the group sees it',
    seen: silent({ report: reads('server1', 'seen', { fit: false, reason: 'CommandMissing', message: 'm' }) }),
    reason: 'SeenOnDisk',
  },
  {
    when: 'one neighbour sees it and another does not',
    seen: silent({ report: reads('server1', 'notSeen') }, { nodes: ['server1', 'server2', 'server3'] }, [
      { name: 'server3', report: reads('server1', 'seen') },
    ]),
    reason: 'SeenOnDisk',
    says: /server3 sees it/,
  },
  {
    when: 'the neighbour does not see it: it is fenced',
    seen: silent({ report: reads('server1', 'notSeen') }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'one neighbour cannot read the disk and another does not see it',
    seen: silent({ report: reads('server1', 'unknown') }, { nodes: ['server1', 'server2', 'server3'] }, [
      { name: 'server3', report: reads('server1', 'notSeen') },
    ]),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'the neighbour cannot read the disk: unknown is not "not seen"',
    seen: silent({ report: reads('server1', 'unknown') }),
    reason: 'DiskUnread',
    says: /server2: cannot read the disk/,
  },
  {
    when: 'the neighbour has said nothing of it yet',
    seen: silent({ report: report() }),
    reason: 'DiskUnread',
    says: /server2: has not reported on it yet/,
  },
  {
    when: 'the neighbour missed it under an earlier incarnation',
    seen: silent({ lease: lease({ incarnation: 5 }), incarnation: 4, report: reads('server1', 'notSeen') }, {}, [
      { name: 'server3', report: report() },
    ]),
    reason: 'NoFitNode',
  },
  {
    when: 'the neighbour missed it under an earlier incarnation, and another could take the group',
    seen: silent(
      { lease: lease({ incarnation: 5 }), incarnation: 4, report: reads('server1', 'notSeen') },
      { nodes: ['server1', 'server2', 'server3'] },
      [{ name: 'server3', report: report() }],
    ),
    reason: 'DiskUnread',
    says: /server2: has not reported on it yet; server3: has not reported on it yet/,
  },
  {
    when: 'the neighbour saw it, and has fallen silent itself while a third misses it',
    seen: silent(
      { lease: agedFor(5_001), report: reads('server1', 'seen') },
      { nodes: ['server1', 'server2', 'server3'] },
      [{ name: 'server3', report: reads('server1', 'notSeen') }],
    ),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'this controller has not seen the neighbour renew yet',
    seen: silent({ lease: lease({ changedMs: undefined }), report: reads('server1', 'notSeen') }),
    reason: 'AllNodesOutOfTouch',
  },
  {
    when: 'the neighbour that misses it has another disk',
    seen: silent(
      { report: reads('server1', 'notSeen', { diskId: 'disk-2' }) },
      { nodes: ['server1', 'server2', 'server3'] },
      [{ name: 'server3', report: reads('server1', 'unknown') }],
    ),
    reason: 'DiskUnread',
    says: /server2: does not have the disk/,
  },
  {
    when: 'every Lease ages, whatever the last reports said',
    seen: silent({ lease: agedFor(9_000), report: reads('server1', 'notSeen') }),
    reason: 'AllNodesOutOfTouch',
    says: /nothing is moved/,
  },
  {
    when: 'it is seen and there is nowhere to go',
    seen: silent({ schedulable: false, report: reads('server1', 'seen') }),
    reason: 'SeenOnDisk',
  },
  {
    when: 'it is out of touch for a moment only, and seen',
    seen: seen({
      group: group({ assignment: onDisk() }),
      nodes: [
        node('server1', { lease: agedFor(6_000), report: running(3) }),
        node('server2', { report: reads('server1', 'seen') }),
      ],
      vips: [routed(3)],
    }),
    reason: 'SeenOnDisk',
  },
  {
    when: 'it is seen but was not ready when it was last heard',
    seen: seen({
      group: group({ assignment: onDisk() }),
      nodes: [
        node('server1', { lease: agedFor(9_000), report: { ...running(3), ready: false } }),
        node('server2', { report: reads('server1', 'seen') }),
      ],
    }),
    reason: 'NodeOutOfTouch',
    says: /it was not ready/,
  },
  {
    when: 'the epoch has no second channel, whatever neighbours say',
    seen: silent(
      { report: reads('server1', 'seen') },
      { assignment: { ...onDisk(), basis: { ...onDisk().basis, heartbeat: false } } },
    ),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },

  // Fenced for the sake of another group
  {
    when: 'it was fenced for another group and is seen: it serves this one until it comes back',
    seen: seen({
      group: group({ assignment: onDisk() }),
      nodes: [
        node('server1', { lease: agedFor(9_000, { holder: '', incarnation: 2 }), incarnation: 1, report: running(3) }),
        node('server2', { report: reads('server1', 'seen') }),
      ],
      vips: [routed(3)],
    }),
    reason: 'SeenOnDisk',
  },
  {
    when: 'it was fenced for another group and nobody can tell whether it lives: it may serve this one',
    seen: seen({
      group: group({ assignment: onDisk() }),
      nodes: [
        node('server1', { lease: agedFor(9_000, { holder: '', incarnation: 2 }), incarnation: 1, report: running(3) }),
        node('server2', { report: reads('server1', 'unknown') }),
      ],
    }),
    reason: 'DiskUnread',
  },
  {
    when: 'it was fenced and is not seen',
    seen: seen({
      group: group({ assignment: onDisk() }),
      nodes: [
        node('server1', { lease: agedFor(9_000, { holder: '', incarnation: 2 }), incarnation: 1, report: running(3) }),
        node('server2', { report: reads('server1', 'notSeen') }),
      ],
    }),
    reason: 'Starting',
  },

  // What people ask for
  {
    when: 'somebody asks for a move of one that is seen',
    seen: silent({ report: reads('server1', 'seen') }, { wish: 'server2' }),
    reason: 'Requested',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'the asked move is promised: it is fenced though it is seen',
    seen: silent({ report: reads('server1', 'seen') }, { assignment: onDisk({ state: 'Stopping' }) }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'the asked move is promised and nobody can read the disk',
    seen: silent({ report: reads('server1', 'unknown') }, { assignment: onDisk({ state: 'Stopping' }) }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'the asked move is promised and it was fenced while it is seen: the next tick stops it',
    seen: seen({
      group: group({ assignment: onDisk({ state: 'Stopping' }) }),
      nodes: [
        node('server1', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1, report: running(3) }),
        node('server2', { report: reads('server1', 'seen') }),
      ],
    }),
    reason: 'Starting',
  },
  {
    when: 'it is to end and is seen: nobody could tell it, so it is neither fenced nor called stopped',
    seen: silent({ report: reads('server1', 'seen') }, { running: false, assignment: onDisk({ state: 'Stopping' }) }),
    reason: 'WaitingForLease',
    says: /mend its way to the API server, or switch it off/,
  },
  {
    when: 'it is to end, was fenced for another group and is seen',
    seen: seen({
      group: group({ running: false, assignment: onDisk({ state: 'Stopping' }) }),
      nodes: [
        node('server1', { lease: agedFor(9_000, { holder: '', incarnation: 2 }), incarnation: 1, report: running(3) }),
        node('server2', { report: reads('server1', 'seen') }),
      ],
    }),
    reason: 'WaitingForLease',
  },
  {
    when: 'it is to end and nobody can tell whether it lives: it is neither fenced nor called stopped',
    seen: silent(
      { report: reads('server1', 'unknown') },
      { running: false, assignment: onDisk({ state: 'Stopping' }) },
    ),
    reason: 'DiskUnread',
  },
  {
    when: 'it is deleted and is seen: it is kept',
    seen: silent({ report: reads('server1', 'seen') }, { deleting: true, assignment: onDisk({ state: 'Stopping' }) }),
    reason: 'WaitingForLease',
  },
  {
    when: 'it is to end and nobody sees it',
    seen: silent(
      { report: reads('server1', 'notSeen') },
      { running: false, assignment: onDisk({ state: 'Stopping' }) },
    ),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },

  // A claim on the disk that is not below the holder's epoch
  {
    when: 'the new holder has read its own number on the disk: the next epoch is above it',
    seen: claimed(3),
    reason: 'EpochClaimed',
    says: /server1 has read epoch 3 on the shared disk, which is not below its own, 3/,
  },
  { when: 'the new holder has read a lower number', seen: claimed(2), reason: 'Starting' },
  {
    when: 'the holder runs all the same: by its gate it was let in',
    seen: claimed(5, { state: 'Running', ready: true }),
    reason: 'Serving',
  },
  {
    when: 'it was claimed again and again: somebody else is at it',
    seen: claimed(9, {}, { moves: CLAIMED_AT_MOST }),
    reason: 'EpochClaimed',
    says: /another Kubernetes cluster/,
  },
];

function claimed(highestRead: number, change = {}, { moves = 0 } = {}): GroupSeen {
  const move = {
    from: 'server1',
    reason: 'EpochClaimed',
    message: 'm',
    generation: 1,
    startedAt: NOW.iso,
    steps: {},
    epoch: 3,
  };
  const [last, ...history] = Array(moves).fill(move);
  return seen({
    group: group({ assignment: onDisk(), ...(last ? { move: last, history } : {}) }),
    nodes: [
      node('server1', { report: report({ epoch: 3, ended: 2, highestRead, ...change }) }),
      node('server2', { report: reads('server1', 'notSeen') }),
    ],
    vips: [routed(3)],
  });
}

describe('with a second channel', () => {
  for (const row of TABLE) {
    it(`${row.reason} when ${row.when}`, () => {
      const plan = planFailover(row.seen, NOW);
      expect(plan.reason, plan.message).toBe(row.reason);
      expect(plan.deeds.map(({ kind }) => kind)).toEqual(row.deeds ?? []);
      if (row.says) expect(plan.message).toMatch(row.says);
      if (plan.lookAgainAtMs !== undefined) expect(plan.lookAgainAtMs).toBeGreaterThan(NOW.ms);
    });
  }

  it('looks again when the word of the neighbour that sees it would not count any more', () => {
    const plan = planFailover(silent({ report: reads('server1', 'seen') }), NOW);
    expect(plan.lookAgainAtMs).toBe(NOW.ms - 500 + 5_000 + 1);
  });

  it('stays Ready and Available while it is seen, with the node that serves', () => {
    const input = silent({ report: reads('server1', 'seen') });
    const status = groupStatus(input, planFailover(input, NOW), NOW);
    expect(status.activeNode).toBe('server1');
    const told = status.conditions.map(({ type, status: is, reason }) => `${type} ${is} ${reason}`);
    expect(told).toEqual(['Ready True SeenOnDisk', 'Available True SeenOnDisk', 'Degraded False Redundant']);
  });

  it('is not Available while nobody can tell whether it runs', () => {
    const input = silent({ report: reads('server1', 'unknown') });
    const status = groupStatus(input, planFailover(input, NOW), NOW);
    expect(status.activeNode).toBeUndefined();
    expect(status.conditions.find(({ type }) => type === 'Ready')?.status).toBe('Unknown');
    expect(status.conditions.find(({ type }) => type === 'Available')?.status).toBe('False');
  });

  it('assigns above everything that a node has read on the disk', () => {
    const input = seen({
      group: group({ assignment: onDisk({ state: 'Stopping' }) }),
      nodes: [
        node('server1', { report: report({ ended: 3 }) }),
        node('server2', { report: reads('server1', 'notSeen', { highestRead: 11 }) }),
      ],
    });
    expect(planFailover(input, NOW).assignment?.epoch).toBe(12);
  });

  it('goes on with the same node above a claimed epoch, though another comes first', () => {
    const input = seen({
      group: group({
        nodes: ['server2', 'server1'],
        assignment: onDisk({ state: 'Stopping' }),
        move: { from: 'server1', reason: 'EpochClaimed', message: 'm', startedAt: NOW.iso, steps: {} },
      }),
      nodes: [node('server2'), node('server1', { report: report({ ended: 3, highestRead: 7 }) })],
    });
    expect(planFailover(input, NOW).assignment).toMatchObject({ node: 'server1', epoch: 8 });
  });
});
