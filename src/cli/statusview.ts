import type { Condition } from '../crds/conditions.ts';
import type { DiskMonitor } from '../crds/diskmonitor.ts';
import { type FailoverGroup, MOVE_TO_ANNOTATION, type Move } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { NodeReason } from '../crds/reasons.ts';
import type { VipResource } from '../crds/vipresource.ts';
import { isComplete } from '../decide/groupstatus.ts';
import type { NodeLease } from '../kube/resources.ts';
import type { Cluster } from './cluster.ts';
import { type Problem, problemsOf } from './problems.ts';

/** What `status` tells, as data: the screen and `-o json` are two ways to write it. */
export interface StatusView {
  /** Whether everything below is Ready; the exit code says the same. */
  readonly ready: boolean;
  readonly groups: readonly GroupView[];
  readonly nodes: readonly NodeView[];
  readonly vips: readonly VipView[];
  readonly disks: readonly DiskView[];
  readonly problems: readonly Problem[];
}

interface View {
  readonly namespace: string;
  readonly name: string;
  readonly ready: Condition['status'];
  readonly reason: string;
  readonly message: string;
}

export interface GroupView extends View {
  readonly activeNode?: string;
  readonly assigned?: { readonly node: string; readonly epoch: number; readonly state: 'Active' | 'Stopping' };
  readonly lastMove?: MoveView;
  /** A move that was asked for and has not been taken up yet. */
  readonly moveTo?: string;
}

export interface MoveView extends Omit<Move, 'generation' | 'message'> {
  readonly message: string;
  /** From the first sign until it was served again; absent while it is under way. */
  readonly servedAfterMs?: number;
}

export interface NodeView extends View {
  readonly instanceId: string;
  readonly inTouch: 'yes' | 'no' | 'unknown';
  /** `renewedAgoMs` compares two wall clocks, and is for people alone. */
  readonly lease?: { readonly holder: string; readonly incarnation: number; readonly renewedAgoMs?: number };
  readonly fit: readonly { readonly group: string; readonly fit: boolean; readonly reason: string }[];
  readonly runs: readonly {
    readonly group: string;
    readonly epoch: number;
    readonly state: string;
    readonly ready: boolean;
    readonly pid?: number;
    readonly restarts: number;
  }[];
  readonly addresses: readonly string[];
  readonly agentVersion?: string;
}

export interface VipView extends View {
  readonly address: string;
  readonly group: string;
  readonly target?: { readonly node: string; readonly networkInterfaceId: string; readonly epoch: number };
  readonly tables: readonly {
    readonly id: string;
    readonly state: string;
    readonly target?: string | undefined;
  }[];
}

export interface DiskView extends View {
  readonly path: string;
  readonly group: string;
  readonly nodes: readonly { readonly name: string; readonly state: string; readonly latencyMs?: number | undefined }[];
}

export function statusView(cluster: Cluster, nowMs: number): StatusView {
  const { groups, nodes, vips, monitors } = cluster;
  const problems = problemsOf(cluster, nowMs);
  return {
    ready: problems.every(({ severity }) => severity !== 'notReady'),
    groups: groups.map(groupView),
    nodes: nodes.map((node) => nodeView(node, cluster, nowMs)),
    vips: vips.map(vipView),
    disks: monitors.map(diskView),
    problems,
  };
}

export function moveView({ generation: _, ...move }: Move): MoveView {
  if (!isComplete(move)) return move;
  return { ...move, servedAfterMs: Math.max(move.steps.readyMs ?? 0, move.steps.routedMs ?? 0) };
}

function groupView(group: FailoverGroup): GroupView {
  const { metadata, status } = group;
  const moveTo = metadata.annotations[MOVE_TO_ANNOTATION];
  const assignment = status?.assignment;
  return {
    ...viewOf(group),
    ...(status?.activeNode === undefined ? {} : { activeNode: status.activeNode }),
    ...(assignment && { assigned: { node: assignment.node, epoch: assignment.epoch, state: assignment.state } }),
    ...(status?.move && { lastMove: moveView(status.move) }),
    ...(moveTo === undefined ? {} : { moveTo }),
  };
}

/** What each reason of a node says of its Lease. */
const IN_TOUCH: Readonly<Record<string, NodeView['inTouch']>> = {
  InTouch: 'yes',
  Cordoned: 'yes',
  NotReported: 'yes',
  InstanceStarted: 'yes',
  OutOfTouch: 'no',
  Fenced: 'no',
  AgentNeverSeen: 'no',
  InstanceStopped: 'no',
  StartRefused: 'no',
} satisfies Partial<Record<NodeReason, NodeView['inTouch']>>;

function nodeView(node: FailoverNode, { groups, leases }: Cluster, nowMs: number): NodeView {
  const { name, namespace } = node.metadata;
  const view = viewOf(node);
  const report = node.status?.report;
  const lease = leases?.find(({ metadata }) => metadata.name === name && metadata.namespace === namespace);
  return {
    ...view,
    instanceId: node.spec.instanceId,
    inTouch: IN_TOUCH[view.reason] ?? 'unknown',
    ...(lease && { lease: leaseView(lease, nowMs) }),
    fit: groups
      .filter((group) => group.metadata.namespace === namespace)
      .flatMap(({ metadata, status }) =>
        (status?.nodes ?? [])
          .filter((one) => one.name === name)
          .map(({ fit, reason }) => ({ group: metadata.name, fit, reason })),
      ),
    runs: (report?.groups ?? [])
      .filter(({ epoch, pid }) => epoch > 0 || pid !== undefined)
      .map(({ name: group, epoch, state, ready, pid, restarts }) => ({
        group,
        epoch,
        state,
        ready,
        ...(pid === undefined ? {} : { pid }),
        restarts,
      })),
    addresses: report?.addresses ?? [],
    ...(report && { agentVersion: report.agentVersion }),
  };
}

function leaseView({ holder, transitions, renewTime }: NodeLease, nowMs: number): NonNullable<NodeView['lease']> {
  const renewedMs = Date.parse(renewTime);
  const age = Number.isNaN(renewedMs) ? {} : { renewedAgoMs: Math.max(0, nowMs - renewedMs) };
  return { holder, incarnation: transitions, ...age };
}

function vipView(vip: VipResource): VipView {
  const { spec, status } = vip;
  return {
    ...viewOf(vip),
    address: spec.address,
    group: spec.groupRef.name,
    ...(status?.target && { target: status.target }),
    // What has not been looked at yet is listed too.
    tables: spec.routeTableIds.map((id) => {
      const table = status?.routeTables.find((one) => one.id === id);
      return { id, state: table?.state ?? 'Unknown', target: table?.target };
    }),
  };
}

function diskView(monitor: DiskMonitor): DiskView {
  return {
    ...viewOf(monitor),
    path: monitor.spec.path,
    group: monitor.spec.groupRef.name,
    nodes: (monitor.status?.nodes ?? []).map(({ name, state, latencyMs }) => ({ name, state, latencyMs })),
  };
}

function viewOf({
  metadata: { namespace, name },
  status,
}: {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly status?: { readonly conditions: readonly Condition[] } | undefined;
}): View {
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  return {
    namespace,
    name,
    ready: ready?.status ?? 'Unknown',
    reason: ready?.reason ?? 'Pending',
    message: ready?.message ?? '',
  };
}
