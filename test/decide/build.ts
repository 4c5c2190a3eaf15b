import type { Condition } from '../../src/crds/conditions.ts';
import type { DiskMonitor } from '../../src/crds/diskmonitor.ts';
import { diskMonitor } from '../../src/crds/diskmonitor.ts';
import { type Assignment, type FailoverGroup, failoverGroup, type Move } from '../../src/crds/failovergroup.ts';
import {
  type DiskReport,
  type FailoverNode,
  failoverNode,
  type GroupReport,
  type StopMark,
} from '../../src/crds/failovernode.ts';
import { parseObject } from '../../src/crds/kind.ts';
import { type VipResource, vipResource } from '../../src/crds/vipresource.ts';
import type { GroupSeen, LeaseSeen, NodeSeen, Now } from '../../src/decide/seen.ts';

/** The small builders of the decision tables: everything is well unless a row says otherwise. */

export const NOW: Now = { ms: 1_000_000, iso: '2026-11-23T12:00:00.000Z' };
export const T0 = '2026-11-23T11:00:00.000Z';

export function lease(change: Partial<Extract<LeaseSeen, { kind: 'present' }>> = {}): LeaseSeen {
  return {
    kind: 'present',
    holder: 'self',
    incarnation: 1,
    bootId: 'boot-1',
    settled: true,
    resourceVersion: '100',
    takeoverAfterMs: 8_000,
    firstSeenMs: NOW.ms - 500,
    changedMs: NOW.ms - 500,
    ...change,
  };
}

/** Nobody has renewed it for `ms`. */
export function agedFor(ms: number, change: Partial<Extract<LeaseSeen, { kind: 'present' }>> = {}): LeaseSeen {
  return lease({ firstSeenMs: NOW.ms - ms, changedMs: NOW.ms - ms, ...change });
}

export function report(change: Partial<GroupReport> = {}): GroupReport {
  return {
    name: 'failover',
    ended: 0,
    settled: true,
    epoch: 0,
    state: 'Stopped',
    ready: false,
    restarts: 0,
    fit: true,
    diskId: 'disk-1',
    highestRead: 0,
    neighbours: [],
    ...change,
  };
}

/** Runs epoch `epoch`, ready. */
export function running(epoch: number): GroupReport {
  return report({ epoch, ended: epoch - 1, state: 'Running', ready: true, pid: 42 });
}

export interface NodeChange {
  readonly lease?: LeaseSeen;
  readonly report?: GroupReport | undefined;
  readonly incarnation?: number;
  readonly schedulable?: boolean;
  readonly deleting?: boolean;
  readonly missing?: boolean;
  readonly twin?: string;
  readonly nodeProblem?: { reason: string; message: string };
  readonly disks?: readonly DiskReport[];
  /** The promise to start its instance again. */
  readonly stop?: StopMark;
}

export function node(name: string, change: NodeChange = {}): NodeSeen {
  const leaseSeen = change.lease ?? lease();
  const incarnation = change.incarnation ?? (leaseSeen.kind === 'present' ? leaseSeen.incarnation : 0);
  const groups = 'report' in change ? (change.report ? [change.report] : []) : [report()];
  const object: FailoverNode = parseObject(failoverNode, {
    metadata: {
      name,
      namespace: 'storage',
      generation: 1,
      creationTimestamp: T0,
      ...(change.deleting ? { deletionTimestamp: T0 } : {}),
    },
    spec: { instanceId: `i-0000000${name.slice(-1)}`, schedulable: change.schedulable ?? true },
    status: {
      ...(change.stop ? { stop: change.stop } : {}),
      report: {
        incarnation,
        bootId: 'boot-1',
        instanceId: 'i-1',
        agentVersion: '1',
        groups,
        disks: change.disks ?? [],
        ...change.nodeProblem,
      },
    },
  });
  return { name, node: change.missing ? undefined : object, lease: leaseSeen, twin: change.twin };
}

export function assignment(change: Partial<Assignment> = {}): Assignment {
  return {
    node: 'server1',
    incarnation: 1,
    bootId: 'boot-1',
    epoch: 3,
    state: 'Active',
    basis: {
      mountPath: '/mnt/efs',
      diskId: 'disk-1',
      heartbeat: false,
      earlier: [],
      nodes: [{ name: 'server1', instanceId: 'i-1', takeoverAfterSeconds: 8 }],
    },
    ...change,
  };
}

/** The same with the second channel in force. */
export function onDisk(change: Partial<Assignment> = {}): Assignment {
  const plain = assignment(change);
  return { ...plain, basis: { ...plain.basis, heartbeat: true } };
}

/** What a node reads of another on the shared disk. */
export function reads(
  name: string,
  state: 'seen' | 'notSeen' | 'unknown',
  change: Partial<GroupReport> = {},
): GroupReport {
  return report({ neighbours: [{ name, state }], highestRead: 3, ...change });
}

export interface GroupChange {
  readonly assignment?: Assignment | undefined;
  readonly move?: Move;
  readonly running?: boolean;
  readonly deleting?: boolean;
  readonly wish?: string;
  readonly nodes?: readonly string[];
  readonly finalizers?: readonly string[];
  readonly diskId?: string;
  readonly history?: readonly Move[];
  readonly mountPath?: string;
  readonly heartbeat?: boolean;
  readonly policy?: 'Lease' | 'Instance';
  readonly conditions?: readonly Condition[];
  /** Its status was deleted; a word: the roll call has begun. */
  readonly lost?: true | string;
}

export function group(change: GroupChange = {}): FailoverGroup {
  const assigned = 'assignment' in change ? change.assignment : assignment();
  return parseObject(failoverGroup, {
    metadata: {
      name: 'failover',
      namespace: 'storage',
      resourceVersion: '200',
      generation: 1,
      creationTimestamp: T0,
      finalizers: change.finalizers ?? ['pointsman.dev/release'],
      annotations: change.wish === undefined ? {} : { 'pointsman.dev/move-to': change.wish },
      ...(change.deleting ? { deletionTimestamp: T0 } : {}),
    },
    spec: {
      nodes: change.nodes ?? ['server1', 'server2'],
      running: change.running ?? true,
      fencing: { policy: change.policy ?? 'Lease' },
      sharedDisk: { mountPath: change.mountPath ?? '/mnt/efs', heartbeat: change.heartbeat ?? true },
      process: { command: ['/work/minio', 'server', '/mnt/efs'], user: 'minio' },
    },
    status: {
      ...(change.diskId === '' ? {} : { diskId: change.diskId ?? 'disk-1' }),
      ...(assigned || change.lost ? {} : { neverAssigned: true }),
      ...(typeof change.lost === 'string' ? { rollCall: change.lost } : {}),
      ...(assigned ? { assignment: assigned } : {}),
      ...(change.move ? { move: change.move } : {}),
      ...(change.history ? { history: change.history } : {}),
      ...(change.conditions ? { conditions: change.conditions } : {}),
    },
  });
}

export function monitor(onFailure: 'Failover' | 'Stop' | 'Report' = 'Failover'): DiskMonitor {
  return parseObject(diskMonitor, {
    metadata: { name: 'diskw', namespace: 'storage', generation: 1, creationTimestamp: T0 },
    spec: { groupRef: { name: 'failover' }, path: '/mnt/efs/monitor.txt', onFailure },
  });
}

export function disk(state: DiskReport['state']): DiskReport {
  return {
    name: 'diskw',
    state,
    failures: state === 'Failed' ? 2 : 0,
    ...(state === 'Failed' ? { message: 'EIO' } : {}),
  };
}

export function vip(
  change: {
    name?: string;
    created?: string;
    uid?: string;
    tables?: string[];
    status?: unknown;
    sourceDestCheck?: string;
  } = {},
): VipResource {
  return parseObject(vipResource, {
    metadata: {
      name: change.name ?? 'awsvip',
      namespace: 'storage',
      uid: change.uid ?? 'u1',
      generation: 1,
      creationTimestamp: change.created ?? T0,
    },
    spec: {
      groupRef: { name: 'failover' },
      address: '10.1.0.20',
      vpcId: 'vpc-12345678',
      routeTableIds: change.tables ?? ['rtb-00000001', 'rtb-0000000a'],
      sourceDestCheck: change.sourceDestCheck ?? 'Manage',
    },
    ...(change.status === undefined ? {} : { status: change.status }),
  });
}

/** Its routes are known to lead to the node of `epoch`. */
export function routed(epoch: number): VipResource {
  return vip({
    status: {
      target: { node: 'server1', networkInterfaceId: 'eni-00000001', epoch },
      routeTables: [],
      conditions: [{ type: 'Ready', status: 'True', reason: 'RoutesInPlace', message: '', lastTransitionTime: T0 }],
    },
  });
}

export function seen(change: Partial<GroupSeen> & { nodes: readonly NodeSeen[] }): GroupSeen {
  return {
    group: group(),
    monitors: [],
    vips: [],
    unassignedSinceMs: undefined,
    moveStartMs: undefined,
    failures: [],
    diskFlights: [],
    diskFailingSinceMs: { diskw: NOW.ms - 60_000 },
    unsettledSinceMs: undefined,
    loss: undefined,
    instance: undefined,
    readiness: [],
    ...change,
  };
}
