import type { DiskMonitor } from '../crds/diskmonitor.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { VipResource } from '../crds/vipresource.ts';
import type { ReadinessSeen } from './fencingready.ts';
import type { InstanceSeen } from './instance.ts';

/** An instant: the boot clock decides, the wall clock (RFC 3339) is written down for people. */
export interface Now {
  readonly ms: number;
  readonly iso: string;
}

/** A node's Lease, as this controller sees it. */
export type LeaseSeen =
  /** We could not look, or have not looked yet. */
  | { readonly kind: 'unknown' }
  /** There is none. No proof of anything. */
  | { readonly kind: 'missing' }
  | {
      readonly kind: 'present';
      /** Empty when nobody holds it. */
      readonly holder: string;
      readonly incarnation: number;
      readonly bootId: string;
      readonly settled: boolean;
      readonly resourceVersion: string;
      /** What this very record asks for, before it may be fenced. */
      readonly takeoverAfterMs: number;
      /** When we first saw this very record, on our own clock. The count starts here, whatever the record says. */
      readonly firstSeenMs: number;
      /** When we ourselves saw the record change, if we ever did: then somebody is alive there. */
      readonly changedMs: number | undefined;
    };

export interface NodeSeen {
  readonly name: string;
  /** Undefined: there is no such FailoverNode. */
  readonly node: FailoverNode | undefined;
  readonly lease: LeaseSeen;
  /** Another FailoverNode with the same instance, older than this one. */
  readonly twin: string | undefined;
}

/** All that a decision about one group may look at. What could not be learned is unknown here, never stale. */
export interface GroupSeen {
  readonly group: FailoverGroup;
  /** The nodes of the spec in its order, then any other that the assignment or a report ties to the group. */
  readonly nodes: readonly NodeSeen[];
  readonly monitors: readonly DiskMonitor[];
  readonly vips: readonly VipResource[];
  /** When this controller first saw the group without an assignment; undefined while it has one. */
  readonly unassignedSinceMs: number | undefined;
  /** When the first sign of the recorded move was seen, by our own clock; undefined when there is none. */
  readonly moveStartMs: number | undefined;
  /** The loss of a node that this controller is acting on, before it stands in status. */
  readonly loss: Loss | undefined;
  /** Where the process used up its restarts, under the present spec, and how long ago. */
  readonly failures: readonly Failure[];
  /** Which nodes it left because of their disk, and how long ago. */
  readonly diskFlights: readonly Failure[];
  /** By DiskMonitor: since when this controller has seen its probes fail on the node that runs the group. */
  readonly diskFailingSinceMs: Readonly<Record<string, number>>;
  /** When an unsettled release of the present epoch was first seen by us; without an assignment, of any. */
  readonly unsettledSinceMs: number | undefined;
  /** The instance of the node that the assignment names; undefined: nothing was asked about it. */
  readonly instance: InstanceSeen | undefined;
  /** Of the nodes of the spec, where the policy is Instance; else empty. */
  readonly readiness: readonly ReadinessSeen[];
}

export interface Failure {
  readonly node: string;
  readonly agoMs: number;
  readonly message: string;
}

/** A lost node, from the last sign of life to the fence: kept by the controller between two looks. */
export interface Loss {
  readonly epoch: number;
  /** When the last renewal was seen. */
  readonly sinceMs: number;
  /** When it was decided to fence. */
  readonly detectedMs: number;
}

export function nodeSeen(seen: GroupSeen, name: string): NodeSeen | undefined {
  return seen.nodes.find((node) => node.name === name);
}

/** What a node's agent says of the group, if it says anything. */
export function groupReportOf(seen: NodeSeen | undefined, group: string) {
  return seen?.node?.status?.report?.groups.find((report) => report.name === group);
}
