import type { DiskMonitor } from '../crds/diskmonitor.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { VipResource } from '../crds/vipresource.ts';
import type { Cache, NodesWorld } from '../decide/observe.ts';
import type { NodeLease } from '../kube/resources.ts';

/** All that the reconcilers look at, kept up to date by watches. */
export interface World extends NodesWorld {
  readonly groups: Cache<FailoverGroup>;
  readonly vips: Cache<VipResource>;
  readonly monitors: Cache<DiskMonitor>;
  readonly leases: Cache<NodeLease>;
}
