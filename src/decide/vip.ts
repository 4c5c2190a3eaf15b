import type { ConditionWish } from '../crds/conditions.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { VipReason } from '../crds/reasons.ts';
import type { VipResource, VipResourceStatus } from '../crds/vipresource.ts';
import { mergeConditions } from './conditions.ts';
import type { Now } from './seen.ts';

/** The network interface of a node, as EC2 tells. */
export interface InterfaceSeen {
  readonly node: string;
  readonly networkInterfaceId: string;
  readonly sourceDestCheck: boolean;
}

export type RouteState = VipResourceStatus['routeTables'][number];

export interface VipSeen {
  readonly vip: VipResource;
  /** Undefined: there is no such group. */
  readonly group: FailoverGroup | undefined;
  /** An older VipResource with this address in one of these tables, if there is one. */
  readonly olderTwin: { readonly name: string; readonly table: string } | undefined;
  /** Interfaces of the group's nodes, as far as they are known. */
  readonly interfaces: readonly InterfaceSeen[];
}

/** Where the routes of a VIP belong. */
export type VipWish =
  | { readonly kind: 'route'; readonly node: string; readonly networkInterfaceId: string; readonly epoch: number }
  /** Nothing is done to the routes. */
  | {
      readonly kind: 'leave';
      readonly status: ConditionWish['status'];
      readonly reason: VipReason;
      readonly message: string;
    };

/** The routes follow the assignment by themselves, while the process starts. */
export function planVip({ vip, group, olderTwin, interfaces }: VipSeen): VipWish {
  const { address, groupRef } = vip.spec;
  if (olderTwin) {
    const message = `VipResource "${olderTwin.name}" is older and has ${address} in ${olderTwin.table}: delete one of the two, or take the table out of one`;
    return { kind: 'leave', status: 'False', reason: 'Conflict', message };
  }
  if (!group) {
    const message = `there is no FailoverGroup "${groupRef.name}" in namespace ${vip.metadata.namespace}: create it, or correct spec.groupRef.name`;
    return { kind: 'leave', status: 'False', reason: 'GroupMissing', message };
  }
  const assignment = group.status?.assignment;
  // While the old node stops, its routes stay: clients get a refused connection, which is sooner than a silent one.
  if (assignment?.state !== 'Active') {
    if (!group.spec.running) {
      // The wish is fulfilled: whoever waits for Ready, or syncs wave by wave, must not wait for a stopped group.
      const message = `FailoverGroup "${groupRef.name}" is stopped, as its spec.running asks; the routes stay as they are`;
      return { kind: 'leave', status: 'True', reason: 'GroupStopped', message };
    }
    const message = `no node has FailoverGroup "${groupRef.name}" now, so the routes stay as they are`;
    return { kind: 'leave', status: 'False', reason: 'NoAssignment', message };
  }
  const target = interfaces.find(({ node }) => node === assignment.node);
  if (!target) {
    const message = `the network interface of ${assignment.node} is not known: look at the FailoverNode's instanceId, and at whether AWS answers`;
    return { kind: 'leave', status: 'Unknown', reason: 'InterfaceUnknown', message };
  }
  return {
    kind: 'route',
    node: assignment.node,
    networkInterfaceId: target.networkInterfaceId,
    epoch: assignment.epoch,
  };
}

/** The route's destination: the one address, as a CIDR. */
export function destinationOf({ spec }: VipResource): string {
  return spec.address.includes(':') ? `${spec.address}/128` : `${spec.address}/32`;
}

/** Whether the fast path has something to do: the routes are not known to lead where they belong. */
export function needsRouting({ status }: VipResource, wish: VipWish): boolean {
  if (wish.kind !== 'route') return false;
  if (status?.target?.epoch !== wish.epoch || status.target.networkInterfaceId !== wish.networkInterfaceId) return true;
  return status.routeTables.some(({ state }) => state !== 'InPlace');
}

/** Whether every route of the VIP is known to lead to the node of this epoch; an unanswered AWS keeps what was known. */
export function leadsTo(vip: VipResource, epoch: number): boolean {
  if (vip.status?.target?.epoch !== epoch) return false;
  return vip.status.conditions.some(
    ({ type, status, reason }) => type === 'Ready' && status === 'True' && reason !== STOPPED,
  );
}

/** Says nothing about where the routes lead. */
const STOPPED: VipReason = 'GroupStopped';

/** An older VipResource that holds the same address in one of the same tables. */
export function olderTwinOf(vip: VipResource, all: readonly VipResource[]): VipSeen['olderTwin'] {
  for (const other of all) {
    if (other.metadata.uid === vip.metadata.uid || other.spec.address !== vip.spec.address) continue;
    if (!isOlder(other, vip)) continue;
    const table = other.spec.routeTableIds.find((id) => vip.spec.routeTableIds.includes(id));
    if (table) return { name: other.metadata.name, table };
  }
  return undefined;
}

/** By the second of creation, and by uid within it, so that everybody agrees. */
function isOlder(one: VipResource, other: VipResource): boolean {
  const a = one.metadata.creationTimestamp;
  const b = other.metadata.creationTimestamp;
  return a === b ? one.metadata.uid < other.metadata.uid : a < b;
}

/**
 * The status of a VIP from what was read back. `routes` is undefined when nothing was read in this pass: then what was
 * known stays, except that a target which is superseded is not claimed any more.
 */
export function vipStatus(
  seen: VipSeen,
  wish: VipWish,
  routes: readonly RouteState[] | undefined,
  now: Now,
): VipResourceStatus {
  const { vip } = seen;
  const stored = vip.status;
  const { generation } = vip.metadata;
  const routeTables = routes ? [...routes] : known(vip, wish);
  const ready = wish.kind === 'leave' ? wish : judge(vip, wish, routeTables, stored);
  const wishes: ConditionWish[] = [
    { type: 'Ready', status: ready.status, reason: ready.reason, message: ready.message },
  ];
  wishes.push(sourceDestCheck(seen));
  const stalled = ready.reason === 'Conflict' || ready.reason === 'RouteRefused';
  if (stalled)
    wishes.push({ ...wishes[0]!, type: 'Stalled', status: 'True' }); // the first was pushed above
  else if (ready.status !== 'True') wishes.push({ ...wishes[0]!, type: 'Reconciling', status: 'True' });
  const target =
    wish.kind === 'route'
      ? { node: wish.node, networkInterfaceId: wish.networkInterfaceId, epoch: wish.epoch }
      : stored?.target;
  return {
    observedGeneration: generation,
    ...(target === undefined ? {} : { target }),
    routeTables,
    conditions: mergeConditions(stored?.conditions ?? [], wishes, generation, now.iso),
  };
}

/** What was read for another epoch says nothing about this one. */
function known({ spec, status }: VipResource, wish: VipWish): RouteState[] {
  if (wish.kind === 'route' && status?.target?.epoch !== wish.epoch) return [];
  return (status?.routeTables ?? []).filter(({ id }) => spec.routeTableIds.includes(id));
}

interface Verdict {
  readonly status: ConditionWish['status'];
  readonly reason: VipReason;
  readonly message: string;
}

function judge(
  vip: VipResource,
  wish: Extract<VipWish, { kind: 'route' }>,
  routes: readonly RouteState[],
  stored: VipResourceStatus | undefined,
): Verdict {
  const { address } = vip.spec;
  const at = (state: RouteState['state']) => routes.filter((route) => route.state === state);
  const list = (some: readonly RouteState[]) =>
    some.map(({ id, message }) => (message ? `${id}: ${message}` : id)).join('; ');
  const refused = at('Refused');
  if (refused.length > 0)
    return {
      status: 'False',
      reason: 'RouteRefused',
      message: `Cannot route ${address} to ${wish.node}: ${list(refused)}`,
    };
  const blackhole = at('Blackhole');
  if (blackhole.length > 0) {
    const message = `${address} leads to ${wish.networkInterfaceId} of ${wish.node}, which takes no traffic, in ${list(blackhole)}: is the instance running and the interface attached?`;
    return { status: 'False', reason: 'RouteBlackhole', message };
  }
  const missing = at('Missing');
  if (missing.length > 0)
    return { status: 'False', reason: 'RoutesMoving', message: `no route to ${address} yet in ${list(missing)}` };
  const elsewhere = at('Elsewhere');
  if (elsewhere.length > 0) {
    const where = elsewhere.map(({ id, target }) => `${id} (${target ?? 'another target'})`).join(', ');
    return {
      status: 'False',
      reason: 'RoutesMoving',
      message: `${address} does not lead to ${wish.node} yet in ${where}`,
    };
  }
  const unknown = at('Unknown');
  const unread = vip.spec.routeTableIds.filter((id) => !routes.some((route) => route.id === id));
  if (unknown.length === 0 && unread.length === 0) {
    const message = `${address} leads to ${wish.node} (${wish.networkInterfaceId}) in ${routes.map(({ id }) => id).join(', ')}`;
    return { status: 'True', reason: 'RoutesInPlace', message };
  }
  // AWS not answering does not undo what was read before: the routes stay what they were.
  const silent = [...unread, ...unknown.map(({ id }) => id)];
  const before = stored?.target?.epoch === wish.epoch ? stored : undefined;
  const wasThere = silent.every((id) => before?.routeTables.some((route) => route.id === id && KNOWN.has(route.state)));
  const wasReady = before?.conditions.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
  const message = `AWS did not answer, so it is not known whether ${address} leads to ${wish.node} in ${silent.join(', ')}`;
  return { status: wasThere && wasReady ? 'True' : 'Unknown', reason: 'AwsUnknown', message };
}

/** What a route may be that was in place when it was last read, or could not be read since. */
const KNOWN: ReadonlySet<RouteState['state']> = new Set(['InPlace', 'Unknown']);

/** The check must be off on every node of the group before a move, not only on the active one. */
function sourceDestCheck({ vip, group, interfaces }: VipSeen): ConditionWish {
  const type = 'SourceDestCheckOff';
  const on = interfaces.filter((one) => one.sourceDestCheck);
  if (on.length > 0) {
    const list = on.map(({ networkInterfaceId, node }) => `${networkInterfaceId} of ${node}`).join(', ');
    const todo =
      vip.spec.sourceDestCheck === 'Verify'
        ? 'switch it off, or set spec.sourceDestCheck to Manage'
        : 'it is being switched off';
    return {
      type,
      status: 'False',
      reason: 'SourceDestCheckOn',
      message: `the source/destination check is on for ${list}, which drops traffic for the address: ${todo}`,
    };
  }
  const unknown = (group?.spec.nodes ?? []).filter((name) => !interfaces.some(({ node }) => node === name));
  if (unknown.length > 0 || !group)
    return {
      type,
      status: 'Unknown',
      reason: 'InterfaceUnknown',
      message: `the network interface is not known of ${unknown.join(', ') || 'any node'}`,
    };
  return {
    type,
    status: 'True',
    reason: 'SourceDestCheckOff',
    message: `off on ${interfaces.map(({ networkInterfaceId }) => networkInterfaceId).join(', ')}`,
  };
}
