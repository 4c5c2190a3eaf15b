import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Assignment } from '../../src/crds/failovergroup.ts';
import {
  type AgentPlan,
  type AgentSeen,
  type ChannelSeen,
  planAgent,
  restartPauseMs,
  unfitness,
} from '../../src/decide/agent.ts';
import type { Gate } from '../../src/decide/channel.ts';

/** What the agent of node "a" does about one group. */

const NOW = { ms: 10_000 };
const BASIS: Assignment['basis'] = {
  mountPath: '/mnt/efs',
  diskId: 'disk-1',
  heartbeat: false,
  nodes: [],
  earlier: [],
};
const ASSIGNED: Assignment = { node: 'a', incarnation: 3, epoch: 7, state: 'Active', basis: BASIS };

/** Node "a" may start epoch 7 of the group: all five conditions hold. */
function mayStart(change: Partial<AgentSeen> = {}, assigned: Partial<Assignment> = {}): AgentSeen {
  const view = { exists: true, assignment: { ...ASSIGNED, ...assigned } } as const;
  return {
    node: 'a',
    nodeProblem: undefined,
    incarnation: 3,
    deadline: { untilMs: 12_000, unbrokenSinceMs: 5_000 },
    view,
    confirmed: { view, sentAtMs: 9_990 },
    record: { ended: 6, settled: true, spawned: 0 },
    process: { state: 'idle', epoch: 0 },
    disk: { state: 'mounted', id: 'disk-1' },
    hostProblem: undefined,
    recordedDiskId: 'disk-1',
    proof: { epoch: 7, proof: 'Released' },
    lockRefused: undefined,
    failures: [],
    restart: { limit: 3, windowMs: 600_000 },
    channel: undefined,
    underWay: { confirm: false, end: false },
    ...change,
  };
}

const running = (change: Partial<AgentSeen> = {}, assigned: Partial<Assignment> = {}) =>
  mayStart(
    { process: { state: 'running', epoch: 7 }, record: { ended: 6, settled: true, spawned: 7 }, ...change },
    assigned,
  );

const channel = (change: Partial<ChannelSeen> = {}): ChannelSeen => ({
  highest: { epoch: 6, node: 'b' },
  claimed: 7,
  gate: { state: 'passed' },
  ...change,
});

interface Row {
  readonly when: string;
  readonly seen: AgentSeen;
  readonly does: Partial<AgentPlan>;
}

const ROWS: readonly Row[] = [
  { when: 'all five conditions hold', seen: mayStart(), does: { do: 'start', serving: true } },
  // Condition 1
  {
    when: 'only the watch has shown the assignment',
    seen: mayStart({ confirmed: undefined }),
    does: { do: 'confirm' },
  },
  {
    when: 'the GET showed an older epoch than the watch',
    seen: mayStart({ confirmed: { view: { exists: true, assignment: { ...ASSIGNED, epoch: 6 } }, sentAtMs: 9_990 } }),
    does: { do: 'confirm' },
  },
  {
    when: 'the GET was sent before a gap in the deadline',
    seen: mayStart({ deadline: { untilMs: 12_000, unbrokenSinceMs: 9_991 } }),
    does: { do: 'confirm' },
  },
  {
    when: 'it is being asked already',
    seen: mayStart({ confirmed: undefined, underWay: { confirm: true, end: false } }),
    does: { do: 'nothing', reason: 'Confirming' },
  },
  {
    when: 'the assignment is for an older incarnation',
    seen: mayStart({ incarnation: 4 }),
    does: { do: 'endEpoch', epoch: 7 },
  },
  {
    when: 'the assignment is for an incarnation we do not have yet',
    seen: mayStart({ incarnation: 2 }),
    does: { do: 'nothing', reason: 'OtherIncarnation' },
  },
  { when: 'no Lease is held', seen: mayStart({ incarnation: undefined }), does: { do: 'nothing', reason: 'NoLease' } },
  { when: 'another node has it', seen: mayStart({}, { node: 'b' }), does: { do: 'nothing', reason: 'Elsewhere' } },
  // Condition 2
  {
    when: 'the epoch has ended here',
    seen: mayStart({ record: { ended: 7, settled: true, spawned: 7 } }),
    does: { do: 'nothing', reason: 'EpochEnded' },
  },
  // Condition 3
  {
    when: 'the deadline has passed',
    seen: mayStart({ deadline: { untilMs: 10_000, unbrokenSinceMs: 5_000 } }),
    does: { do: 'nothing', reason: 'DeadlinePassed' },
  },
  // Condition 4
  {
    when: 'nothing is mounted',
    seen: mayStart({ disk: { state: 'notMounted', message: 'nothing there' } }),
    does: { do: 'nothing', reason: 'DiskNotMounted' },
  },
  {
    when: 'another disk is mounted',
    seen: mayStart({ disk: { state: 'mounted', id: 'disk-2' } }),
    does: { do: 'nothing', reason: 'OtherDisk' },
  },
  {
    when: 'the id of the disk has not been read',
    seen: mayStart({ disk: { state: 'mounted', id: undefined } }),
    does: { do: 'nothing', reason: 'DiskUnknown' },
  },
  // The host
  {
    when: 'the host does not allow the command',
    seen: mayStart({ hostProblem: { reason: 'CommandNotAllowed', message: 'no' } }),
    does: { do: 'nothing', reason: 'CommandNotAllowed' },
  },
  {
    when: 'the host is another instance',
    seen: mayStart({ nodeProblem: { reason: 'InstanceMismatch', message: 'no' } }),
    does: { do: 'nothing', reason: 'InstanceMismatch' },
  },
  // Stopping
  { when: 'it runs as assigned', seen: running(), does: { do: 'nothing', reason: 'Running', serving: true } },
  { when: 'the epoch is to end', seen: running({}, { state: 'Stopping' }), does: { do: 'stop', serving: false } },
  { when: 'another node has a higher epoch', seen: running({}, { node: 'b', epoch: 8 }), does: { do: 'stop' } },
  { when: 'it has a higher epoch itself', seen: running({}, { epoch: 8 }), does: { do: 'stop' } },
  { when: 'the assignment names another incarnation', seen: running({}, { incarnation: 4 }), does: { do: 'stop' } },
  {
    when: 'the view is older than what runs',
    seen: running({}, { node: 'b', epoch: 6, state: 'Stopping' }),
    does: { do: 'nothing', reason: 'Running' },
  },
  {
    when: 'the deadline has passed: the shim sees to that, the epoch goes on',
    seen: running({ deadline: { untilMs: 1, unbrokenSinceMs: 0 } }),
    does: { do: 'nothing', reason: 'Running' },
  },
  {
    when: 'the group has lost its status: the controller makes it again from our report',
    seen: running({ view: { exists: true, assignment: undefined } }),
    does: { do: 'nothing', reason: 'Running' },
  },
  {
    when: 'the watch says that the group is gone',
    seen: running({ view: { exists: false }, confirmed: undefined }),
    does: { do: 'confirm', serving: true },
  },
  {
    when: 'a GET says so too',
    seen: running({ view: { exists: false }, confirmed: { view: { exists: false }, sentAtMs: 9_000 } }),
    does: { do: 'stop', reason: 'GroupGone' },
  },
  // Ending
  {
    when: 'it is being stopped',
    seen: running({ process: { state: 'stopping', epoch: 7 } }, { state: 'Stopping' }),
    does: { do: 'nothing', reason: 'Ending' },
  },
  {
    when: 'it has stopped',
    seen: running({ process: { state: 'idle', epoch: 7 } }, { state: 'Stopping' }),
    does: { do: 'endEpoch', epoch: 7 },
  },
  {
    when: 'it was fenced away and another node has it',
    seen: running({ process: { state: 'absent', epoch: 0 } }, { node: 'b', epoch: 8 }),
    does: { do: 'endEpoch', epoch: 7 },
  },
  {
    when: 'an epoch that never ran is to end',
    seen: mayStart({}, { state: 'Stopping' }),
    does: { do: 'endEpoch', epoch: 7 },
  },
  {
    when: 'the end is being written',
    seen: mayStart({ underWay: { confirm: false, end: true } }, { state: 'Stopping' }),
    does: { do: 'nothing', reason: 'EndingEpoch' },
  },
  // Restarts
  {
    when: 'it has exited once: back at once',
    seen: running({ process: { state: 'idle', epoch: 7 }, failures: [9_999] }),
    does: { do: 'start' },
  },
  {
    when: 'it has exited twice: a pause',
    seen: running({ process: { state: 'idle', epoch: 7 }, failures: [9_800, 9_999] }),
    does: { do: 'nothing', reason: 'RestartPause', lookAgainMs: 10_249, serving: true },
  },
  {
    when: 'it has exited more often than allowed',
    seen: running({ process: { state: 'idle', epoch: 7 }, failures: [1, 2, 3, 4] }),
    does: { do: 'giveUp', serving: false, lookAgainMs: 600_001 },
  },
  {
    when: 'the failures are older than the window',
    seen: running({
      process: { state: 'idle', epoch: 7 },
      failures: [1, 2, 3, 4],
      restart: { limit: 3, windowMs: 5_000 },
    }),
    does: { do: 'start' },
  },
  // The last belt
  {
    when: 'the lock is refused after a release: somebody has started it by hand',
    seen: mayStart({ lockRefused: { epoch: 7, holder: 'b, epoch 6', atMs: 9_900 } }),
    does: { do: 'nothing', reason: 'LockHeld', lookAgainMs: 10_900 },
  },
  {
    when: 'the lock was refused a while ago: it is tried again',
    seen: mayStart({ lockRefused: { epoch: 7, holder: 'b, epoch 6', atMs: 8_000 } }),
    does: { do: 'start', lock: true },
  },
  {
    when: 'the lock is refused after an expired Lease: the file server may keep it for a dead client',
    seen: mayStart({
      lockRefused: { epoch: 7, holder: 'b, epoch 6', atMs: 9_900 },
      proof: { epoch: 7, proof: 'LeaseExpired' },
    }),
    does: { do: 'start', lock: false },
  },
  {
    when: 'the expired Lease was the proof of an earlier epoch',
    seen: mayStart({
      lockRefused: { epoch: 7, holder: 'b, epoch 6', atMs: 9_900 },
      proof: { epoch: 6, proof: 'LeaseExpired' },
    }),
    does: { do: 'nothing', reason: 'LockHeld' },
  },
  // Condition 5
  {
    when: 'the gate on the disk is passed',
    seen: mayStart({ channel: channel() }),
    does: { do: 'start', serving: true },
  },
  {
    when: 'its claim is not on the disk',
    seen: mayStart({ channel: channel({ claimed: 6, gate: { state: 'unclaimed' } }) }),
    does: { do: 'claim', epoch: 7, serving: false },
  },
  {
    when: 'its claim is not on the disk and the deadline has passed',
    seen: mayStart({
      deadline: { untilMs: 10_000, unbrokenSinceMs: 5_000 },
      channel: channel({ gate: { state: 'unclaimed' } }),
    }),
    does: { do: 'nothing', reason: 'DeadlinePassed' },
  },
  {
    when: 'its claim is not on the disk and only the watch has shown the assignment',
    seen: mayStart({ confirmed: undefined, channel: channel({ gate: { state: 'unclaimed' } }) }),
    does: { do: 'confirm' },
  },
  {
    when: 'the disk has not been read since the claim',
    seen: mayStart({ channel: channel({ gate: { state: 'unread' } }) }),
    does: { do: 'look' },
  },
  {
    when: 'another node may still be running, by its file',
    seen: mayStart({ channel: channel({ gate: { state: 'closed', message: '', untilMs: 11_000 } }) }),
    does: { do: 'nothing', reason: 'GateClosed', lookAgainMs: 11_000 },
  },
  {
    when: 'another node has a number at or above the epoch',
    seen: mayStart({ channel: channel({ gate: { state: 'outnumbered', message: '' } }) }),
    does: { do: 'nothing', reason: 'Outnumbered' },
  },
  { when: 'all others have lower numbers', seen: running({ channel: channel() }), does: { reason: 'Running' } },
  {
    when: 'the gate is not passed any more while the process runs',
    seen: running({ channel: channel({ gate: { state: 'unread' } }) }),
    does: { reason: 'Running', serving: true },
  },
  {
    when: 'another node has claimed the epoch after it',
    seen: running({ channel: channel({ highest: { epoch: 8, node: 'b' } }) }),
    does: { do: 'stop', reason: 'Claimed' },
  },
  {
    when: 'another node has claimed its own epoch',
    seen: running({ channel: channel({ highest: { epoch: 7, node: 'b' } }) }),
    does: { do: 'stop', reason: 'Claimed' },
  },
  {
    when: 'it has stopped because another node has claimed an epoch',
    seen: running({ process: { state: 'idle', epoch: 7 }, channel: channel({ highest: { epoch: 8, node: 'b' } }) }),
    does: { do: 'endEpoch', epoch: 7 },
  },
  {
    when: 'another node has claimed an epoch above one that was never started here',
    seen: mayStart({
      channel: channel({ highest: { epoch: 8, node: 'b' }, gate: { state: 'outnumbered', message: '' } }),
    }),
    does: { do: 'nothing', reason: 'Outnumbered' },
  },
  {
    when: 'it had claimed an epoch that went on to another node',
    seen: mayStart({ channel: channel() }, { node: 'b', epoch: 8 }),
    does: { do: 'endEpoch', epoch: 7 },
  },
];

test.each(ROWS)('when $when', ({ seen, does }) => {
  expect(planAgent(seen, NOW)).toMatchObject(does);
});

describe('unfitness', () => {
  test('of a node that could run the group is nothing', () => {
    expect(unfitness(mayStart())).toBeUndefined();
  });
  test('names the disk that is recorded, also before anything is assigned', () => {
    const view = { exists: true, assignment: undefined } as const;
    expect(unfitness(mayStart({ view, disk: { state: 'mounted', id: 'disk-2' } }))).toMatchObject({
      reason: 'OtherDisk',
    });
    expect(unfitness(mayStart({ view, recordedDiskId: undefined }))).toBeUndefined();
  });
});

test('the pause before a restart is none, then grows, and has an end', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 50].map(restartPauseMs)).toEqual([0, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
});

const assignment = fc.option(
  fc.record({
    node: fc.constantFrom('a', 'b'),
    incarnation: fc.integer({ min: 2, max: 4 }),
    epoch: fc.integer({ min: 5, max: 8 }),
    state: fc.constantFrom('Active' as const, 'Stopping' as const),
    basis: fc.constant(BASIS),
  }),
  { nil: undefined },
);
const view = fc.oneof(
  fc.record({ exists: fc.constant(true as const), assignment }),
  fc.record({ exists: fc.constant(false as const) }),
);
const epoch = fc.integer({ min: 0, max: 8 });
const anything: fc.Arbitrary<AgentSeen> = fc.record({
  node: fc.constant('a'),
  nodeProblem: fc.option(fc.constant({ reason: 'InstanceMismatch', message: '' }), { nil: undefined, freq: 5 }),
  incarnation: fc.option(fc.integer({ min: 2, max: 4 }), { nil: undefined }),
  deadline: fc.record({
    untilMs: fc.integer({ min: 8_000, max: 12_000 }),
    unbrokenSinceMs: fc.integer({ min: 0, max: 10_000 }),
  }),
  view,
  confirmed: fc.option(fc.record({ view, sentAtMs: fc.integer({ min: 0, max: 10_000 }) }), { nil: undefined }),
  record: fc.record({ ended: epoch, settled: fc.boolean(), spawned: epoch }),
  process: fc.record({
    state: fc.constantFrom(...(['absent', 'idle', 'starting', 'running', 'stopping', 'ending'] as const)),
    epoch,
  }),
  disk: fc.oneof(
    fc.record({ state: fc.constant('mounted' as const), id: fc.constantFrom('disk-1', 'disk-2', undefined) }),
    fc.record({ state: fc.constantFrom('notMounted' as const, 'unknown' as const), message: fc.constant('') }),
  ),
  hostProblem: fc.option(fc.constant({ reason: 'UserUnknown', message: '' }), { nil: undefined, freq: 5 }),
  recordedDiskId: fc.constantFrom('disk-1', 'disk-2', undefined),
  proof: fc.option(fc.record({ epoch, proof: fc.constantFrom('Released' as const, 'LeaseExpired' as const) }), {
    nil: undefined,
  }),
  lockRefused: fc.option(fc.record({ epoch, holder: fc.constant('b'), atMs: fc.integer({ min: 0, max: 10_000 }) }), {
    nil: undefined,
  }),
  failures: fc.array(fc.integer({ min: 0, max: 10_000 }), { maxLength: 6 }).map((times) => times.sort((a, b) => a - b)),
  restart: fc.record({ limit: fc.integer({ min: 0, max: 3 }), windowMs: fc.constantFrom(1_000, 600_000) }),
  channel: fc.option(
    fc.record({
      highest: fc.option(fc.record({ epoch, node: fc.constant('b') }), { nil: undefined }),
      claimed: epoch,
      gate: fc.constantFrom<Gate>(
        { state: 'passed' },
        { state: 'unclaimed' },
        { state: 'unread' },
        { state: 'outnumbered', message: '' },
        { state: 'closed', message: '', untilMs: undefined },
      ),
    }),
    { nil: undefined },
  ),
  underWay: fc.record({ confirm: fc.boolean(), end: fc.boolean() }),
});

/** Everything as in `mayStart` but for a few fields, where the interesting cases lie; `anything` hardly meets them. */
const nearStart: fc.Arbitrary<AgentSeen> = fc
  .tuple(anything, fc.array(fc.constantFrom(...(Object.keys(mayStart()) as (keyof AgentSeen)[])), { maxLength: 4 }))
  .map(([strange, fields]) => {
    const chosen = fields.map((field) => [field, strange[field]]);
    return { ...mayStart(), ...Object.fromEntries(chosen) } as AgentSeen; // each value is one of that field
  });
const SEEN = fc.oneof(anything, nearStart);

/** Seeded, so that a failure is the same failure tomorrow; the simulator does the long runs. */
const RUNS = { numRuns: 20_000, seed: 20_261_123 };

test('whatever was seen, nothing starts unless all five conditions hold', () => {
  let starts = 0;
  fc.assert(
    fc.property(SEEN, (seen) => {
      const plan = planAgent(seen, NOW);
      if (plan.do !== 'start') return;
      starts += 1;
      const asked = seen.confirmed?.view;
      const shown = asked?.exists ? asked.assignment : undefined;
      expect(shown, 'condition 1').toMatchObject({
        node: 'a',
        incarnation: seen.incarnation,
        state: 'Active',
        epoch: plan.epoch,
      });
      expect(plan.epoch, 'condition 2').toBeGreaterThan(seen.record.ended);
      expect(seen.deadline.untilMs, 'condition 3').toBeGreaterThan(NOW.ms);
      expect(seen.deadline.unbrokenSinceMs, 'condition 3').toBeLessThanOrEqual(seen.confirmed!.sentAtMs);
      expect(seen.disk, 'condition 4').toMatchObject({ state: 'mounted', id: 'disk-1' });
      expect(seen.channel?.gate.state ?? 'passed', 'condition 5').toBe('passed');
      expect(seen.nodeProblem ?? seen.hostProblem).toBeUndefined();
      expect(['absent', 'idle']).toContain(seen.process.state);
    }),
    RUNS,
  );
  expect(starts, 'the property must have had something to say').toBeGreaterThan(500);
});

test('whatever was seen, an epoch is ended only while nothing of it lives, and never a second time', () => {
  fc.assert(
    fc.property(SEEN, (seen) => {
      const plan = planAgent(seen, NOW);
      if (plan.do !== 'endEpoch') return;
      expect(['absent', 'idle']).toContain(seen.process.state);
      expect(plan.epoch).toBeGreaterThan(seen.record.ended);
      expect(seen.underWay.end).toBe(false);
      expect(plan.serving).toBe(false);
    }),
    RUNS,
  );
});

test('whatever was seen, a living process is stopped exactly when its view says that it is over', () => {
  fc.assert(
    fc.property(SEEN, (seen) => {
      if (!['starting', 'running'].includes(seen.process.state) || seen.underWay.end) return;
      const named = seen.view.exists ? seen.view.assignment : undefined;
      const over =
        named !== undefined &&
        named.epoch >= seen.process.epoch &&
        (named.node !== 'a' ||
          named.state === 'Stopping' ||
          named.epoch > seen.process.epoch ||
          (seen.incarnation !== undefined && named.incarnation !== seen.incarnation) ||
          (seen.channel?.highest?.epoch ?? -1) >= seen.process.epoch);
      const gone = !seen.view.exists && seen.confirmed?.view.exists === false;
      const plan = planAgent(seen, NOW);
      expect(plan.do === 'stop').toBe(over || gone || seen.nodeProblem !== undefined);
      expect(['start', 'endEpoch', 'giveUp']).not.toContain(plan.do);
    }),
    RUNS,
  );
});
