import { z } from 'zod';
import { type DiskMonitor, diskMonitor } from '../crds/diskmonitor.ts';
import { type FailoverGroup, failoverGroup } from '../crds/failovergroup.ts';
import { type FailoverNode, failoverNode } from '../crds/failovernode.ts';
import {
  API_GROUP,
  API_VERSION,
  type KindDefinition,
  type KubeObject,
  type ObjectMeta,
  objectMeta,
  parseObject,
} from '../crds/kind.ts';
import { type VipResource, vipResource } from '../crds/vipresource.ts';
import type { Resource } from './api.ts';

export const failoverNodes: Resource<FailoverNode> = ours(failoverNode);
export const failoverGroups: Resource<FailoverGroup> = ours(failoverGroup);
export const vipResources: Resource<VipResource> = ours(vipResource);
export const diskMonitors: Resource<DiskMonitor> = ours(diskMonitor);

/** A Lease as we read it, of a node or of an election. */
export interface NodeLease {
  readonly metadata: ObjectMeta;
  /** Empty when nobody holds it. */
  readonly holder: string;
  /** The incarnation of a node. */
  readonly transitions: number;
  /** How long this record must be seen unchanged before its holder may be taken for gone. */
  readonly durationSeconds: number;
  /** For people: never compared with a clock. */
  readonly renewTime: string;
  /** For people. */
  readonly acquireTime: string;
  /** The boot under which it was taken; empty when it does not say. */
  readonly bootId: string;
  /** Whether all that the node ended before it took this Lease is settled; see docs/protocol.md. */
  readonly settled: boolean;
}

export const BOOT_ID_ANNOTATION = `${API_GROUP}/boot-id`;
export const SETTLED_ANNOTATION = `${API_GROUP}/settled`;

const leaseSchema = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      // The API server leaves empty fields out, or writes them as null after a merge patch.
      holderIdentity: z.string().nullish(),
      leaseTransitions: z.number().int().nullish(),
      leaseDurationSeconds: z.number().int().nullish(),
      renewTime: z.string().nullish(),
      acquireTime: z.string().nullish(),
    })
    .default({}),
});

export const leases: Resource<NodeLease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
  parse(raw) {
    const { metadata, spec } = leaseSchema.parse(raw);
    return {
      metadata,
      holder: spec.holderIdentity ?? '',
      transitions: spec.leaseTransitions ?? 0,
      durationSeconds: spec.leaseDurationSeconds ?? 0,
      renewTime: spec.renewTime ?? '',
      acquireTime: spec.acquireTime ?? '',
      bootId: metadata.annotations[BOOT_ID_ANNOTATION] ?? '',
      settled: metadata.annotations[SETTLED_ANNOTATION] === 'true',
    };
  },
};

function ours<Spec extends z.ZodType, Status extends z.ZodType>(
  definition: KindDefinition<Spec, Status>,
): Resource<KubeObject<z.output<Spec>, z.output<Status>>> {
  return {
    group: API_GROUP,
    version: API_VERSION,
    plural: definition.plural,
    kind: definition.kind,
    namespaced: true,
    parse: (raw) => parseObject(definition, raw),
  };
}
