import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { timingOf } from '../decide/timing.ts';
import type { Resource, Stored, WatchApi } from '../kube/api.ts';
import { NODE_LABEL } from '../kube/lease.ts';
import { LeaseAges } from '../kube/leaseages.ts';
import { createReflector, type Reflector } from '../kube/reflector.ts';
import {
  diskMonitors,
  failoverGroups,
  failoverNodes,
  leases,
  type NodeLease,
  vipResources,
} from '../kube/resources.ts';
import type { World } from '../reconcilers/observe.ts';

/** Keys of the work queues, as they become due. */
export interface Wakes {
  group(key: string): void;
  node(key: string): void;
  monitor(key: string): void;
  /** The VIPs of this group follow its assignment. */
  follow(groupKey: string): void;
  /** A VIP is new or changed. */
  vip(key: string): void;
}

export interface WatchedWorld extends World {
  /** Keeps everything up to date until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  synced(): boolean;
  /** When the API server was last heard on the quietest stream, by the boot clock. */
  lastAliveMs(): number;
  sawLease(key: string, resourceVersion: string): void;
}

/** Everything the reconcilers look at, and who is woken by what. Only keys are passed on, never events. */
export function watchWorld(options: {
  readonly api: WatchApi;
  readonly namespace: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly wakes: Wakes;
}): WatchedWorld {
  const { api, namespace, clock, log, wakes } = options;
  const ages = new LeaseAges();
  let gapsSeen = 0;

  const groups = watch(failoverGroups, (key, now, before) => {
    wakes.group(key);
    const [is, was] = [now?.status?.assignment, before?.status?.assignment];
    if (is?.epoch !== was?.epoch || is?.state !== was?.state || !now || !before) wakes.follow(key);
    if (!now || !before) for (const monitor of inNamespace(monitors, key)) wakes.monitor(monitor);
  });
  const nodes = watch(failoverNodes, (key) => {
    wakes.node(key);
    for (const group of inNamespace(groups, key)) wakes.group(group);
    for (const monitor of inNamespace(monitors, key)) wakes.monitor(monitor);
  });
  const vips = watch(vipResources, (key, now, before) => {
    for (const vip of [now, before]) {
      if (!vip) continue;
      const groupKey = `${vip.metadata.namespace}/${vip.spec.groupRef.name}`;
      wakes.group(groupKey);
      if (!now || !before || now.metadata.generation !== before.metadata.generation) wakes.follow(groupKey);
    }
    if (!now || !before || now.metadata.generation !== before.metadata.generation) wakes.vip(key);
  });
  const monitors = watch(diskMonitors, (key, now, before) => {
    wakes.monitor(key);
    for (const monitor of [now, before])
      if (monitor) wakes.group(`${monitor.metadata.namespace}/${monitor.spec.groupRef.name}`);
  });
  const nodeLeases = watch(
    leases,
    (key, now, before) => {
      if (!isWorthALook(key, now, before)) return;
      wakes.node(key);
      for (const group of inNamespace(groups, key)) wakes.group(group);
    },
    NODE_LABEL,
  );
  const all: readonly Reflector<Stored>[] = [groups, nodes, vips, monitors, nodeLeases];

  return {
    groups,
    nodes,
    vips,
    monitors,
    leases: nodeLeases,
    ages: {
      of(key, resourceVersion) {
        startAnewAfterGap();
        ages.saw(key, resourceVersion, clock.nowMs());
        const age = ages.get(key);
        return age && { firstSeenMs: age.firstSeenMs, changedMs: age.changedMs };
      },
    },
    run: async (signal) => {
      await Promise.all(all.map((reflector) => reflector.run(signal)));
    },
    synced: () => all.every((reflector) => reflector.synced()),
    lastAliveMs: () => Math.min(...all.map((reflector) => reflector.lastAliveMs())),
    sawLease: (key, resourceVersion) => {
      ages.saw(key, resourceVersion, clock.nowMs());
    },
  };

  function watch<T extends Stored>(
    resource: Resource<T>,
    onChange: (key: string, now: T | undefined, before: T | undefined) => void,
    labelSelector?: string,
  ): Reflector<T> {
    return createReflector({ api, resource, namespace, labelSelector, clock, log, onChange });
  }

  /** Renewals come every second from every node: only those that can alter an answer wake anybody. */
  function isWorthALook(key: string, now: NodeLease | undefined, before: NodeLease | undefined): boolean {
    if (!now) {
      ages.forget(key);
      return true;
    }
    startAnewAfterGap();
    const nowMs = clock.nowMs();
    const was = ages.get(key);
    ages.saw(key, now.metadata.resourceVersion, nowMs);
    if (!before || now.holder !== before.holder || now.transitions !== before.transitions) return true;
    // It was silent for longer than between two renewals, or was never seen to renew.
    return was?.changedMs === undefined || nowMs - was.changedMs > silenceMs(key);
  }

  /** Twice the pace of renewals: what is decided about a node changes only after `fenceAfter`, three times the pace. */
  function silenceMs(key: string): number {
    const node = nodes.get(key);
    return node ? 2 * timingOf(node.spec.timing).renewEveryMs : 0;
  }

  /** What was concluded from silence is void when the stream was broken: an outage of the API must move nothing. */
  function startAnewAfterGap(): void {
    const gaps = nodeLeases.gaps();
    if (gaps === gapsSeen) return;
    gapsSeen = gaps;
    ages.reset();
    for (const lease of nodeLeases.list())
      ages.saw(`${lease.metadata.namespace}/${lease.metadata.name}`, lease.metadata.resourceVersion, clock.nowMs());
  }
}

function inNamespace(of: Reflector<Stored>, key: string): string[] {
  const namespace = key.slice(0, key.indexOf('/'));
  return of
    .list()
    .filter(({ metadata }) => metadata.namespace === namespace)
    .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}
