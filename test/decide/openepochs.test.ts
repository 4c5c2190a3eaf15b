import { describe, expect, it } from 'vitest';
import type { Proof } from '../../src/crds/failovergroup.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { MOST_OPEN, missingProof, type OpenEpoch, openAfter } from '../../src/decide/openepochs.ts';
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
  running,
  seen,
} from './build.ts';

const INSTANCES = ['server1', 'server2', 'server3'].map((name) => ({
  name,
  instanceId: `i-0000000${name.slice(-1)}`,
  takeoverAfterSeconds: 8,
}));

/** An epoch of server3 that was closed by nothing but its aged Lease. */
function open(change: Partial<OpenEpoch> = {}): OpenEpoch {
  return {
    ...{ epoch: 2, node: 'server3', incarnation: 4, bootId: 'boot-1' },
    ...{ mountPath: '/mnt/efs', diskId: 'disk-1', heartbeat: true, nodes: INSTANCES },
    ...change,
  };
}

/** Epoch 3 of server1, with what is open beside it. */
function present(earlier: readonly OpenEpoch[] = []) {
  const plain = onDisk();
  return { ...plain, basis: { ...plain.basis, nodes: INSTANCES, earlier: [...earlier] } };
}

function look(third: NodeChange, change: GroupChange = {}): GroupSeen {
  return seen({ group: group(change), nodes: [node('server1'), node('server2'), node('server3', third)] });
}

const away: NodeChange = {
  lease: lease({ holder: '', incarnation: 5 }),
  incarnation: 4,
  report: report({ epoch: 2, ended: 1 }),
};

describe('the open epochs of the next basis', () => {
  const rows: readonly {
    readonly when: string;
    readonly proof: Proof;
    readonly third?: NodeChange;
    readonly earlier?: readonly OpenEpoch[];
    /** Epoch and node of what stays open. */
    readonly opens: readonly string[];
  }[] = [
    { when: 'the present one was released', proof: 'Released', opens: [] },
    { when: 'its node rejoined', proof: 'Rejoined', opens: [] },
    { when: 'its instance was stopped', proof: 'InstanceStopped', opens: [] },
    { when: 'nothing but its Lease aged', proof: 'LeaseExpired', opens: ['3 server1'] },
    { when: 'an earlier one is still open', proof: 'Released', earlier: [open()], opens: ['2 server3'] },
    { when: 'both are open', proof: 'LeaseExpired', earlier: [open()], opens: ['2 server3', '3 server1'] },
    {
      when: 'the node of the earlier one says that it has ended',
      proof: 'Released',
      earlier: [open()],
      third: { ...away, report: report({ ended: 2 }) },
      opens: [],
    },
    {
      when: 'it says so and the disk did not take it',
      proof: 'Released',
      earlier: [open()],
      third: { ...away, report: report({ ended: 2, settled: false }) },
      opens: ['2 server3'],
    },
    {
      when: 'the node of the earlier one came back as another incarnation',
      proof: 'Released',
      earlier: [open()],
      third: { lease: lease({ incarnation: 6 }) },
      opens: [],
    },
    {
      when: 'it came back and the disk did not take what ran before',
      proof: 'Released',
      earlier: [open()],
      third: { lease: lease({ incarnation: 6, settled: false }) },
      opens: ['2 server3'],
    },
    {
      when: 'it came back so after a boot',
      proof: 'Released',
      earlier: [open()],
      third: { lease: lease({ incarnation: 6, settled: false, bootId: 'boot-2' }) },
      opens: [],
    },
    {
      when: 'an old copy of its Lease shows it held under the old incarnation',
      proof: 'Released',
      earlier: [open()],
      third: { lease: lease({ incarnation: 4 }) },
      opens: ['2 server3'],
    },
    {
      when: 'another instance has the name of the node by now',
      proof: 'Released',
      earlier: [open({ nodes: [{ name: 'server3', instanceId: 'i-09999999', takeoverAfterSeconds: 8 }] })],
      third: { lease: lease({ incarnation: 6 }), report: report({ ended: 2 }) },
      opens: ['2 server3'],
    },
    {
      when: 'its FailoverNode is gone',
      proof: 'Released',
      earlier: [open()],
      third: { ...away, missing: true },
      opens: ['2 server3'],
    },
    {
      when: 'the same server has had a later epoch, which has ended',
      proof: 'Released',
      earlier: [open({ node: 'server1' })],
      opens: [],
    },
    {
      when: 'the same server has had a later epoch, which is as open',
      proof: 'LeaseExpired',
      earlier: [open({ node: 'server1' })],
      opens: ['3 server1'],
    },
    {
      when: 'the same server has had a later epoch on another path',
      proof: 'LeaseExpired',
      earlier: [open({ node: 'server1', mountPath: '/mnt/old' })],
      opens: ['2 server1', '3 server1'],
    },
  ];
  for (const { when, proof, third = away, earlier = [], opens } of rows) {
    it(`${opens.join(' and ') || 'none'} when ${when}`, () => {
      const left = openAfter(look(third), present(earlier), proof);
      expect(left.map(({ epoch, node: name }) => `${epoch} ${name}`)).toEqual(opens);
    });
  }

  it('keep what the proofs of that epoch rest on', () => {
    expect(openAfter(look(away), present(), 'LeaseExpired')).toEqual([
      {
        ...{ epoch: 3, node: 'server1', incarnation: 1, bootId: 'boot-1' },
        ...{ mountPath: '/mnt/efs', diskId: 'disk-1', heartbeat: true, nodes: INSTANCES },
      },
    ]);
  });

  it('are written with the next assignment', () => {
    const input = seen({
      group: group({ assignment: present([open()]) }),
      nodes: [
        node('server1', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1 }),
        node('server2', { report: reads('server1', 'notSeen') }),
        node('server3', away),
      ],
    });
    const { assignment } = planFailover(input, NOW);
    expect(assignment?.epoch).toBe(4);
    expect(assignment?.basis.earlier.map(({ epoch }) => epoch)).toEqual([2, 3]);
  });
});

describe('a proof', () => {
  const rows: readonly {
    readonly when: string;
    readonly proof: Proof;
    readonly change?: GroupChange;
    readonly earlier?: readonly OpenEpoch[];
    readonly heartbeat?: boolean;
    readonly missing?: RegExp;
  }[] = [
    { when: 'an aged Lease, and nothing was changed', proof: 'LeaseExpired' },
    {
      when: 'an aged Lease, and the path was changed',
      proof: 'LeaseExpired',
      change: { mountPath: '/mnt/other' },
      missing:
        /Lease of server1 aged does not count for epoch 3, because sharedDisk.mountPath has been changed from \/mnt\/efs to \/mnt\/other since: set it back, or bring server1 back/,
    },
    {
      when: 'an aged Lease, and the second channel was dropped',
      proof: 'LeaseExpired',
      change: { heartbeat: false },
      missing: /sharedDisk.heartbeat has been set to false since: set it back to true/,
    },
    {
      when: 'an aged Lease, and the disk is another',
      proof: 'LeaseExpired',
      change: { diskId: 'disk-2' },
      missing: /the disk is another \(disk-2, not disk-1\)/,
    },
    { when: 'a release, and the path was changed', proof: 'Released', change: { mountPath: '/mnt/other' } },
    { when: 'another incarnation, and the channel was dropped', proof: 'Rejoined', change: { heartbeat: false } },
    {
      when: 'a stopped instance, and the path was changed',
      proof: 'InstanceStopped',
      change: { mountPath: '/mnt/other' },
    },
    {
      when: 'a release, and the channel was dropped while an earlier epoch is open',
      proof: 'Released',
      earlier: [open()],
      change: { heartbeat: false },
      missing: /Lease of server3 aged does not count for epoch 2/,
    },
    {
      when: 'an aged Lease of an epoch that had no second channel, and the path was changed',
      proof: 'LeaseExpired',
      heartbeat: false,
      change: { mountPath: '/mnt/other' },
    },
    {
      when: 'an aged Lease, and there is no room for one more open epoch',
      proof: 'LeaseExpired',
      earlier: full(),
      missing: /16 earlier epochs are closed by nothing but an aged Lease.*bring back one of server3/,
    },
    { when: 'a release, and there is no room for one more', proof: 'Released', earlier: full() },
  ];
  for (const { when, proof, change = {}, earlier = [], heartbeat = true, missing } of rows) {
    it(`${missing ? 'does not count' : 'counts'}: ${when}`, () => {
      const now = present(earlier);
      const said = missingProof(look(away, change), { ...now, basis: { ...now.basis, heartbeat } }, proof);
      if (missing) expect(said).toMatch(missing);
      else expect(said).toBeUndefined();
    });
  }

  it('that would not count is not brought about: nothing is fenced, and the message says what would count', () => {
    const input = seen({
      group: group({ assignment: present(), heartbeat: false }),
      nodes: [
        node('server1', { lease: agedFor(9_000), report: running(3) }),
        node('server2', { report: reads('server1', 'notSeen') }),
      ],
    });
    const plan = planFailover(input, NOW);
    expect(plan).toMatchObject({ reason: 'ProofMissing', deeds: [] });
    expect(plan.message).toMatch(/^Cannot move the group from server1: .*set it back to true/);
  });

  it('that does not count assigns nothing, and counts again when the change is taken back', () => {
    const nodes = [
      node('server1', { lease: lease({ holder: '', incarnation: 2 }), incarnation: 1 }),
      node('server2', { report: reads('server1', 'notSeen') }),
    ];
    const changed = planFailover(
      seen({ group: group({ assignment: present(), mountPath: '/mnt/other' }), nodes }),
      NOW,
    );
    expect(changed.reason, changed.message).toBe('ProofMissing');
    expect(changed.assignment).toBeUndefined();
    const back = planFailover(seen({ group: group({ assignment: present() }), nodes }), NOW);
    expect(back.assignment).toMatchObject({ node: 'server2', epoch: 4 });
  });
});

/** As many as can be kept, each of another path. */
function full(): OpenEpoch[] {
  return [...Array(MOST_OPEN).keys()].map((at) => open({ mountPath: `/mnt/${at}`, heartbeat: false }));
}
