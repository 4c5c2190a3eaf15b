import { describe, expect, it } from 'vitest';
import { planFailover } from '../../src/decide/failover.ts';
import { fencingReady, type ReadinessSeen } from '../../src/decide/fencingready.ts';
import { type InstanceRead, type InstanceSeen, isProvenOff } from '../../src/decide/instance.ts';
import { nodeStatus } from '../../src/decide/nodestatus.ts';
import { startStep, stopStep } from '../../src/decide/power.ts';
import { outness } from '../../src/decide/proof.ts';
import type { NodeSeen } from '../../src/decide/seen.ts';
import { agedFor, assignment, type GroupChange, group, lease, NOW, node, report, running, seen, T0 } from './build.ts';

/** Fencing by EC2: what is a proof, what is done to get it, and when an instance is started again. */

const FENCED_MS = NOW.ms - 5_000;
const MARK = { instanceId: 'i-1', group: 'failover', epoch: 3, since: T0 };
const stopping = assignment({ state: 'Stopping' });

/** As it is read after the fence, and after our own stop found it stopped. */
function read(change: Partial<InstanceRead> = {}): InstanceRead {
  return { state: 'stopped', reason: 'Client.UserInitiatedShutdown', sentMs: NOW.ms - 1_000, ...change };
}
const FOUND_STOPPED = { answeredMs: NOW.ms - 2_000, found: 'stopped' } as const;
function instance(change: Partial<InstanceSeen> = {}): InstanceSeen {
  return { id: 'i-1', region: 'eu-central-1', read: read(), stop: FOUND_STOPPED, ...change };
}
const { stop: _, ...unstopped } = instance();
const { read: __, ...unread } = instance();

describe('isProvenOff()', () => {
  it.each<[string, InstanceSeen, boolean]>([
    ['stopped by us', instance(), true],
    ['terminated, whoever did it', instance({ ...unstopped, read: read({ state: 'terminated' }) }), true],
    ['powered off by its own guest, and stopped by us then', guest(), true],
    [
      'terminated, by an answer from before the fence',
      instance({ read: read({ state: 'terminated', sentMs: FENCED_MS - 1 }) }),
      false,
    ],
    ['stopped, by an answer from before the fence', instance({ read: read({ sentMs: FENCED_MS - 1 }) }), false],
    [
      'stopped, asked before our stop was answered',
      instance({ stop: { answeredMs: NOW.ms, found: 'stopped' } }),
      false,
    ],
    ['stopped, and our own stop was not answered', unstopped, false],
    [
      'stopped, though our own stop found it running: the read is older',
      instance({ stop: { ...FOUND_STOPPED, found: 'stopping' } }),
      false,
    ],
    ['hibernated', instance({ read: read({ reason: 'Client.UserInitiatedHibernate' }) }), false],
    [
      'interrupted by Spot, which may hibernate',
      instance({ read: read({ reason: 'Server.SpotInstanceShutdown' }) }),
      false,
    ],
    ['stopped for no reason that is told', instance({ read: { state: 'stopped', sentMs: NOW.ms } }), false],
    ['stopped for a reason that is new to us', instance({ read: read({ reason: 'Server.Quantum' }) }), false],
    ['stopping', instance({ read: read({ state: 'stopping' }) }), false],
    ['running', instance({ read: read({ state: 'running' }) }), false],
    ['not known to EC2', instance({ read: read({ state: 'missing' }) }), false],
    ['never read', unread, false],
  ])('%s', (_what, one, proven) => {
    expect(isProvenOff(one, FENCED_MS)).toBe(proven);
  });

  function guest(): InstanceSeen {
    return instance({ read: read({ reason: 'Client.InstanceInitiatedShutdown' }) });
  }
});

const fenced = lease({ holder: '', incarnation: 2, firstSeenMs: FENCED_MS, changedMs: FENCED_MS });
const lost = (change: Parameters<typeof node>[1] = {}) =>
  node('server1', { lease: fenced, incarnation: 1, report: running(3), ...change });
const heldAged = (change: Parameters<typeof node>[1] = {}) =>
  node('server1', { lease: agedFor(9_000), report: running(3), ...change });
const fit = node('server2');
const unfit = node('server2', { schedulable: false });
const silent = node('server2', { lease: agedFor(20_000) });

function look(nodes: readonly NodeSeen[], change: GroupChange = {}, seenInstance?: InstanceSeen) {
  return seen({ nodes, group: group({ policy: 'Instance', assignment: stopping, ...change }), instance: seenInstance });
}
const plan = (...args: Parameters<typeof look>) => planFailover(look(...args), NOW);
const kinds = (...args: Parameters<typeof look>) => plan(...args).deeds.map(({ kind }) => kind);

describe('the proofs under policy Instance', () => {
  const proofOf = (...args: Parameters<typeof look>) => {
    const found = outness(look(...args), stopping, NOW);
    return found.out ? found.proof : undefined;
  };
  const unsettled = node('server1', { report: report({ ended: 3, settled: false }) });
  const rejoined = (change = {}) => node('server1', { lease: lease({ incarnation: 2, ...change }) });

  it('take a settled release and a return as ever', () => {
    expect(proofOf([node('server1', { report: report({ ended: 3 }) }), fit])).toBe('Released');
    expect(proofOf([rejoined(), fit])).toBe('Rejoined');
  });
  it('take no fence, and no unsettled end however long ago', () => {
    const longAgo = { unsettledSinceMs: NOW.ms - 3_600_000 };
    expect(proofOf([lost(), fit])).toBeUndefined();
    expect(outness({ ...look([unsettled, fit]), ...longAgo }, stopping, NOW)).toMatchObject({
      out: false,
      unsettled: true,
    });
    expect(outness({ ...look([rejoined({ settled: false }), fit]), ...longAgo }, stopping, NOW).out).toBe(false);
  });
  it('take another boot, whatever the disk did not take before it', () => {
    const rebooted = lease({ incarnation: 2, bootId: 'boot-2', settled: false });
    const server1 = node('server1', { lease: rebooted, report: report({ ended: 3, settled: false }) });
    expect(proofOf([server1, fit])).toBe('Rejoined');
  });
  it('take the word of EC2, after the fence', () => {
    expect(proofOf([lost(), fit], {}, instance())).toBe('InstanceStopped');
    expect(proofOf([heldAged(), fit], {}, instance())).toBeUndefined();
  });
  it('take it about the instance that the epoch rests on, and about no other', () => {
    expect(proofOf([lost(), fit], {}, instance({ id: 'i-2' }))).toBeUndefined();
  });
  it('are those of the policy that the spec has when the next epoch is assigned', () => {
    expect(proofOf([lost(), fit], { policy: 'Lease' })).toBe('LeaseExpired');
    expect(proofOf([lost(), fit], { policy: 'Instance' })).toBeUndefined();
  });
});

describe('a lost node under policy Instance', () => {
  it('is promised to be stopped and fenced first, when another can take the group', () => {
    const first = plan([heldAged(), fit], { assignment: assignment() });
    expect(first).toMatchObject({
      assignment: { state: 'Stopping', epoch: 3 },
      move: { reason: 'NodeLost', from: 'server1' },
    });
    expect(first.deeds.map(({ kind }) => kind)).toEqual(['Fence']);
    expect(kinds([lost(), fit])).toEqual(['StopInstance']);
  });
  it('is left alone before its Lease has aged', () => {
    expect(kinds([node('server1', { lease: agedFor(7_000), report: running(3) }), fit])).toEqual([]);
  });
  it('has its next epoch assigned by the word of EC2, and the time is told', () => {
    const move = { from: 'server1', reason: 'NodeLost', message: '', startedAt: NOW.iso, steps: {} };
    const next = planFailover({ ...look([lost(), fit], { move }, instance()), moveStartMs: NOW.ms - 30_000 }, NOW);
    expect(next).toMatchObject({
      assignment: { node: 'server2', epoch: 4 },
      move: { proof: 'InstanceStopped', steps: { stoppedMs: 30_000 } },
    });
  });
  it('is not stopped when there is nowhere to go', () => {
    expect(plan([lost(), unfit])).toMatchObject({ reason: 'NoFitNode', deeds: [] });
    expect(plan([heldAged(), unfit], { assignment: assignment() })).toMatchObject({ reason: 'NoFitNode', deeds: [] });
  });
  it('is not stopped when every Lease ages: the trouble is more likely on our side', () => {
    expect(plan([lost(), silent])).toMatchObject({ reason: 'AllNodesOutOfTouch', deeds: [] });
  });
  it('is stopped for a group that is deleted, so that it can go, when another node is in touch', () => {
    expect(kinds([lost(), unfit], { deleting: true })).toEqual(['StopInstance']);
    expect(kinds([lost(), silent], { deleting: true })).toEqual([]);
    expect(kinds([lost(), unfit], { deleting: true }, instance())).toEqual(['RemoveFinalizer']);
  });
  it('is fenced but not stopped for a group that nobody wishes for', () => {
    expect(kinds([heldAged(), fit], { running: false })).toEqual(['Fence']);
    expect(plan([lost(), fit], { running: false })).toMatchObject({ reason: 'Stopping', deeds: [] });
  });
  it('is not stopped for a spec that was changed to Lease meanwhile', () => {
    expect(plan([lost(), fit], { policy: 'Lease' })).toMatchObject({
      assignment: { node: 'server2' },
      move: { proof: 'LeaseExpired' },
    });
  });
  it('needs its FailoverNode: without it nobody could promise to start the instance again', () => {
    expect(plan([lost({ missing: true }), fit])).toMatchObject({ reason: 'InstanceNotStopped', deeds: [] });
  });
});

describe('an end that the disk did not take, under policy Instance', () => {
  const unsettled = (change = {}) => node('server1', { report: report({ ended: 3, settled: false }), ...change });
  it('has the instance stopped first, and fenced when its Lease has aged', () => {
    const first = plan([unsettled(), fit], { assignment: assignment() });
    expect(first).toMatchObject({ assignment: { state: 'Stopping' }, move: { reason: 'NodeEnded' } });
    expect(first.deeds.map(({ kind }) => kind)).toEqual(['StopInstance']);
    expect(kinds([unsettled({ lease: agedFor(9_000) }), fit])).toEqual(['Fence']);
    expect(kinds([unsettled({ lease: { kind: 'missing' } }), fit])).toEqual(['CreateLease', 'StopInstance']);
  });
  it('stops nothing where there is nowhere to go', () => {
    expect(kinds([unsettled(), unfit])).toEqual([]);
  });
});

describe('what a held group says', () => {
  const BY_HAND = 'aws ec2 stop-instances --instance-ids i-1 --force --skip-os-shutdown --region eu-central-1';
  const says = (one: Partial<InstanceSeen>) => {
    const { reason, message } = plan([lost(), fit], {}, { id: 'i-1', region: 'eu-central-1', ...one });
    return `${reason}: ${message}`;
  };
  it('is the command that gives the proof', () => {
    expect(says({})).toMatch(/^StoppingInstance: /);
    expect(says({})).toContain(BY_HAND);
    const refused = says({ problem: "Cannot stop instance i-1: OperationNotPermitted: 'disableApiStop'" });
    expect(refused).toMatch(/^InstanceNotStopped: .*disableApiStop/);
    expect(refused).toContain(BY_HAND);
    expect(says({ stop: { ...FOUND_STOPPED, found: 'stopping' }, read: read({ state: 'stopping' }) })).toContain(
      'says "stopping"',
    );
  });
  it('is to start an instance that would go on where it stood', () => {
    for (const reason of ['Client.UserInitiatedHibernate', 'Server.SpotInstanceTermination'])
      expect(says({ stop: FOUND_STOPPED, read: read({ reason }) })).toMatch(
        /^InstanceNotStopped: .*aws ec2 start-instances --instance-ids i-1/,
      );
  });
  it('is that an instance which EC2 does not know proves nothing', () => {
    expect(says({ read: { state: 'missing', sentMs: NOW.ms } })).toMatch(
      /^InstanceNotStopped: .*EC2 knows no instance i-1/,
    );
  });
});

describe('an instance that was stopped', () => {
  it('is not needed off any more when no other node can take the group', () => {
    expect(kinds([lost({ stop: MARK }), unfit])).toEqual(['StartInstance']);
    expect(kinds([lost({ stop: MARK }), fit])).toEqual(['StopInstance']);
    expect(kinds([lost({ stop: MARK }), unfit], {}, instance())).toEqual(['StartInstance']);
  });
  it('is not needed off for a group that nobody wishes for, under either policy', () => {
    expect(kinds([lost({ stop: MARK }), fit], { running: false })).toEqual(['StartInstance']);
    expect(kinds([lost({ stop: MARK }), unfit], { policy: 'Lease' })).toEqual(['StartInstance']);
  });
  it('is left alone without our mark', () => {
    expect(kinds([lost(), unfit])).toEqual([]);
  });
  it('is told by its FailoverNode, with what EC2 says when it does not start it', () => {
    const one = lost({ stop: MARK });
    const condition = (problem?: string) => one.node && nodeStatus(one.node, one, [], NOW, problem).conditions;
    expect(condition()?.[0]).toMatchObject({ type: 'Ready', status: 'False', reason: 'InstanceStopped' });
    expect(condition('Cannot start instance i-1')).toMatchObject([{ reason: 'StartRefused' }, { type: 'Stalled' }]);
    expect(one.node && nodeStatus(one.node, one, [], NOW).stop).toEqual(MARK);
  });
});

describe('stopStep()', () => {
  it.each<[string, InstanceRead, boolean, string | undefined, string]>([
    ['marks one that runs, before it is stopped', read({ state: 'running' }), false, undefined, 'mark'],
    ['stops one that is marked', read({ state: 'running' }), true, undefined, 'stop'],
    ['waits while it is being stopped', read({ state: 'stopping' }), true, 'stopping', 'wait'],
    ['asks the stop itself when it is read as stopped', read(), true, 'stopping', 'stop'],
    ['stops it again when it runs all the same', read({ state: 'running' }), true, 'stopping', 'stop'],
    ['makes haste where somebody else is stopping it', read({ state: 'stopping' }), false, undefined, 'mark'],
    ['marks what is read as stopped, which may be an old answer', read(), false, undefined, 'mark'],
    ['is done when the stop itself found it stopped', read(), true, 'stopped', 'wait'],
    ['stops it again when somebody has started it since', read({ state: 'running' }), true, 'stopped', 'stop'],
    [
      'marks it when it was theirs, and they have started it since',
      read({ state: 'pending' }),
      false,
      'stopped',
      'mark',
    ],
    [
      'does not disturb a hibernation',
      read({ state: 'stopping', reason: 'Client.UserInitiatedHibernate' }),
      true,
      undefined,
      'wait',
    ],
    ['leaves what is terminated', read({ state: 'terminated' }), false, undefined, 'wait'],
    ['leaves what does not exist', read({ state: 'missing' }), true, undefined, 'wait'],
  ])('%s', (_what, one, marked, found, step) => {
    expect(stopStep(one, marked, found)).toBe(step);
  });
});

describe('startStep()', () => {
  it.each<[string, InstanceRead, string]>([
    ['starts what is stopped', read(), 'start'],
    ['starts what seems to run: only that answer takes the mark off', read({ state: 'running' }), 'start'],
    ['waits until it is stopped', read({ state: 'stopping' }), 'wait'],
    ['forgets what is terminated', read({ state: 'terminated' }), 'forget'],
    ['forgets what does not exist', read({ state: 'missing' }), 'forget'],
    ['never starts what somebody hibernated', read({ reason: 'Client.UserInitiatedHibernate' }), 'forget'],
  ])('%s', (_what, one, step) => {
    expect(startStep(one)).toBe(step);
  });
});

describe('FencingReady', () => {
  const of = (state: ReadinessSeen['state'], said = '', name = 'server1'): ReadinessSeen => ({
    node: name,
    instanceId: 'i-1',
    region: 'eu-central-1',
    state,
    said,
  });
  const stored = {
    type: 'FencingReady',
    status: 'True',
    reason: 'FencingReady',
    message: 'as it was',
    lastTransitionTime: T0,
  } as const;
  const conditionOf = (readiness: readonly ReadinessSeen[], change: GroupChange = {}) =>
    fencingReady({ ...look([node('server1'), fit], change), readiness })[0];

  it.each<[string, readonly ReadinessSeen[], object]>([
    ['is True when every instance could be stopped', [of('ready'), of('ready', '', 'server2')], { status: 'True' }],
    [
      'is False under stop protection, with the command that takes it off',
      [of('ready'), of('protected', '', 'server2')],
      {
        status: 'False',
        reason: 'StopProtected',
        message: expect.stringContaining(
          'aws ec2 modify-instance-attribute --instance-id i-1 --no-disable-api-stop --region eu-central-1',
        ),
      },
    ],
    [
      'is False without permission, with what to allow',
      [of('refused', 'allow ec2:StopInstances'), of('unanswered')],
      { status: 'False', reason: 'StopRefused', message: expect.stringContaining('allow ec2:StopInstances') },
    ],
    [
      'is Unknown while EC2 does not answer about one',
      [of('ready'), of('unanswered', 'no answer')],
      { status: 'Unknown', reason: 'FencingUnknown' },
    ],
    [
      'is Unknown before anybody has asked',
      [of('ready'), of('unasked')],
      { status: 'Unknown', reason: 'FencingUnknown' },
    ],
  ])('%s', (_what, readiness, expected) => {
    expect(conditionOf(readiness)).toMatchObject({ type: 'FencingReady', ...expected });
  });
  it('stays as it was until a new leader has asked', () => {
    expect(conditionOf([of('unasked')], { conditions: [stored] })).toMatchObject({
      status: 'True',
      message: 'as it was',
    });
    expect(conditionOf([of('unanswered')], { conditions: [stored] })).toMatchObject({ status: 'Unknown' });
  });
  it('is not there under policy Lease', () => {
    expect(conditionOf([of('protected')], { policy: 'Lease' })).toBeUndefined();
  });
});
