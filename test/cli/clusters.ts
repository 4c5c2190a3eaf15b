import type { Cluster } from '../../src/cli/cluster.ts';
import type { FailoverGroup, Move } from '../../src/crds/failovergroup.ts';
import { diskMonitorStatus } from '../../src/decide/diskstatus.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import { nodeStatus } from '../../src/decide/nodestatus.ts';
import type { GroupSeen, NodeSeen } from '../../src/decide/seen.ts';
import type { NodeLease } from '../../src/kube/resources.ts';
import { disk, group, monitor, NOW, node, onDisk, reads, running, seen, vip } from '../decide/build.ts';

export const NOW_MS = Date.parse(NOW.iso);

/** A planned move to server2 that took 570 ms, two minutes ago. */
export const MOVE: Move = {
  from: 'server1',
  to: 'server2',
  reason: 'Requested',
  message: 'moving from server1 to server2, as requested',
  proof: 'Released',
  epoch: 3,
  generation: 1,
  startedAt: '2026-11-23T11:58:00.000Z',
  steps: { detectedMs: 0, releasedMs: 90, assignedMs: 96, routedMs: 260, startedMs: 300, readyMs: 570 },
};

/** server1 was lost a day ago; MinIO then took 420 ms to start on server2. */
export const LOSS: Move = {
  from: 'server1',
  to: 'server2',
  reason: 'NodeLost',
  message: 'the Lease of server1 aged and was fenced',
  proof: 'LeaseExpired',
  epoch: 2,
  generation: 1,
  startedAt: '2026-11-22T12:00:00.000Z',
  steps: { detectedMs: 8_000, fencedMs: 8_010, assignedMs: 8_030, routedMs: 8_250, startedMs: 8_180, readyMs: 8_450 },
};

export const HEALTHY = { ...disk('Healthy'), latencyMs: 4 };

/** server2 serves epoch 3, server1 could take it. A row changes what it is about. */
export function servedSeen(change: Partial<GroupSeen> = {}): GroupSeen {
  const assigned = onDisk({ node: 'server2' });
  const basis = {
    ...assigned.basis,
    nodes: ['server1', 'server2'].map((name) => ({ name, instanceId: `i-${name.slice(-1)}`, takeoverAfterSeconds: 8 })),
  };
  return seen({
    group: group({ assignment: { ...assigned, basis }, move: MOVE, history: [LOSS] }),
    nodes: [
      node('server1', { report: reads('server2', 'seen'), disks: [HEALTHY] }),
      node('server2', { report: running(3), disks: [HEALTHY] }),
    ],
    vips: [routes('InPlace')],
    monitors: [monitor()],
    ...change,
  });
}

/** The address, with its second table as `state` says. */
export function routes(state: 'InPlace' | 'Elsewhere' | 'Blackhole') {
  const placed = state === 'InPlace';
  return vip({
    status: {
      observedGeneration: 1,
      target: { node: 'server2', networkInterfaceId: 'eni-00000002', epoch: 3 },
      routeTables: [
        { id: 'rtb-00000001', state: 'InPlace', target: 'eni-00000002' },
        { id: 'rtb-0000000a', state, target: placed ? 'eni-00000002' : 'eni-00000009' },
      ],
      conditions: [
        {
          type: 'Ready',
          status: placed ? 'True' : 'False',
          reason: placed ? 'RoutesInPlace' : 'RoutesMoving',
          message: placed ? 'every route leads to server2' : 'pointing the routes at server2',
          lastTransitionTime: NOW.iso,
        },
      ],
    },
  });
}

/** Everything as the controller writes it when it has seen this. */
export function written(at: GroupSeen): Cluster {
  const status = groupStatus(at, planFailover(at, NOW), NOW);
  const stored: FailoverGroup = { ...at.group, status };
  return {
    groups: [stored],
    nodes: at.nodes.flatMap((one) => {
      if (one.node === undefined) return [];
      const own = nodeStatus(one.node, one, [stored], NOW);
      const report = one.node.status?.report;
      return [{ ...one.node, status: { ...own, ...(report ? { report } : {}) } }];
    }),
    vips: at.vips,
    monitors: at.monitors.map((one) => ({ ...one, status: diskMonitorStatus(one, at.nodes, NOW) })),
    leases: at.nodes.flatMap((one) => leaseOf(one)),
    controller: undefined,
    unreadable: [],
  };
}

function leaseOf({ name, node, lease }: NodeSeen): NodeLease[] {
  if (node === undefined || lease.kind !== 'present') return [];
  const renewTime = new Date(NOW_MS - (NOW.ms - lease.firstSeenMs)).toISOString();
  return [
    {
      metadata: { ...node.metadata, name },
      holder: lease.holder === '' ? '' : name,
      transitions: lease.incarnation,
      durationSeconds: lease.takeoverAfterMs / 1000,
      renewTime,
      acquireTime: renewTime,
      bootId: lease.bootId,
      settled: lease.settled,
    },
  ];
}
