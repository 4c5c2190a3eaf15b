import type { Assignment, Move } from '../crds/failovergroup.ts';
import type { GroupReason } from '../crds/reasons.ts';
import type { Loss } from './seen.ts';

/** Something to do outside the status. None of it is done before the status that promises it is stored. */
export type Deed =
  /** Clear the holder and grow the incarnation of a Lease, if it is still the very record that was seen to age. */
  | { readonly kind: 'Fence'; readonly node: string; readonly resourceVersion: string }
  /** Make a missing Lease anew, held by nobody: it must age before it can be fenced. */
  | { readonly kind: 'CreateLease'; readonly node: string; readonly incarnation: number }
  /** Have EC2 stop the instance, and be asked about it, until the next look; what came of it is seen then. */
  | { readonly kind: 'StopInstance'; readonly node: string; readonly instanceId: string; readonly epoch: number }
  /** This group does not need the instance of its node stopped any more. */
  | { readonly kind: 'StartInstance'; readonly node: string }
  | { readonly kind: 'RemoveMoveWish' }
  | { readonly kind: 'AddFinalizer' }
  | { readonly kind: 'RemoveFinalizer' };

/** What is decided about a group: what to write, then what to do, and when to look again. */
export interface GroupPlan {
  readonly reason: GroupReason;
  readonly message: string;
  /** Written with `resourceVersion`, before any deed. Absent: as it is. */
  readonly assignment?: Assignment;
  /** A new move, or the present one with more known. Written together with the assignment. */
  readonly move?: Move;
  /** Recorded at the first start. */
  readonly diskId?: string;
  /** Stored at the first sight of a group that has no status. */
  readonly neverAssigned?: boolean;
  /** Stored where the status was lost: what every node must name in its report. */
  readonly rollCall?: string;
  readonly deeds: readonly Deed[];
  /** On the boot clock. Absent: only a change can alter the answer. */
  readonly lookAgainAtMs?: number;
  /** A wish that was refused, and why. */
  readonly refused?: string;
  /** Kept by the controller until the next look. */
  readonly loss?: Loss;
}
