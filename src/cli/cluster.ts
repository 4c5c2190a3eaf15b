import type { DiskMonitor } from '../crds/diskmonitor.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { VipResource } from '../crds/vipresource.ts';
import type { CallOptions, KubeApi, Listed, Stored } from '../kube/api.ts';
import { Forbidden } from '../kube/errors.ts';
import { NODE_LABEL } from '../kube/lease.ts';
import {
  diskMonitors,
  failoverGroups,
  failoverNodes,
  leases,
  type NodeLease,
  vipResources,
} from '../kube/resources.ts';

/** All there is, as it was read at one time. */
export interface Cluster {
  readonly groups: readonly FailoverGroup[];
  readonly nodes: readonly FailoverNode[];
  readonly vips: readonly VipResource[];
  readonly monitors: readonly DiskMonitor[];
  /** Of the nodes. Undefined: this account may not list them. */
  readonly leases: readonly NodeLease[] | undefined;
  /** Of the controller that leads. Undefined: it lies elsewhere, or this account may not read it. */
  readonly controller: NodeLease | undefined;
  readonly unreadable: readonly { readonly kind: string; readonly key: string; readonly message: string }[];
}

/** `namespace` undefined reads all namespaces. */
export async function readCluster(api: KubeApi, namespace: string | undefined, o: CallOptions): Promise<Cluster> {
  const [groups, nodes, vips, monitors, nodeLeases, controller] = await Promise.all([
    api.list(failoverGroups, namespace, o),
    api.list(failoverNodes, namespace, o),
    api.list(vipResources, namespace, o),
    api.list(diskMonitors, namespace, o),
    unlessForbidden(() => api.list(leases, namespace, { ...o, labelSelector: NODE_LABEL })),
    unlessForbidden(() => api.get(leases, CONTROLLER_NAMESPACE, CONTROLLER_LEASE, o)),
  ]);
  const problems = <T>(kind: string, { unreadable }: Listed<T>) => unreadable.map((one) => ({ kind, ...one }));
  return {
    groups: byName(groups.items),
    nodes: byName(nodes.items),
    vips: byName(vips.items),
    monitors: byName(monitors.items),
    leases: nodeLeases?.items,
    controller,
    unreadable: [
      ...problems('failovergroup', groups),
      ...problems('failovernode', nodes),
      ...problems('vipresource', vips),
      ...problems('diskmonitor', monitors),
    ],
  };
}

/** What belongs to one group: the nodes that may run it, that run it or ran it last, its addresses and its monitors. */
export function belongingTo({ metadata, spec, status }: FailoverGroup, cluster: Cluster): Cluster {
  const { name, namespace } = metadata;
  const names = new Set([...spec.nodes, ...(status?.assignment ? [status.assignment.node] : [])]);
  const near = (one: Stored) => one.metadata.namespace === namespace;
  const named = (one: Stored) => near(one) && names.has(one.metadata.name);
  const ours = (one: Stored & { spec: { groupRef: { name: string } } }) => near(one) && one.spec.groupRef.name === name;
  return {
    groups: cluster.groups.filter((one) => near(one) && one.metadata.name === name),
    nodes: cluster.nodes.filter(named),
    vips: cluster.vips.filter(ours),
    monitors: cluster.monitors.filter(ours),
    leases: cluster.leases?.filter(named),
    controller: cluster.controller,
    unreadable: cluster.unreadable,
  };
}

/** As manifests/controller installs it. */
export const CONTROLLER_NAMESPACE = 'pointsman-system';
export const CONTROLLER_LEASE = 'pointsman-controller';

/** Leases only tell how old the last sign of life is; what follows from it stands in the statuses. */
async function unlessForbidden<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Forbidden) return undefined;
    throw error;
  }
}

function byName<T extends Stored>(items: readonly T[]): readonly T[] {
  const key = ({ metadata }: T) => `${metadata.namespace}/${metadata.name}`;
  return [...items].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
