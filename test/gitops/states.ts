import type { FailoverGroup } from '../../src/crds/failovergroup.ts';
import { API_GROUP, API_VERSION } from '../../src/crds/kind.ts';
import {
  type DiskReason,
  GROUP_REASONS,
  type GroupReason,
  type NodeReason,
  type VipReason,
} from '../../src/crds/reasons.ts';
import { diskMonitorStatus } from '../../src/decide/diskstatus.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import { nodeStatus } from '../../src/decide/nodestatus.ts';
import type { GroupSeen } from '../../src/decide/seen.ts';
import { planVip, type RouteState, type VipSeen, vipStatus } from '../../src/decide/vip.ts';
import {
  agedFor,
  assignment,
  disk,
  group,
  lease,
  monitor,
  NOW,
  type NodeChange,
  node,
  report,
  routed,
  running,
  seen,
  T0,
  vip,
} from '../decide/build.ts';

/** What Argo CD is to show. */
export type Health = 'Healthy' | 'Progressing' | 'Degraded';

/** An object as the controller leaves it, by the functions that it decides with. */
export interface State {
  readonly name: string;
  /** Of the condition Ready. */
  readonly reason: string;
  readonly health: Health;
  readonly object: StoredObject;
  /** What the message says beside that of the condition. */
  readonly alsoSays?: string;
}

export interface StoredObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec: unknown;
  readonly status?: unknown;
}

export function stored(kind: string, object: { metadata: object; spec: unknown }, status?: unknown): StoredObject {
  const { metadata, spec } = object;
  return { apiVersion: `${API_GROUP}/${API_VERSION}`, kind, metadata: { ...metadata }, spec, status };
}

/** Told by Events and by other conditions; `Ready` never bears it. */
const NEVER_READY = 'never of Ready';

// --- FailoverGroup: every reason, whatever led to it ---

const served = node('server1', { report: running(3) });
const spare = node('server2');

const GROUP_HEALTH: Readonly<Record<GroupReason, Health>> = {
  Serving: 'Healthy',
  Stopped: 'Healthy',
  SeenOnDisk: 'Healthy',
  Redundant: 'Healthy',
  NotRedundant: 'Healthy',
  Pending: 'Progressing',
  Starting: 'Progressing',
  RoutesPending: 'Progressing',
  Stopping: 'Progressing',
  WaitingToSettle: 'Progressing',
  WaitingForLease: 'Progressing',
  StoppingInstance: 'Progressing',
  InstanceNotStopped: 'Progressing',
  NodeOutOfTouch: 'Progressing',
  DiskUnread: 'Progressing',
  AllNodesOutOfTouch: 'Progressing',
  NoFitNode: 'Progressing',
  ProcessFailed: 'Progressing',
  ProcessRestarted: 'Progressing',
  NodeUnfit: 'Progressing',
  DiskFailed: 'Progressing',
  DiskFailedEverywhere: 'Progressing',
  ProcessStuck: 'Progressing',
  NodeLost: 'Progressing',
  NodeRejoined: 'Progressing',
  NodeEnded: 'Progressing',
  NodeCordoned: 'Progressing',
  NodeDeleted: 'Progressing',
  NodeRemoved: 'Progressing',
  ProofMissing: 'Progressing',
  EpochClaimed: 'Progressing',
  Requested: 'Progressing',
  Startup: 'Progressing',
  StatusLost: 'Progressing',
  Adopted: 'Progressing',
  MoveRefused: 'Progressing',
  Fenced: 'Progressing',
  Deleting: 'Progressing',
};

const byReason = Object.entries(GROUP_HEALTH).map(([reason, health]): State => {
  const key = reason as GroupReason; // Object.entries widens
  const plan = { reason: key, message: GROUP_REASONS[key], deeds: [] };
  const object = stored('FailoverGroup', group(), groupStatus(seen({ nodes: [served, spare] }), plan, NOW));
  return { name: `FailoverGroup ${reason}`, reason, health, object };
});

// --- FailoverGroup: as decided ---

/** What was seen of a group, for those who also want to know what is decided then. */
export const SEEN: readonly (Pick<State, 'name' | 'health' | 'alsoSays'> & { readonly seen: GroupSeen })[] = [
  { name: 'a group that serves', health: 'Healthy', seen: seen({ nodes: [served, spare], vips: [routed(3)] }) },
  {
    name: 'a group of three that serves',
    health: 'Healthy',
    seen: seen({
      group: group({ nodes: ['server1', 'server2', 'server3'] }),
      nodes: [served, spare, node('server3')],
      vips: [routed(3)],
    }),
  },
  {
    name: 'a group that serves and has lost its redundancy',
    health: 'Healthy',
    alsoSays: 'no other node could take the group: server2: OutOfTouch',
    seen: seen({ nodes: [served, node('server2', { lease: agedFor(9_000) })], vips: [routed(3)] }),
  },
  {
    name: 'a group whose fencing would be refused',
    health: 'Healthy',
    alsoSays: 'server2: stop protection of i-2 is on',
    seen: seen({
      group: group({ policy: 'Instance' }),
      nodes: [served, spare],
      vips: [routed(3)],
      readiness: [
        { node: 'server1', instanceId: 'i-1', region: 'eu-west-1', state: 'ready', said: '' },
        { node: 'server2', instanceId: 'i-2', region: 'eu-west-1', state: 'protected', said: '' },
      ],
    }),
  },
  {
    name: 'a group that is stopped as asked',
    health: 'Healthy',
    seen: seen({
      group: group({ running: false, assignment: assignment({ state: 'Stopping' }) }),
      nodes: [node('server1', { report: report({ ended: 3 }) }), spare],
    }),
  },
  {
    name: 'a group that moves as asked',
    health: 'Progressing',
    seen: seen({ group: group({ wish: 'server2' }), nodes: [served, spare] }),
  },
  {
    name: 'a group whose node is lost',
    health: 'Progressing',
    seen: seen({ nodes: [node('server1', { lease: agedFor(8_000), report: running(3) }), spare] }),
  },
  {
    name: 'a group that nobody serves, because no agent has come yet',
    health: 'Progressing',
    seen: seen({
      group: group({ assignment: undefined, nodes: ['server1'] }),
      nodes: [node('server1', { lease: { kind: 'missing' } })],
    }),
  },
  {
    name: 'a group whose process failed for good on its only node',
    health: 'Degraded',
    seen: seen({
      group: group({ nodes: ['server1'] }),
      nodes: [node('server1', { report: { ...running(3), state: 'Failed', lastExit: 'exit code 1' } })],
    }),
  },
  {
    name: 'a group that no node can take before somebody mends one',
    health: 'Degraded',
    seen: seen({
      group: group({ assignment: undefined, nodes: ['server1', 'server2'] }),
      nodes: [node('server1', { missing: true }), node('server2', { twin: 'server9' })],
    }),
  },
];

const asDecided = SEEN.map(({ seen: what, ...rest }): State => {
  const status = groupStatus(what, planFailover(what, NOW), NOW);
  const reason = status.conditions.find(({ type }) => type === 'Ready')?.reason ?? '';
  return { ...rest, reason, object: stored('FailoverGroup', what.group, status) };
});

// --- FailoverNode ---

interface NodeRow {
  readonly health: Health;
  readonly change: NodeChange;
  readonly startProblem?: string;
  readonly groups?: readonly FailoverGroup[];
  readonly alsoSays?: string;
}

const stop = { instanceId: 'i-00000001', group: 'failover', epoch: 3, since: T0 };
const NODES: Readonly<Record<NodeReason, NodeRow | typeof NEVER_READY>> = {
  InTouch: {
    health: 'Healthy',
    change: {},
    groups: [group(), group({ heartbeat: false })],
    alsoSays: 'server1 is a node of groups with a second channel',
  },
  Cordoned: { health: 'Healthy', change: { schedulable: false } },
  Pending: { health: 'Progressing', change: { lease: lease({ changedMs: undefined }) } },
  Unknown: { health: 'Progressing', change: { lease: { kind: 'unknown' } } },
  AgentNeverSeen: { health: 'Progressing', change: { lease: { kind: 'missing' } } },
  OutOfTouch: { health: 'Progressing', change: { lease: agedFor(9_000) } },
  Fenced: { health: 'Progressing', change: { lease: lease({ holder: '' }) } },
  NotReported: { health: 'Progressing', change: { incarnation: 0 } },
  InstanceStopped: { health: 'Progressing', change: { lease: agedFor(9_000), stop } },
  InstanceTwice: { health: 'Degraded', change: { twin: 'server9' } },
  InstanceMismatch: {
    health: 'Degraded',
    change: { nodeProblem: { reason: 'InstanceMismatch', message: 'the instance is another' } },
  },
  StartRefused: { health: 'Degraded', change: { lease: agedFor(9_000), stop }, startProblem: 'EC2 refuses' },
  InstanceStarted: NEVER_READY,
  MixedChannels: NEVER_READY,
};

const nodes = Object.entries(NODES).flatMap(([reason, row]): State[] => {
  if (row === NEVER_READY) return [];
  const one = node('server1', row.change);
  const status = nodeStatus(one.node!, one, row.groups ?? [], NOW, row.startProblem); // the builder makes one
  const object = stored('FailoverNode', one.node!, { ...one.node!.status, ...status });
  return [{ ...row, name: `FailoverNode ${reason}`, reason, object }];
});

// --- VipResource ---

const [A, B] = ['rtb-00000001', 'rtb-0000000a'];
const routes = (first: RouteState['state'], second = first): RouteState[] => [
  { id: A, state: first },
  { id: B, state: second },
];
const nic = { node: 'server1', networkInterfaceId: 'eni-00000001', sourceDestCheck: false };
const interfaces = [nic, { ...nic, node: 'server2', networkInterfaceId: 'eni-00000002' }];

interface VipRow {
  readonly health: Health;
  readonly seen?: Partial<VipSeen>;
  readonly routes?: RouteState[];
  readonly alsoSays?: string;
}

const VIPS: Readonly<Record<VipReason, VipRow | typeof NEVER_READY>> = {
  RoutesInPlace: {
    health: 'Healthy',
    routes: routes('InPlace'),
    seen: { interfaces: [nic, { ...nic, node: 'server2', sourceDestCheck: true }] },
    alsoSays: 'the source/destination check is on for eni-00000001 of server2',
  },
  GroupStopped: {
    health: 'Healthy',
    seen: { group: group({ running: false, assignment: assignment({ state: 'Stopping' }) }) },
  },
  RoutesMoving: { health: 'Progressing', routes: routes('InPlace', 'Elsewhere') },
  RouteBlackhole: { health: 'Progressing', routes: routes('InPlace', 'Blackhole') },
  AwsUnknown: { health: 'Progressing', routes: routes('InPlace', 'Unknown') },
  NoAssignment: { health: 'Progressing', seen: { group: group({ assignment: assignment({ state: 'Stopping' }) }) } },
  GroupMissing: { health: 'Progressing', seen: { group: undefined } },
  InterfaceUnknown: { health: 'Progressing', seen: { interfaces: [] } },
  RouteRefused: { health: 'Degraded', routes: routes('InPlace', 'Refused') },
  Conflict: { health: 'Degraded', seen: { olderTwin: { name: 'elder', table: A } } },
  Pending: NEVER_READY,
  RouteRepaired: NEVER_READY,
  RouteCreated: NEVER_READY,
  SourceDestCheckOn: NEVER_READY,
  SourceDestCheckOff: NEVER_READY,
};

const vips = Object.entries(VIPS).flatMap(([reason, row]): State[] => {
  if (row === NEVER_READY) return [];
  const { seen: change, routes: found, ...rest } = row;
  const what: VipSeen = { vip: vip(), group: group(), olderTwin: undefined, interfaces, ...change };
  const status = vipStatus(what, planVip(what), found, NOW);
  return [{ ...rest, name: `VipResource ${reason}`, reason, object: stored('VipResource', what.vip, status) }];
});

// --- DiskMonitor ---

const DISKS: Readonly<
  Record<DiskReason, { readonly health: Health; readonly on?: readonly NodeChange[] } | typeof NEVER_READY>
> = {
  Healthy: { health: 'Healthy', on: [{ disks: [disk('Healthy')] }, { disks: [disk('Idle')] }] },
  Failing: { health: 'Healthy', on: [{ disks: [disk('Failing')] }, { disks: [disk('Healthy')] }] },
  Unknown: { health: 'Progressing', on: [{ disks: [disk('Healthy')] }, {}] },
  GroupMissing: { health: 'Progressing' },
  Failed: { health: 'Degraded', on: [{ disks: [disk('Healthy')] }, { disks: [disk('Failed')] }] },
  Pending: NEVER_READY,
};

const disks = Object.entries(DISKS).flatMap(([reason, row]): State[] => {
  if (row === NEVER_READY) return [];
  const on = row.on?.map((change, i) => node(`server${i + 1}`, change));
  const object = stored('DiskMonitor', monitor(), diskMonitorStatus(monitor(), on, NOW));
  return [{ name: `DiskMonitor ${reason}`, reason, health: row.health, object }];
});

export const STATES: readonly State[] = [...byReason, ...asDecided, ...nodes, ...vips, ...disks];

/** For the check that no reason was forgotten: where the types are not checked, a missing row would go unseen. */
export const ROWS = { group: GROUP_HEALTH, node: NODES, vip: VIPS, disk: DISKS };
