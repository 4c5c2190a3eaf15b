import { describe, expect, it } from 'vitest';
import { planFailover, STARTUP_PATIENCE_MS } from '../../src/decide/failover.ts';
import type { GroupPlan } from '../../src/decide/plan.ts';
import type { GroupSeen } from '../../src/decide/seen.ts';
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
  vip,
} from './build.ts';

const stopping = assignment({ state: 'Stopping' });
const served = node('server1', { report: running(3) });
const spare = node('server2');

interface Row {
  readonly when: string;
  readonly seen: GroupSeen;
  readonly reason: GroupPlan['reason'];
  /** `node#epoch` of a new Active assignment, `stop` for Stopping, or nothing. */
  readonly assigns?: string;
  readonly deeds?: readonly string[];
  readonly says?: RegExp;
  readonly proof?: string;
}

const TABLE: readonly Row[] = [
  // Before anything runs
  {
    when: 'it was never seen',
    seen: seen({ group: group({ assignment: undefined, finalizers: [] }), nodes: [spare] }),
    reason: 'Pending',
    deeds: ['AddFinalizer'],
  },
  {
    when: 'every node is fit at the first start',
    seen: seen({ group: group({ assignment: undefined }), nodes: [node('server1'), spare] }),
    reason: 'Starting',
    assigns: 'server1#1',
  },
  {
    when: 'the preferred node has not shown up at the first start, and patience is left',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [node('server1', { lease: { kind: 'missing' } }), spare],
      unassignedSinceMs: NOW.ms - 1,
    }),
    reason: 'NoFitNode',
    says: /server1: AgentNeverSeen/,
  },
  {
    when: 'the preferred node has not shown up at the first start, and patience is over',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [node('server1', { lease: { kind: 'missing' } }), spare],
      unassignedSinceMs: NOW.ms - STARTUP_PATIENCE_MS,
    }),
    reason: 'Starting',
    assigns: 'server2#1',
  },
  {
    when: 'a report names an old epoch at the first start: it is never reused',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [node('server1', { report: report({ ended: 6 }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server1#7',
  },
  {
    when: 'no node exists',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [node('server1', { missing: true }), node('server2', { missing: true })],
    }),
    reason: 'NoFitNode',
    says: /there is no FailoverNode "server1" in namespace storage: create it/,
  },
  {
    when: 'the host allows the command on no node',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [
        node('server1', {
          report: report({ fit: false, reason: 'CommandNotAllowed', message: 'add the line "- /work/minio"' }),
        }),
      ],
    }),
    reason: 'NoFitNode',
    says: /CommandNotAllowed: add the line/,
  },
  {
    when: 'a node has another disk mounted',
    seen: seen({
      group: group({ assignment: undefined, nodes: ['server1'] }),
      nodes: [node('server1', { report: report({ diskId: 'disk-2' }) })],
    }),
    reason: 'NoFitNode',
    says: /OtherDisk.*its id is disk-2, the group's is disk-1/,
  },

  {
    when: 'no node has shown up long after patience is over',
    seen: seen({
      group: group({ assignment: undefined }),
      nodes: [node('server1', { lease: { kind: 'missing' } })],
      unassignedSinceMs: NOW.ms - 60_000,
    }),
    reason: 'NoFitNode',
  },

  // Serving
  { when: 'all is well', seen: seen({ nodes: [served, spare], vips: [routed(3)] }), reason: 'Serving' },
  {
    when: 'the process is not ready yet',
    seen: seen({ nodes: [node('server1', { report: { ...running(3), ready: false } }), spare] }),
    reason: 'Starting',
  },
  {
    when: 'the routes lead to an older epoch',
    seen: seen({ nodes: [served, spare], vips: [routed(2)] }),
    reason: 'RoutesPending',
  },
  { when: 'a VIP was never looked at', seen: seen({ nodes: [served, spare], vips: [vip()] }), reason: 'RoutesPending' },
  {
    when: 'the other node is lost: nothing moves',
    seen: seen({ nodes: [served, node('server2', { lease: agedFor(99_000) })], vips: [routed(3)] }),
    reason: 'Serving',
  },

  // A lost node
  {
    when: 'its Lease has not aged yet',
    seen: seen({ nodes: [node('server1', { lease: agedFor(7_999), report: running(3) }), spare] }),
    reason: 'NodeOutOfTouch',
  },
  {
    when: 'its Lease aged and another node is fit',
    seen: seen({ nodes: [node('server1', { lease: agedFor(8_000), report: running(3) }), spare] }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'its Lease aged by our default, but the record itself asks for more',
    seen: seen({
      nodes: [node('server1', { lease: agedFor(8_000, { takeoverAfterMs: 20_000 }), report: running(3) }), spare],
    }),
    reason: 'NodeOutOfTouch',
  },
  {
    when: 'every Lease ages',
    seen: seen({
      nodes: [
        node('server1', { lease: agedFor(60_000), report: running(3) }),
        node('server2', { lease: agedFor(60_000) }),
      ],
    }),
    reason: 'AllNodesOutOfTouch',
    says: /nothing is moved/,
  },
  {
    when: 'its Lease aged and the other node has no disk',
    seen: seen({
      nodes: [
        node('server1', { lease: agedFor(9_000) }),
        node('server2', { report: report({ fit: false, reason: 'DiskNotMounted', message: 'mount it' }) }),
      ],
    }),
    reason: 'NoFitNode',
    says: /server2: DiskNotMounted/,
  },
  {
    when: 'this controller has never seen the other node renew',
    seen: seen({
      nodes: [node('server1', { lease: agedFor(9_000) }), node('server2', { lease: lease({ changedMs: undefined }) })],
    }),
    reason: 'AllNodesOutOfTouch',
  },
  {
    when: 'its Lease was fenced',
    seen: seen({
      nodes: [
        node('server1', { lease: lease({ holder: '', incarnation: 2 }), report: running(3), incarnation: 1 }),
        spare,
      ],
    }),
    reason: 'Starting',
    assigns: 'server2#4',
    proof: 'LeaseExpired',
  },
  {
    when: 'its Lease is held by nobody but has the same incarnation: no proof, it must age',
    seen: seen({ nodes: [node('server1', { lease: lease({ holder: '' }), report: running(3) }), spare] }),
    reason: 'NodeOutOfTouch',
  },
  {
    when: 'its Lease is missing: no proof',
    seen: seen({ nodes: [node('server1', { lease: { kind: 'missing' }, report: running(3) }), spare] }),
    reason: 'WaitingForLease',
    deeds: ['CreateLease'],
  },
  {
    when: 'its Lease could not be read: no proof',
    seen: seen({ nodes: [node('server1', { lease: { kind: 'unknown' }, report: running(3) }), spare] }),
    reason: 'Serving',
  },
  {
    when: 'it came back after a boot',
    seen: seen({
      nodes: [node('server1', { lease: lease({ incarnation: 2, bootId: 'boot-2', settled: false }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server1#4',
    proof: 'Rejoined',
  },
  {
    when: 'it came back in the same boot, settled',
    seen: seen({ nodes: [node('server1', { lease: lease({ incarnation: 2 }) }), spare] }),
    reason: 'Starting',
    assigns: 'server1#4',
    proof: 'Rejoined',
  },
  {
    when: 'it came back in the same boot, unsettled',
    seen: seen({ nodes: [node('server1', { lease: lease({ incarnation: 2, settled: false }) }), spare] }),
    reason: 'WaitingToSettle',
  },
  {
    when: 'it came back in the same boot, unsettled, long enough ago',
    seen: seen({
      nodes: [node('server1', { lease: lease({ incarnation: 2, settled: false }) }), spare],
      unsettledSinceMs: NOW.ms - 8_000,
    }),
    reason: 'Starting',
    assigns: 'server1#4',
    proof: 'Rejoined',
  },

  // Moves
  {
    when: 'somebody asks for a move',
    seen: seen({ group: group({ wish: 'server2' }), nodes: [served, spare] }),
    reason: 'Requested',
    assigns: 'stop',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'somebody asks for where it is',
    seen: seen({ group: group({ wish: 'server1' }), nodes: [served, spare] }),
    reason: 'Serving',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'somebody asks for an unknown node',
    seen: seen({ group: group({ wish: 'server9' }), nodes: [served, spare] }),
    reason: 'Serving',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'somebody asks for an unfit node',
    seen: seen({ group: group({ wish: 'server2' }), nodes: [served, node('server2', { schedulable: false })] }),
    reason: 'Serving',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'somebody asks for a move of a stopped group',
    seen: seen({
      group: group({ wish: 'server2', running: false, assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Stopped',
    deeds: ['RemoveMoveWish'],
  },
  {
    when: 'the old node is still ending',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [node('server1', { report: { ...running(3), state: 'Stopping' } }), spare],
    }),
    reason: 'Stopping',
  },
  {
    when: 'the old node has ended, and a move was asked for',
    seen: seen({
      group: group({
        assignment: stopping,
        move: { from: 'server1', to: 'server2', reason: 'Requested', message: 'm', startedAt: NOW.iso, steps: {} },
      }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server2#4',
    proof: 'Released',
  },
  {
    when: 'the old node has ended, unsettled',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 3, settled: false }) }), spare],
    }),
    reason: 'WaitingToSettle',
  },
  {
    when: 'the old node has ended, unsettled, and has been rebooted since',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [
        node('server1', {
          report: report({ ended: 3, settled: false }),
          lease: lease({ incarnation: 2, bootId: 'boot-2', settled: false }),
        }),
        spare,
      ],
    }),
    reason: 'Starting',
    assigns: 'server1#4',
    proof: 'Rejoined',
  },
  {
    when: 'the old node has ended only the epoch before',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 2 }) }), spare],
    }),
    reason: 'Stopping',
  },
  {
    when: 'the old node dies while it is ending',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [node('server1', { lease: agedFor(8_000), report: running(3) }), spare],
    }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'its node is cordoned',
    seen: seen({ nodes: [node('server1', { schedulable: false, report: running(3) }), spare] }),
    reason: 'NodeCordoned',
    assigns: 'stop',
  },
  {
    when: 'its node is cordoned and there is no other',
    seen: seen({
      nodes: [node('server1', { schedulable: false, report: running(3) }), node('server2', { schedulable: false })],
      vips: [],
    }),
    reason: 'Serving',
  },
  {
    when: 'the FailoverNode of its node is being deleted',
    seen: seen({ nodes: [node('server1', { deleting: true, report: running(3) }), spare] }),
    reason: 'NodeDeleted',
    assigns: 'stop',
  },
  {
    when: 'the process fails',
    seen: seen({
      nodes: [node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } }), spare],
    }),
    reason: 'ProcessFailed',
    assigns: 'stop',
    says: /exit code 1/,
  },
  {
    when: 'the process fails and there is no other node',
    seen: seen({
      nodes: [
        node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } }),
        node('server2', { schedulable: false }),
      ],
    }),
    reason: 'ProcessFailed',
    says: /server2: Cordoned/,
  },
  {
    when: 'the process failed: it goes to the other node though this one comes first',
    seen: seen({
      group: group({
        assignment: stopping,
        move: { from: 'server1', reason: 'ProcessFailed', message: 'm', startedAt: NOW.iso, steps: {} },
      }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server2#4',
  },
  {
    when: 'the node that was assigned finds that it cannot run it',
    seen: seen({
      nodes: [node('server1', { report: report({ fit: false, reason: 'LockHeld', message: 'held by hand' }) }), spare],
    }),
    reason: 'NodeUnfit',
    assigns: 'stop',
    says: /held by hand/,
  },

  {
    when: 'the assignment was edited to an epoch that its node has long ended: the node is in a later one, so it is not out',
    seen: seen({
      group: group({ assignment: assignment({ epoch: 2 }) }),
      nodes: [node('server1', { report: running(5) }), spare],
    }),
    reason: 'Starting',
  },
  {
    when: 'the FailoverNode of its node is gone and no other can take it',
    seen: seen({ group: group({ assignment: stopping }), nodes: [node('server1', { missing: true }), spare] }),
    reason: 'WaitingForLease',
    says: /there is no FailoverNode "server1" any more.*create it again/,
  },
  {
    when: 'it is deleted and every node is gone for good',
    seen: seen({
      group: group({ deleting: true, assignment: stopping }),
      nodes: [
        node('server1', { lease: agedFor(600_000), report: running(3) }),
        node('server2', { lease: agedFor(600_000) }),
      ],
    }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },

  {
    when: 'the process failed on the other node before, under the same spec: it does not go round',
    seen: seen({
      nodes: [node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } }), spare],
      failures: [{ node: 'server2', agoMs: 60_000, message: 'exit code 1 there' }],
    }),
    reason: 'ProcessFailed',
    says: /server2: ProcessFailed: exit code 1 there; it is tried there again when restart.window \(10m\) has passed, or the spec is changed/,
  },
  {
    when: 'the process failed on the other node, and restart.window has passed since',
    seen: seen({
      nodes: [node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } }), spare],
      failures: [{ node: 'server2', agoMs: 600_000, message: 'exit code 1 there' }],
    }),
    reason: 'ProcessFailed',
    assigns: 'stop',
  },
  {
    when: 'its node is lost and the only other one is where the process failed before: better than nobody',
    seen: seen({
      nodes: [node('server1', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1 }), spare],
      failures: [{ node: 'server2', agoMs: 60_000, message: 'exit code 1 there' }],
    }),
    reason: 'Starting',
    assigns: 'server2#4',
    proof: 'LeaseExpired',
  },
  {
    when: 'its node is silent and the only other one is where the process failed before',
    seen: seen({
      nodes: [node('server1', { lease: agedFor(8_000), report: running(3) }), spare],
      failures: [{ node: 'server2', agoMs: 60_000, message: 'exit code 1 there' }],
    }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'somebody asks for the node where the process failed before',
    seen: seen({
      group: group({ wish: 'server2' }),
      nodes: [served, spare],
      failures: [{ node: 'server2', agoMs: 60_000, message: 'exit code 1 there' }],
    }),
    reason: 'Requested',
    assigns: 'stop',
    deeds: ['RemoveMoveWish'],
  },

  {
    when: 'the process fails, there is no other node, and the spec has just been changed',
    seen: seen({
      group: {
        ...group({ nodes: ['server1'] }),
        status: { ...group({ nodes: ['server1'] }).status!, observedGeneration: 0 },
      }, // the builder makes one
      nodes: [node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } })],
    }),
    reason: 'Startup',
    assigns: 'stop',
    says: /because the spec was changed/,
  },

  // Disks
  {
    when: 'its disk fails',
    seen: seen({
      nodes: [node('server1', { report: running(3), disks: [disk('Failed')] }), spare],
      monitors: [monitor()],
    }),
    reason: 'DiskFailed',
    assigns: 'stop',
  },
  {
    when: 'its disk fails and the monitor only reports',
    seen: seen({
      nodes: [node('server1', { report: running(3), disks: [disk('Failed')] }), spare],
      monitors: [monitor('Report')],
    }),
    reason: 'Serving',
  },
  {
    when: 'its disk fails and the monitor stops it',
    seen: seen({
      nodes: [node('server1', { report: running(3), disks: [disk('Failed')] }), spare],
      monitors: [monitor('Stop')],
    }),
    reason: 'DiskFailed',
    assigns: 'stop',
  },
  {
    when: 'it was stopped for its disk: it goes nowhere else',
    seen: seen({
      group: group({
        assignment: stopping,
        move: { from: 'server1', to: 'server1', reason: 'DiskFailed', message: 'm', startedAt: NOW.iso, steps: {} },
      }),
      nodes: [node('server1', { report: report({ ended: 3 }), disks: [disk('Failed')] }), spare],
      monitors: [monitor('Stop')],
    }),
    reason: 'NoFitNode',
  },
  {
    when: 'the disk fails on every node',
    seen: seen({
      nodes: [
        node('server1', { report: running(3), disks: [disk('Failed')] }),
        node('server2', { disks: [disk('Failed')] }),
      ],
      monitors: [monitor()],
    }),
    reason: 'DiskFailedEverywhere',
    says: /nothing is moved/,
  },
  {
    when: 'the disk fails on the other node only',
    seen: seen({ nodes: [served, node('server2', { disks: [disk('Failed')] })], monitors: [monitor()] }),
    reason: 'Serving',
  },

  // Stopping and deleting
  {
    when: 'the node that is to end it cannot, because the process waits in the kernel',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [
        node('server1', {
          report: { ...running(3), state: 'Stopping', fit: false, reason: 'ProcessStuck', message: 'process 7 waits' },
        }),
        spare,
      ],
    }),
    reason: 'ProcessStuck',
    says: /waiting for server1 to end epoch 3: process 7 waits/,
  },
  {
    when: 'the process of a node that should run it waits in the kernel after a kill',
    seen: seen({
      nodes: [
        node('server1', {
          report: { ...running(3), state: 'Stopping', fit: false, reason: 'ProcessStuck', message: 'process 7 waits' },
        }),
        spare,
      ],
    }),
    reason: 'NodeUnfit',
    assigns: 'stop',
    says: /process 7 waits/,
  },
  {
    when: 'it is told to stop',
    seen: seen({ group: group({ running: false }), nodes: [served, spare] }),
    reason: 'Stopping',
    assigns: 'stop',
  },
  {
    when: 'it has stopped',
    seen: seen({
      group: group({ running: false, assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Stopped',
  },
  {
    when: 'it is told to stop and its node is lost: that it has ended must be proven as well',
    seen: seen({
      group: group({ running: false, assignment: stopping }),
      nodes: [node('server1', { lease: agedFor(9_000), report: running(3) }), spare],
    }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'it is told to stop and every node is silent',
    seen: seen({
      group: group({ running: false, assignment: stopping }),
      nodes: [
        node('server1', { lease: agedFor(9_000), report: running(3) }),
        node('server2', { lease: agedFor(9_000) }),
      ],
    }),
    reason: 'AllNodesOutOfTouch',
  },
  {
    when: 'its node is taken out of spec.nodes',
    seen: seen({ group: group({ nodes: ['server2'] }), nodes: [spare, node('server1', { report: running(3) })] }),
    reason: 'NodeRemoved',
    assigns: 'stop',
  },
  {
    when: 'the status was wiped and the report names no disk: the id is recorded at the next chance',
    seen: seen({
      group: group({
        assignment: assignment({
          state: 'Stopping',
          basis: { mountPath: '/mnt/efs', heartbeat: false, nodes: [], earlier: [] },
        }),
        diskId: '',
      }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server1#4',
  },
  {
    when: 'the mount path is changed before the process came to run',
    seen: seen({
      group: group({ mountPath: '/mnt/new' }),
      nodes: [node('server1', { report: report({ epoch: 3, ended: 2 }) }), spare],
    }),
    reason: 'Startup',
    assigns: 'stop',
  },
  {
    when: 'the mount path is changed under a process that runs',
    seen: seen({ group: group({ mountPath: '/mnt/new' }), nodes: [served, spare], vips: [routed(3)] }),
    reason: 'Serving',
  },
  {
    when: 'it is wished for again',
    seen: seen({
      group: group({ assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Starting',
    assigns: 'server1#4',
  },
  {
    when: 'it is deleted while it runs',
    seen: seen({ group: group({ deleting: true }), nodes: [served, spare] }),
    reason: 'Deleting',
    assigns: 'stop',
  },
  {
    when: 'it is deleted and its node has ended',
    seen: seen({
      group: group({ deleting: true, assignment: stopping }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
    reason: 'Deleting',
    deeds: ['RemoveFinalizer'],
  },
  {
    when: 'it is deleted and its node is lost',
    seen: seen({
      group: group({ deleting: true, assignment: stopping }),
      nodes: [node('server1', { lease: agedFor(9_000), report: running(3) }), spare],
    }),
    reason: 'NodeLost',
    deeds: ['Fence'],
  },
  {
    when: 'it is deleted before it ever ran',
    seen: seen({ group: group({ deleting: true, assignment: undefined }), nodes: [spare] }),
    reason: 'Deleting',
    deeds: ['RemoveFinalizer'],
  },
];

describe('planFailover', () => {
  for (const row of TABLE) {
    it(`${row.reason}${row.assigns ? ` → ${row.assigns}` : ''} when ${row.when}`, () => {
      const plan = planFailover(row.seen, NOW);
      expect(plan.reason, plan.message).toBe(row.reason);
      expect(plan.deeds.map(({ kind }) => kind)).toEqual(row.deeds ?? []);
      expect(shortly(plan)).toBe(row.assigns);
      if (row.says) expect(plan.message).toMatch(row.says);
      if (row.proof) expect(plan.move?.proof).toBe(row.proof);
    });
  }

  it('refuses a move to an unfit node with the reason, and leaves the group alone', () => {
    const plan = planFailover(
      seen({ group: group({ wish: 'server2' }), nodes: [served, node('server2', { schedulable: false })] }),
      NOW,
    );
    expect(plan.refused).toBe(
      'Cannot move to "server2": Cordoned: spec.schedulable of its FailoverNode is false: set it to true to let groups come',
    );
    expect(plan.assignment).toBeUndefined();
  });

  it('stores that a group is new before it does anything else', () => {
    const { status: _, ...unseen } = group({ assignment: undefined, finalizers: [] });
    const plan = planFailover(seen({ group: unseen, nodes: [spare] }), NOW);
    expect(plan).toMatchObject({ reason: 'Pending', neverAssigned: true, deeds: [] });
  });

  it('looks again just when the Lease of the active node would be too old', () => {
    const plan = planFailover(seen({ nodes: [served, spare] }), NOW);
    expect(plan.lookAgainAtMs).toBe(NOW.ms - 500 + 5_000 + 1);
    const late = planFailover(
      seen({ nodes: [node('server1', { lease: agedFor(6_000), report: running(3) }), spare] }),
      NOW,
    );
    expect(late.lookAgainAtMs).toBe(NOW.ms - 6_000 + 8_000);
  });

  it('never asks to look again in the past, which would be a loop without a pause', () => {
    for (const row of TABLE) {
      const { lookAgainAtMs } = planFailover(row.seen, NOW);
      if (lookAgainAtMs !== undefined) expect(lookAgainAtMs, row.when).toBeGreaterThan(NOW.ms);
    }
  });

  it('fences the very record that was seen to age', () => {
    const plan = planFailover(
      seen({
        nodes: [node('server1', { lease: agedFor(8_000, { resourceVersion: '777' }), report: running(3) }), spare],
      }),
      NOW,
    );
    expect(plan.deeds).toEqual([{ kind: 'Fence', node: 'server1', resourceVersion: '777' }]);
  });

  it('names the incarnation and boot of the node it assigns', () => {
    const plan = planFailover(
      seen({
        group: group({ assignment: undefined }),
        nodes: [node('server1', { lease: lease({ incarnation: 9, bootId: 'boot-9' }) }), spare],
      }),
      NOW,
    );
    expect(plan.assignment).toMatchObject({ incarnation: 9, bootId: 'boot-9' });
  });
});

function shortly({ assignment: next }: GroupPlan): string | undefined {
  if (!next) return undefined;
  return next.state === 'Active' ? `${next.node}#${next.epoch}` : 'stop';
}
