import { describe, expect, it } from 'vitest';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import { unsettledEnds } from '../../src/decide/loststatus.ts';
import type { GroupPlan } from '../../src/decide/plan.ts';
import type { NodeSeen } from '../../src/decide/seen.ts';
import { agedFor, type GroupChange, group, lease, NOW, node, reads, report, running, seen } from './build.ts';

/** The call of these rows: the version of the group when its status was found lost. An answer names it. */
const CALL = '200';
const answer = (change = {}) => report({ rollCall: CALL, ...change });
const runs = (epoch: number) => ({ ...running(epoch), rollCall: CALL });

interface Row {
  readonly when: string;
  readonly nodes: readonly NodeSeen[];
  readonly group?: GroupChange;
  readonly reason: GroupPlan['reason'];
  /** `node#epoch state` */
  readonly assigns?: string;
  readonly deeds?: readonly string[];
  readonly says?: RegExp;
  /** For how long the controller has seen ends that the disk did not take. */
  readonly unsettledForMs?: number;
}

const idle = node('server1', { report: answer() });

const TABLE: readonly Row[] = [
  {
    when: 'one runs it and all have answered: that one has it',
    nodes: [idle, node('server2', { report: runs(4) })],
    reason: 'Adopted',
    assigns: 'server2#4 Active',
  },
  {
    when: 'one runs it and has answered, and the other has not: it may be in a later epoch',
    nodes: [node('server1', { report: report() }), node('server2', { report: runs(4) })],
    reason: 'StatusLost',
    says: /server1: it has not answered yet/,
  },
  {
    when: 'one reports an epoch, but from before the loss',
    nodes: [idle, node('server2', { report: running(4) })],
    reason: 'StatusLost',
    says: /server2: it has not answered yet/,
  },
  {
    when: 'one answered an earlier call',
    nodes: [idle, node('server2', { report: { ...running(4), rollCall: '150' } })],
    reason: 'StatusLost',
  },
  {
    when: 'one answered under an incarnation that it does not have any more',
    nodes: [idle, node('server2', { lease: lease({ incarnation: 3 }), incarnation: 2, report: runs(4) })],
    reason: 'StatusLost',
  },
  {
    when: 'the Lease of one has not been read',
    nodes: [idle, node('server2', { lease: { kind: 'unknown' }, report: runs(4) })],
    reason: 'StatusLost',
    says: /server2: its Lease has not been read yet/,
  },
  {
    when: 'the Lease of one is missing: it must age',
    nodes: [idle, node('server2', { lease: { kind: 'missing' }, report: runs(4) })],
    reason: 'StatusLost',
    deeds: ['CreateLease'],
  },
  {
    when: 'one was fenced: it is out, and the next epoch is above any there can have been',
    nodes: [
      idle,
      node('server2', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1, report: running(4) }),
    ],
    reason: 'Starting',
    assigns: 'server1#201 Active',
  },
  {
    when: 'the Lease of one was made anew and has not aged: that is no fence',
    nodes: [idle, node('server2', { lease: lease({ holder: '', bootId: '' }), report: running(4) })],
    reason: 'StatusLost',
  },
  {
    when: 'the Lease of one was made anew and has aged',
    nodes: [idle, node('server2', { lease: agedFor(8_000, { holder: '', bootId: '' }), report: running(4) })],
    reason: 'Starting',
    assigns: 'server1#201 Active',
  },
  {
    when: 'one is silent: it is fenced',
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: running(4) })],
    reason: 'StatusLost',
    deeds: ['Fence'],
  },
  {
    when: 'one is silent and another sees it live on the disk',
    nodes: [
      node('server1', { report: { ...reads('server2', 'seen'), rollCall: CALL } }),
      node('server2', { lease: agedFor(8_000), report: running(4) }),
    ],
    reason: 'StatusLost',
    says: /server2: it is out of touch with the API server and lives on the shared disk, by server1/,
  },
  {
    when: 'one is silent and ran by a second channel that the spec has no more: nobody would look whether it lives there',
    group: { heartbeat: false },
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: { ...running(4), heartbeat: true } })],
    reason: 'StatusLost',
    says: /server2: its Lease aged, which does not count for epoch 4, because sharedDisk.heartbeat/,
  },
  {
    when: 'one was fenced and ran by a second channel that the spec has no more',
    group: { heartbeat: false },
    nodes: [
      idle,
      node('server2', {
        lease: lease({ holder: '', incarnation: 2 }),
        incarnation: 1,
        report: { ...running(4), heartbeat: true },
      }),
    ],
    reason: 'StatusLost',
    says: /server2: its Lease aged, which does not count/,
  },
  {
    when: 'one is silent and ran by a second channel that the spec still has: the gate looks whether it lives there',
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: { ...running(4), heartbeat: true } })],
    reason: 'StatusLost',
    deeds: ['Fence'],
  },
  {
    when: 'one is silent and ran without a second channel',
    group: { heartbeat: false },
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: { ...running(4), heartbeat: false } })],
    reason: 'StatusLost',
    deeds: ['Fence'],
  },
  {
    when: 'it is deleted, and one that ran by a second channel is silent: nothing starts after it',
    group: { heartbeat: false, deleting: true },
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: { ...running(4), heartbeat: true } })],
    reason: 'StatusLost',
    deeds: ['Fence'],
  },
  {
    when: 'all are silent: nobody is fenced',
    nodes: [
      node('server1', { lease: agedFor(8_000), report: report() }),
      node('server2', { lease: agedFor(8_000), report: running(4) }),
    ],
    reason: 'StatusLost',
    says: /its Lease aged, as all do/,
  },
  {
    when: 'nobody runs it: it starts above the version of the group, which no epoch was ever above',
    nodes: [
      node('server1', { report: answer({ ended: 4, highestRead: 6 }) }),
      node('server2', { report: answer({ ended: 5 }) }),
    ],
    reason: 'Starting',
    assigns: 'server1#201 Active',
  },
  {
    when: 'nobody runs it, and a number beyond all versions was read on the disk',
    nodes: [idle, node('server2', { report: answer({ highestRead: 900 }) })],
    reason: 'Starting',
    assigns: 'server1#901 Active',
  },
  {
    when: 'the one that runs it was superseded, by what another has read on the disk: it ends first',
    nodes: [node('server1', { report: answer({ highestRead: 5 }) }), node('server2', { report: runs(4) })],
    reason: 'Adopted',
    assigns: 'server2#201 Stopping',
  },
  {
    when: 'one is in an epoch and runs nothing: a later one may have come and gone, so it ends under a new number',
    nodes: [idle, node('server2', { report: answer({ epoch: 4, ended: 3 }) })],
    reason: 'Adopted',
    assigns: 'server2#201 Stopping',
  },
  {
    when: 'a node that spec.nodes does not name runs it',
    nodes: [idle, node('server2', { report: answer() }), node('server3', { report: runs(4) })],
    reason: 'Adopted',
    assigns: 'server3#4 Active',
  },
  {
    when: 'one has ended on a disk that did not take it: what it wrote may still land',
    nodes: [idle, node('server2', { report: answer({ ended: 4, settled: false }) })],
    unsettledForMs: 7_999,
    reason: 'StatusLost',
    says: /server2: it has ended, but its disk did not take the end/,
  },
  {
    when: 'one has ended on a disk that did not take it, and what it wrote has had its time',
    nodes: [idle, node('server2', { report: answer({ ended: 4, settled: false }) })],
    unsettledForMs: 8_000,
    reason: 'Starting',
    assigns: 'server1#201 Active',
  },
  {
    when: 'one has ended on a disk that did not take it, under policy Instance: no wait is a proof of that',
    group: { policy: 'Instance' },
    nodes: [idle, node('server2', { report: answer({ ended: 4, settled: false }) })],
    unsettledForMs: 600_000,
    reason: 'StatusLost',
    says: /server2: .* reboot it/,
  },
  {
    when: 'one was fenced, under policy Instance: no fence is a proof',
    group: { policy: 'Instance' },
    nodes: [
      idle,
      node('server2', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1, report: running(4) }),
    ],
    reason: 'StatusLost',
    says: /server2: its Lease aged, which is no proof under fencing.policy Instance/,
  },
  {
    when: 'one is silent, under policy Instance: it is not fenced either',
    group: { policy: 'Instance' },
    nodes: [idle, node('server2', { lease: agedFor(8_000), report: running(4) })],
    reason: 'StatusLost',
    says: /server2: its Lease aged, which is no proof/,
  },
  {
    when: 'all have answered, under policy Instance',
    group: { policy: 'Instance' },
    nodes: [idle, node('server2', { report: answer({ ended: 4 }) })],
    reason: 'Starting',
    assigns: 'server1#201 Active',
  },
  {
    when: 'it is deleted: it is kept until all have answered',
    group: { deleting: true },
    nodes: [idle, node('server2', { report: running(4) })],
    reason: 'StatusLost',
  },
  {
    when: 'it is deleted and nobody runs it',
    group: { deleting: true },
    nodes: [idle, node('server2', { report: answer({ ended: 4 }) })],
    reason: 'Deleting',
    deeds: ['RemoveFinalizer'],
  },
  {
    when: 'it is to be stopped and nobody runs it',
    group: { running: false },
    nodes: [idle, node('server2', { report: answer({ ended: 4 }) })],
    reason: 'Stopped',
  },
];

describe('a lost status', () => {
  for (const row of TABLE) {
    it(`${row.reason}${row.assigns ? ` → ${row.assigns}` : ''} when ${row.when}`, () => {
      const lost = group({ assignment: undefined, lost: CALL, ...row.group });
      const unsettled = row.unsettledForMs === undefined ? {} : { unsettledSinceMs: NOW.ms - row.unsettledForMs };
      const plan = planFailover({ ...seen({ group: lost, nodes: row.nodes }), ...unsettled }, NOW);
      expect(plan.reason, plan.message).toBe(row.reason);
      expect(plan.deeds.map(({ kind }) => kind)).toEqual(row.deeds ?? []);
      const { assignment: next } = plan;
      expect(next && `${next.node}#${next.epoch} ${next.state}`).toBe(row.assigns);
      if (row.says) expect(plan.message).toMatch(row.says);
      if (plan.lookAgainAtMs !== undefined) expect(plan.lookAgainAtMs).toBeGreaterThan(NOW.ms);
    });
  }

  it('begins with a roll call, whatever the reports say', () => {
    const input = seen({
      group: group({ assignment: undefined, lost: true }),
      nodes: [node('server1'), node('server2', { report: running(4) })],
    });
    const plan = planFailover(input, NOW);
    expect(plan).toMatchObject({ reason: 'StatusLost', rollCall: '200', deeds: [] });
    expect(groupStatus(input, plan, NOW)).toMatchObject({ rollCall: '200' });
  });

  it('is what a new group has where a node is in an epoch of that name: it was removed by force and made anew', () => {
    const nodes = [node('server1'), node('server2', { report: running(4) })];
    expect(planFailover(seen({ group: group({ assignment: undefined }), nodes }), NOW).reason).toBe('StatusLost');
  });

  for (const [spec, here, made] of [
    [false, true, true],
    [false, undefined, true],
    [false, false, false],
    [true, false, true],
  ] as const) {
    it(`has ${made ? 'a' : 'no'} second channel again where the spec says ${spec} and the node that runs it ${here ?? 'nothing'}`, () => {
      const nodes = [
        idle,
        node('server2', { report: { ...runs(4), ...(here === undefined ? {} : { heartbeat: here }) } }),
      ];
      const lost = group({ assignment: undefined, lost: CALL, heartbeat: spec });
      const plan = planFailover(seen({ group: lost, nodes }), NOW);
      expect(plan.assignment).toMatchObject({ node: 'server2', epoch: 4, basis: { heartbeat: made } });
    });
  }

  it('moves nobody who lives by a second channel that the spec has no more', () => {
    const lost = group({ assignment: undefined, lost: CALL, heartbeat: false });
    const runsOnDisk = { ...runs(4), heartbeat: true };
    const input = seen({ group: lost, nodes: [idle, node('server2', { report: runsOnDisk })] });
    const { assignment } = planFailover(input, NOW);
    const cutOff = [idle, node('server2', { lease: agedFor(60_000), report: runsOnDisk })];
    const later = planFailover(seen({ group: group({ assignment, heartbeat: false }), nodes: cutOff }), NOW);
    expect(later).toMatchObject({ reason: 'ProofMissing', deeds: [] });
  });

  it('is over with the assignment: neither call nor newness is left', () => {
    const input = seen({
      group: group({ assignment: undefined, lost: CALL }),
      nodes: [idle, node('server2', { report: runs(4) })],
    });
    const status = groupStatus(input, planFailover(input, NOW), NOW);
    expect(status.assignment?.epoch).toBe(4);
    expect(status).not.toHaveProperty('rollCall');
    expect(status).not.toHaveProperty('neverAssigned');
  });

  it('has the time of an unsettled end begin anew with each that comes to it', () => {
    const ended = (at: number) => ({ report: answer({ ended: at, settled: false }) });
    const ends = (...nodes: NodeSeen[]) => unsettledEnds(seen({ group: group({ assignment: undefined }), nodes }));
    const one = ends(idle, node('server2', ended(4)));
    expect(one).toBeDefined();
    expect(ends(node('server1', ended(3)), node('server2', ended(4)))).not.toBe(one);
    expect(ends(idle, node('server2', ended(5)))).not.toBe(one);
    expect(ends(idle, node('server2', { report: runs(4) }))).toBeUndefined();
  });
});
