import type { Clock } from '../base/clock.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FitnessReason } from '../crds/reasons.ts';
import { type NodesWorld, observeNodes } from '../decide/observe.ts';
import type { GroupSeen } from '../decide/seen.ts';
import { timingOf } from '../decide/timing.ts';
import type { CallOptions, KubeApi, Stored } from '../kube/api.ts';
import { keyOf } from '../kube/key.ts';
import { NODE_LABEL } from '../kube/lease.ts';
import { LeaseAges } from '../kube/leaseages.ts';
import { leases, type NodeLease } from '../kube/resources.ts';
import { belongingTo, type Cluster } from './cluster.ts';

/**
 * What the controller sees of a group, seen by ourselves: a node counts as alive when its Lease was seen to change, so
 * they are looked at until each has, or a node that does not renew would have ended what it runs.
 */
export async function lookAtGroup(
  api: KubeApi,
  clock: Clock,
  group: FailoverGroup,
  cluster: Cluster,
  o: CallOptions,
): Promise<GroupSeen> {
  const { namespace } = group.metadata;
  const ages = new LeaseAges();
  const near = belongingTo(group, cluster);
  const longestMs = Math.max(0, ...near.nodes.map(({ spec }) => timingOf(spec.timing).fenceAfterMs));
  const endMs = clock.nowMs() + longestMs;
  let seen: readonly NodeLease[] = [];
  for (;;) {
    seen = (await api.list(leases, namespace, { ...o, labelSelector: NODE_LABEL })).items;
    const nowMs = clock.nowMs();
    for (const lease of seen) ages.saw(keyOf(lease), lease.metadata.resourceVersion, nowMs);
    const names = new Set(near.nodes.map(({ metadata }) => metadata.name));
    const awaited = seen.filter(({ metadata, holder }) => holder !== '' && names.has(metadata.name));
    if (awaited.every((lease) => ages.get(keyOf(lease))?.changedMs !== undefined) || nowMs >= endMs) break;
    await clock.sleep(LOOK_EVERY_MS, o.signal);
  }
  const world: NodesWorld = {
    nodes: cacheOf(cluster.nodes),
    leases: cacheOf(seen),
    ages: { of: (key) => withChange(ages.get(key)) },
  };
  return {
    group,
    nodes: observeNodes(world, group),
    monitors: near.monitors,
    vips: near.vips,
    unassignedSinceMs: undefined,
    moveStartMs: undefined,
    loss: undefined,
    failures: failuresOf(group),
    diskFlights: [],
    diskFailingSinceMs: {},
    unsettledSinceMs: undefined,
    instance: undefined,
    readiness: [],
  };
}

const LOOK_EVERY_MS = 200;

/** Where the process has just failed again and again, in the controller's word. */
function failuresOf({ status }: FailoverGroup): GroupSeen['failures'] {
  const failed = (status?.nodes ?? []).filter(({ reason }) => reason === ('ProcessFailed' satisfies FitnessReason));
  return failed.map(({ name, message }) => ({ node: name, agoMs: 0, message }));
}

function withChange(age: ReturnType<LeaseAges['get']>) {
  return age && { firstSeenMs: age.firstSeenMs, changedMs: age.changedMs };
}

/** What was read at one time, as what is kept up to date. */
function cacheOf<T extends Stored>(items: readonly T[]) {
  const byKey = new Map(items.map((item) => [keyOf(item), item]));
  return { get: (key: string) => byKey.get(key), list: () => items, problem: () => undefined, synced: () => true };
}
