import { describe, expect, it } from 'vitest';
import type { Condition } from '../../src/crds/conditions.ts';
import { type FailoverGroup, failoverGroupStatus, type Move } from '../../src/crds/failovergroup.ts';
import { diskMonitorStatus } from '../../src/decide/diskstatus.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import { nodeStatus } from '../../src/decide/nodestatus.ts';
import type { GroupSeen, NodeSeen } from '../../src/decide/seen.ts';
import {
  agedFor,
  assignment,
  disk,
  group,
  lease,
  monitor,
  NOW,
  node,
  report,
  routed,
  running,
  seen,
  T0,
} from './build.ts';

const served = node('server1', { report: running(3) });
const spare = node('server2');
const statusOf = (what: GroupSeen) => groupStatus(what, planFailover(what, NOW), NOW);
const shortly = (conditions: readonly Condition[]) =>
  conditions.map(({ type, status, reason }) => `${type}=${status} ${reason}`);

const begun: Move = {
  from: 'server1',
  to: 'server2',
  reason: 'Requested',
  message: 'm',
  startedAt: T0,
  epoch: 3,
  steps: { detectedMs: 0, releasedMs: 40, assignedMs: 45 },
};

describe('groupStatus', () => {
  const rows: readonly { when: string; seen: GroupSeen; says: readonly string[]; active?: string }[] = [
    {
      when: 'all is well',
      seen: seen({ nodes: [served, spare], vips: [routed(3)] }),
      says: ['Ready=True Serving', 'Available=True Serving', 'Degraded=False Redundant'],
      active: 'server1',
    },
    {
      when: 'redundancy is lost: that is not "not ready"',
      seen: seen({ nodes: [served, node('server2', { lease: agedFor(9_000) })] }),
      says: ['Ready=True Serving', 'Available=True Serving', 'Degraded=True NotRedundant'],
      active: 'server1',
    },
    {
      when: 'the active node is out of touch: it may still serve',
      seen: seen({ nodes: [node('server1', { lease: agedFor(6_000), report: running(3) }), spare] }),
      says: [
        'Ready=Unknown NodeOutOfTouch',
        'Available=Unknown NodeOutOfTouch',
        'Degraded=False Redundant',
        'Reconciling=True NodeOutOfTouch',
      ],
      active: 'server1',
    },
    {
      when: 'it is stopped on purpose: the wish is fulfilled, nothing is served',
      seen: seen({
        group: group({ running: false }),
        nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
      }),
      says: ['Ready=True Stopped', 'Available=False Stopped', 'Degraded=False Redundant'],
    },
    {
      when: 'it waits for an agent: that may come by itself',
      seen: seen({
        group: group({ assignment: undefined, nodes: ['server1'] }),
        nodes: [node('server1', { lease: { kind: 'missing' } })],
      }),
      says: [
        'Ready=False NoFitNode',
        'Available=False NoFitNode',
        'Degraded=True NotRedundant',
        'Reconciling=True NoFitNode',
      ],
    },
    {
      when: 'every node needs a person: it is stalled',
      seen: seen({
        group: group({ assignment: undefined, nodes: ['server1'] }),
        nodes: [node('server1', { missing: true })],
      }),
      says: [
        'Ready=False NoFitNode',
        'Available=False NoFitNode',
        'Degraded=True NotRedundant',
        'Stalled=True NoFitNode',
      ],
    },
    {
      when: 'the routes are not there yet: nobody can reach it',
      seen: seen({ nodes: [served, spare], vips: [routed(2)] }),
      says: [
        'Ready=False RoutesPending',
        'Available=False RoutesPending',
        'Degraded=False Redundant',
        'Reconciling=True RoutesPending',
      ],
      active: 'server1',
    },
  ];
  it('does not claim from an old report that a node still serves once its Lease has aged', () => {
    const lost = seen({
      nodes: [node('server1', { lease: agedFor(20_000), report: running(3) }), node('server2', { schedulable: false })],
    });
    const status = statusOf(lost);
    expect(status.activeNode).toBeUndefined();
    expect(shortly(status.conditions)).toContain('Available=False NoFitNode');
  });

  it('is stalled once its process failed for good where no other node may come to be fit by itself', () => {
    const failed = node('server1', { report: { ...running(3), state: 'Failed' } });
    const says = (...others: NodeSeen[]) => shortly(statusOf(seen({ nodes: [failed, ...others] })).conditions).at(-1);
    expect(says(node('server2', { twin: 'server9' }))).toBe('Stalled=True ProcessFailed');
    expect(says(node('server2', { lease: agedFor(9_000) }))).toBe('Reconciling=True ProcessFailed');
    expect(says(node('server2'))).toBe('Reconciling=True ProcessFailed'); // it goes there
  });

  it('cuts a message that is longer than its own schema allows, instead of never moving', () => {
    const failed = node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'x'.repeat(1024) } });
    const what = seen({ nodes: [failed, spare] });
    expect(failoverGroupStatus.safeParse(statusOf(what)).success).toBe(true);
    expect(statusOf(what).move?.message.length).toBe(1024);
  });

  for (const row of rows) {
    it(`says so when ${row.when}`, () => {
      const status = statusOf(row.seen);
      expect(shortly(status.conditions)).toEqual(row.says);
      expect(status.activeNode).toBe(row.active);
      expect(status.observedGeneration).toBe(1);
    });
  }

  it('keeps the transition time of a condition whose status stays, and renews that of one that changes', () => {
    const before = seen({ nodes: [served, spare] });
    const stored = statusOf(before);
    const aged = stored.conditions.map((one) => ({ ...one, lastTransitionTime: T0 }));
    const later = seen({
      nodes: [served, node('server2', { schedulable: false })],
      group: { ...before.group, status: { ...stored, conditions: aged } },
    });
    const now = statusOf(later);
    expect(now.conditions.find(({ type }) => type === 'Ready')?.lastTransitionTime).toBe(T0);
    expect(now.conditions.find(({ type }) => type === 'Degraded')?.lastTransitionTime).toBe(NOW.iso);
  });

  it('measures each step once, when it is first seen', () => {
    const first = statusOf(
      seen({
        group: group({ move: begun }),
        nodes: [node('server1', { report: { ...running(3), ready: false } }), spare],
        moveStartMs: NOW.ms - 300,
        vips: [routed(3)],
      }),
    );
    expect(first.move?.steps).toEqual({ detectedMs: 0, releasedMs: 40, assignedMs: 45, startedMs: 300, routedMs: 300 });
    const stored = group({ move: first.move! }); // computed above
    const second = statusOf(
      seen({ group: stored, nodes: [served, spare], moveStartMs: NOW.ms - 700, vips: [routed(3)] }),
    );
    expect(second.move?.steps).toEqual({
      detectedMs: 0,
      releasedMs: 40,
      assignedMs: 45,
      startedMs: 300,
      routedMs: 300,
      readyMs: 700,
    });
  });

  it('puts a finished move into the history when the next begins, and leaves it out when it never made an epoch', () => {
    const cordoned = node('server1', { report: running(3), schedulable: false });
    expect(statusOf(seen({ group: group({ move: begun }), nodes: [cordoned, spare] })).history).toEqual([begun]);
    const { epoch: _, ...never } = begun;
    expect(statusOf(seen({ group: group({ move: never }), nodes: [cordoned, spare] })).history).toEqual([]);
  });

  it('changes nothing when nothing changed', () => {
    const before = seen({ nodes: [served, spare], vips: [routed(3)] });
    const stored = statusOf(before);
    const again = { ...before, group: { ...before.group, status: stored } };
    expect(groupStatus(again, planFailover(again, NOW), { ms: NOW.ms + 100, iso: '2026-11-23T12:01:00.000Z' })).toEqual(
      stored,
    );
  });
});

describe('nodeStatus', () => {
  const rows: readonly [string, Parameters<typeof node>[1], string][] = [
    ['its agent renews and reports', {}, 'Ready=True InTouch'],
    ['it is cordoned', { schedulable: false }, 'Ready=True Cordoned'],
    ['it has no Lease', { lease: { kind: 'missing' } }, 'Ready=False AgentNeverSeen'],
    ['its Lease was not read', { lease: { kind: 'unknown' } }, 'Ready=Unknown Unknown'],
    ['its Lease was fenced', { lease: lease({ holder: '' }) }, 'Ready=False Fenced'],
    ['it is silent', { lease: agedFor(9_000) }, 'Ready=False OutOfTouch'],
    ['this controller has just begun to look', { lease: lease({ changedMs: undefined }) }, 'Ready=Unknown Pending'],
    ['its report is of an older incarnation', { incarnation: 0 }, 'Ready=False NotReported'],
    ['another node has its instance', { twin: 'server9' }, 'Ready=False InstanceTwice'],
    [
      'the metadata service names another instance',
      { lease: { kind: 'missing' }, nodeProblem: { reason: 'InstanceMismatch', message: 'other' } },
      'Ready=False InstanceMismatch',
    ],
  ];
  for (const [when, change, says] of rows) {
    it(`is ${says} when ${when}`, () => {
      const one = node('server1', change);
      expect(shortly(nodeStatus(one.node!, one, [], NOW).conditions)[0]).toBe(says); // the builder makes one
    });
  }
});

describe('groups with and without a second channel on one node', () => {
  const told = (groups: readonly FailoverGroup[]) => {
    const one = node('server1');
    const { conditions } = nodeStatus(one.node!, one, groups, NOW); // the builder makes one
    return conditions.find(({ type }) => type === 'MixedChannels')?.message;
  };
  const named = (name: string, one: FailoverGroup) => ({ ...one, metadata: { ...one.metadata, name } });

  it('are told of, with what the fence for one does to the other', () => {
    const groups = [named('a', group()), named('b', group({ heartbeat: false }))];
    expect(told(groups)).toMatch(
      /^server1 is a node of groups with a second channel \(a\) and without \(b\): .*set sharedDisk.heartbeat alike/,
    );
  });

  it('are not where they share no node', () => {
    const apart = group({ heartbeat: false, nodes: ['server2'], assignment: assignment({ node: 'server2' }) });
    expect(told([named('a', group()), named('b', apart)])).toBeUndefined();
    expect(told([named('a', group()), named('b', group())])).toBeUndefined();
  });

  it('are where one has been taken out of spec.nodes and not moved yet', () => {
    expect(told([named('a', group()), named('b', group({ heartbeat: false, nodes: ['server2'] }))])).toBeDefined();
  });
});

describe('diskMonitorStatus', () => {
  const rows: readonly [string, Parameters<typeof node>[1][] | undefined, string][] = [
    ['it works everywhere', [{ disks: [disk('Healthy')] }, { disks: [disk('Healthy')] }], 'Ready=True Healthy'],
    ['it fails on one', [{ disks: [disk('Healthy')] }, { disks: [disk('Failed')] }], 'Ready=False Failed'],
    ['one probe failed', [{ disks: [disk('Failing')] }, { disks: [disk('Healthy')] }], 'Ready=True Failing'],
    ['a node has not reported', [{ disks: [disk('Healthy')] }, {}], 'Ready=Unknown Unknown'],
    [
      'a node that said "healthy" is silent now',
      [{ disks: [disk('Healthy')] }, { disks: [disk('Healthy')], lease: agedFor(9_000) }],
      'Ready=Unknown Unknown',
    ],
    ['its group does not exist', undefined, 'Ready=False GroupMissing'],
  ];
  for (const [when, changes, says] of rows) {
    it(`is ${says} when ${when}`, () => {
      const nodes = changes?.map((change, i) => node(`server${i + 1}`, change));
      expect(shortly(diskMonitorStatus(monitor(), nodes, NOW).conditions)[0]).toBe(says);
    });
  }
});
