import type { Ec2 } from '../aws/ec2.ts';
import { ensureRoutes, type RouteFinding, type RouteWish, readRoutes } from '../aws/routes.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, RetryError, WaitError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Reconciled } from '../base/queue.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { VipResource } from '../crds/vipresource.ts';
import type { Now } from '../decide/seen.ts';
import {
  destinationOf,
  needsRouting,
  olderTwinOf,
  planVip,
  type RouteState,
  type VipSeen,
  type VipWish,
  vipStatus,
} from '../decide/vip.ts';
import type { KubeApi } from '../kube/api.ts';
import { Conflict } from '../kube/errors.ts';
import { mergePatch } from '../kube/mergepatch.ts';
import { vipResources } from '../kube/resources.ts';
import { Interfaces } from './interfaces.ts';
import type { World } from './observe.ts';
import type { Recorder } from './recorder.ts';

export interface VipReconcilerOptions {
  readonly api: KubeApi;
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: Recorder;
  readonly leading: () => boolean;
  /** The edge to AWS in a region. */
  readonly ec2: (region: string) => Ec2;
  readonly defaultRegion: string;
  /** How often every route is read though nothing changed. */
  readonly resyncMs: number;
}

/** Moving routes is given up for this time and tried again: a hung AWS must not hold the next try. */
const MOVE_TIMEOUT_MS = 4_000;
const LOOK_TIMEOUT_MS = 10_000;
const WRITE_TIMEOUT_MS = 2_000;
/** A refusal by AWS is mended by a person; until then it is tried so often. */
const REFUSED_AGAIN_MS = 5_000;

export interface VipReconciler {
  /** `namespace/name` of a group: its VIPs follow its assignment. The path of a failover. */
  follow(groupKey: string, signal: AbortSignal): Promise<Reconciled>;
  /** All VIPs of a region: every route is read in one question, what drifted is put back. */
  resync(region: string, signal: AbortSignal): Promise<Reconciled>;
  regionOf(vip: VipResource): string;
}

interface Judged {
  readonly vip: VipResource;
  readonly seen: VipSeen;
  readonly wish: VipWish;
}

export function createVipReconciler(options: VipReconcilerOptions): VipReconciler {
  const { api, world, clock, log, recorder, ec2, leading } = options;
  const interfaces = new Interfaces(log);
  return { follow, resync, regionOf };

  async function follow(groupKey: string, signal: AbortSignal): Promise<Reconciled> {
    const vips = world.vips.list().filter((vip) => groupKeyOf(vip) === groupKey);
    if (vips.length === 0) return;
    const group = world.groups.get(groupKey);
    const outcomes = await Promise.all(
      [...byRegion(vips)].map(([region, some]) => followIn(region, some, group, signal)),
    );
    const refused = outcomes.find((outcome) => outcome === 'refused');
    if (outcomes.includes('unfinished'))
      throw new RetryError(`Cannot lead every route of ${groupKey} to its node yet: it is tried again`);
    if (refused)
      throw new WaitError(
        `Cannot lead every route of ${groupKey} to its node: AWS refuses; see the VipResource`,
        REFUSED_AGAIN_MS,
      );
  }

  async function followIn(
    region: string,
    vips: readonly VipResource[],
    group: FailoverGroup | undefined,
    signal: AbortSignal,
  ) {
    await learnInterfaces(region, group, signal);
    const judged = vips.map(judge);
    const moving = judged.filter(({ vip, wish }) => needsRouting(vip, wish));
    const findings = moving.length === 0 ? [] : await point(region, moving, signal);
    await Promise.all(
      judged.map((one) => store(one, statesOf(one, moving.includes(one) ? findings : undefined), signal)),
    );
    if (judged.some(({ wish }) => wish.kind === 'leave' && wish.reason === 'InterfaceUnknown')) return 'unfinished';
    if (findings.some(({ state }) => state === 'Refused' || state === 'Blackhole')) return 'refused';
    return findings.some(({ state }) => state !== 'InPlace') ? 'unfinished' : 'done';
  }

  async function resync(region: string, signal: AbortSignal): Promise<Reconciled> {
    const vips = world.vips.list().filter((vip) => regionOf(vip) === region);
    if (vips.length === 0) return;
    const call = { timeoutMs: LOOK_TIMEOUT_MS, signal };
    const nodes = nodesOf(vips.map((vip) => world.groups.get(groupKeyOf(vip))));
    const managed = nodesOf(
      vips.filter(({ spec }) => spec.sourceDestCheck === 'Manage').map((vip) => world.groups.get(groupKeyOf(vip))),
    );
    const looked = interfaces
      .look(ec2(region), nodes, call)
      .catch((error: unknown) => log.warn(describeError(error), { region }));
    const before = vips.map(judge).filter(hasRoute);
    const [read] = await Promise.all([readRoutes(ec2(region), before.map(wishOf), call), looked]);
    mustLead();
    await interfaces.switchChecksOff(ec2(region), managed, call);

    // Judged again: the interfaces are known now. What has moved meanwhile is the business of `follow`.
    const judged = vips.map(judge).filter((one) => !hasRoute(one) || isSameWish(one, before));
    const found = (one: Judged) => statesOf(one, read) ?? [];
    const drifted = judged.filter((one) => hasRoute(one) && found(one).some(isMendable));
    for (const one of drifted) tellDrift(one, found(one));
    const mended = drifted.length === 0 ? [] : await point(region, drifted, signal, read.filter(isMendable));
    const known = [...mended, ...read.filter((one) => !mended.some((other) => isSameRoute(one, other)))];
    await Promise.all(judged.map((one) => store(one, statesOf(one, known), signal, true)));
    return { afterMs: options.resyncMs };
  }

  /** All routes of all of them at once; with `only`, those of them alone. */
  async function point(
    region: string,
    moving: readonly Judged[],
    signal: AbortSignal,
    only?: readonly RouteFinding[],
  ): Promise<RouteFinding[]> {
    const epochs = moving.map(({ vip, wish }) => ({
      key: groupKeyOf(vip),
      epoch: wish.kind === 'route' ? wish.epoch : 0,
    }));
    const stillMine = () =>
      leading() && epochs.every(({ key, epoch }) => world.groups.get(key)?.status?.assignment?.epoch === epoch);
    const wishes = moving.filter(hasRoute).map((one) => narrowed(wishOf(one), only));
    return await ensureRoutes(ec2(region), wishes, {
      timeoutMs: MOVE_TIMEOUT_MS,
      signal,
      stillMine,
      clock,
    });
  }

  /** Before the first move, and for nodes that are new: otherwise nothing is asked here. */
  async function learnInterfaces(region: string, group: FailoverGroup | undefined, signal: AbortSignal): Promise<void> {
    const nodes = nodesOf([group]);
    if (nodes.every((node) => interfaces.of(node))) return;
    try {
      await interfaces.look(ec2(region), nodes, { timeoutMs: MOVE_TIMEOUT_MS, signal, urgent: true });
    } catch (error) {
      log.warn(describeError(error), { region });
      return;
    }
    const manage = world.vips
      .list()
      .some((vip) => vip.spec.sourceDestCheck === 'Manage' && group && groupKeyOf(vip) === keyOf(group));
    if (!manage) return;
    mustLead();
    await interfaces.switchChecksOff(ec2(region), nodes, { timeoutMs: MOVE_TIMEOUT_MS, signal });
  }

  function judge(vip: VipResource): Judged {
    const group = world.groups.get(groupKeyOf(vip));
    const known = nodesOf([group])
      .map((node) => interfaces.of(node))
      .filter((one) => one !== undefined);
    const all = world.vips.list().filter((other) => regionOf(other) === regionOf(vip));
    const seen: VipSeen = { vip, group, olderTwin: olderTwinOf(vip, all), interfaces: known };
    return { vip, seen, wish: planVip(seen) };
  }

  /** `ifUnchanged`: what was read a while ago must not overwrite what a move has stored since. */
  async function store(
    { vip, seen, wish }: Judged,
    states: RouteState[] | undefined,
    signal: AbortSignal,
    ifUnchanged = false,
  ): Promise<void> {
    const now: Now = { ms: clock.nowMs(), iso: clock.wall().toISOString() };
    const latest = ifUnchanged ? vip : (world.vips.get(keyOf(vip)) ?? vip);
    const status = vipStatus({ ...seen, vip: latest }, wish, states, now);
    const patch = mergePatch(latest.status ?? {}, status);
    if (patch === undefined) return;
    mustLead();
    const { namespace, name } = vip.metadata;
    const { resourceVersion } = latest.metadata;
    const body = ifUnchanged ? { metadata: { resourceVersion }, status: patch } : { status: patch };
    try {
      await api.patchStatus(vipResources, namespace, name, body, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    } catch (error) {
      if (!(ifUnchanged && error instanceof Conflict)) throw error;
    }
  }

  function tellDrift({ vip, wish }: Judged, states: readonly RouteState[]): void {
    // A move that has just begun is no drift.
    if (wish.kind !== 'route' || vip.status?.target?.epoch !== wish.epoch) return;
    for (const { id, state, target } of states) {
      if (!isMendable({ state })) continue;
      // Only what had been in place can have been changed behind our back.
      if (vip.status.routeTables.find((route) => route.id === id)?.state !== 'InPlace') continue;
      const [reason, what] =
        state === 'Missing'
          ? (['RouteCreated', 'was gone'] as const)
          : (['RouteRepaired', `led to ${target ?? 'another target'}`] as const);
      recorder.event(vip, 'VipResource', {
        type: 'Warning',
        reason,
        action: 'Route',
        note: `The route to ${vip.spec.address} in ${id} ${what}; it is put back`,
      });
    }
  }

  function nodesOf(groups: readonly (FailoverGroup | undefined)[]): FailoverNode[] {
    const nodes = groups.flatMap((group) => {
      if (!group) return [];
      const names = new Set(group.spec.nodes);
      if (group.status?.assignment) names.add(group.status.assignment.node);
      return [...names].map((name) => world.nodes.get(`${group.metadata.namespace}/${name}`));
    });
    return [...new Set(nodes.filter((node) => node !== undefined))];
  }

  function regionOf({ spec }: VipResource): string {
    return spec.region ?? options.defaultRegion;
  }

  function byRegion(vips: readonly VipResource[]): Map<string, VipResource[]> {
    return Map.groupBy(vips, regionOf);
  }

  function mustLead(): void {
    if (!leading()) throw new RetryError('Cannot write: this controller does not lead any more');
  }
}

/** What pointing the route anew can mend. */
function isMendable({ state }: Pick<RouteState, 'state'>): boolean {
  return state === 'Elsewhere' || state === 'Missing';
}

function isSameRoute(one: RouteFinding, other: RouteFinding): boolean {
  return one.tableId === other.tableId && one.destination === other.destination;
}

function isSameWish({ vip, wish }: Judged, before: readonly Judged[]): boolean {
  const was = before.find((one) => keyOf(one.vip) === keyOf(vip))?.wish;
  return (
    wish.kind === 'route' &&
    was?.kind === 'route' &&
    was.epoch === wish.epoch &&
    was.networkInterfaceId === wish.networkInterfaceId
  );
}

function narrowed(wish: RouteWish, only: readonly RouteFinding[] | undefined): RouteWish {
  if (only === undefined) return wish;
  return {
    ...wish,
    tableIds: wish.tableIds.filter((tableId) =>
      only.some((one) => one.tableId === tableId && one.destination === wish.destination),
    ),
  };
}

function hasRoute(one: Judged): one is Judged & { readonly wish: Extract<VipWish, { kind: 'route' }> } {
  return one.wish.kind === 'route';
}

function wishOf({ vip, wish }: Judged & { readonly wish: Extract<VipWish, { kind: 'route' }> }): RouteWish {
  return {
    destination: destinationOf(vip),
    tableIds: vip.spec.routeTableIds,
    networkInterfaceId: wish.networkInterfaceId,
  };
}

/** The findings about one VIP, in the words of its status. Undefined: nothing was asked about it. */
function statesOf({ vip }: Judged, findings: readonly RouteFinding[] | undefined): RouteState[] | undefined {
  if (!findings) return undefined;
  const destination = destinationOf(vip);
  const ours = findings.filter(
    (one) => one.destination === destination && vip.spec.routeTableIds.includes(one.tableId),
  );
  if (ours.length === 0) return undefined;
  return ours.map(({ tableId, state, target, message }) => ({
    id: tableId,
    state,
    ...(target === undefined ? {} : { target }),
    ...(message === undefined ? {} : { message: message.slice(0, 1024) }),
  }));
}

function groupKeyOf({ metadata, spec }: VipResource): string {
  return `${metadata.namespace}/${spec.groupRef.name}`;
}

function keyOf({ metadata }: { readonly metadata: { readonly namespace: string; readonly name: string } }): string {
  return `${metadata.namespace}/${metadata.name}`;
}
