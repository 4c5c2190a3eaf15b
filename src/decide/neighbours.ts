import type { Assignment, FailoverGroup } from '../crds/failovergroup.ts';
import { isInTouch } from './fitness.ts';
import { type GroupSeen, groupReportOf, type NodeSeen, type Now } from './seen.ts';
import { timingOf } from './timing.ts';

/** What the other nodes say of the one that has the group, by what they read on the shared disk. */
export type DiskView =
  /** The epoch has no second channel: its Lease is all there is. */
  | { readonly state: 'noChannel' }
  /** One of them is enough. `untilMs`: when the first of their words would not count any more. */
  | { readonly state: 'seen'; readonly by: readonly string[]; readonly untilMs: number }
  /** At least one of them has read the disk, and none sees it. */
  | { readonly state: 'notSeen'; readonly by: readonly string[] }
  | { readonly state: 'unknown'; readonly why: string };

type Word = 'seen' | 'notSeen' | { readonly unknown: string };

/**
 * Whose word counts: a node that this controller itself sees renew, which reports under the incarnation it has now, and
 * for `notSeen` one that reads the disk of the epoch. An agent writes its report again whenever it is not what is
 * stored, so a report is behind by no more than the pauses between those tries. An old `notSeen` is no danger: by the
 * time a Lease has aged, a node that writes the disk has been looked at anew `takeoverAfter` long, by somebody who
 * renews meanwhile; and should such a report come late all the same, the gate keeps the new node waiting for as long as
 * the old one writes.
 */
export function diskView(seen: GroupSeen, { node: holder, basis }: Assignment, now: Now): DiskView {
  if (!basis.heartbeat) return { state: 'noChannel' };
  const others = seen.nodes.filter(({ name }) => name !== holder);
  const words = others.map((node) => ({ node, word: wordOf(node, seen, holder, basis, now) }));
  const who = (said: Word) => words.filter(({ word }) => word === said).map(({ node }) => node);
  const seers = who('seen');
  if (seers.length > 0) {
    return { state: 'seen', by: seers.map(({ name }) => name), untilMs: Math.min(...seers.map(inTouchUntilMs)) };
  }
  const deniers = who('notSeen');
  if (deniers.length > 0) return { state: 'notSeen', by: deniers.map(({ name }) => name) };
  const why = words.map(({ node, word }) => `${node.name}: ${typeof word === 'string' ? word : word.unknown}`);
  return { state: 'unknown', why: why.join('; ') || 'there is no other node' };
}

/** Whether it still lives by the disk, and nobody has decided yet that the group is to go elsewhere all the same. */
export function livesOnDisk(seen: GroupSeen, assignment: Assignment, now: Now): boolean {
  return !isPromised(seen.group, assignment) && diskView(seen, assignment, now).state === 'seen';
}

/**
 * Nobody can tell by the disk whether it still lives, and nobody has decided yet that the group is to go elsewhere all the
 * same. What is being deleted starts nowhere, and its servers may all be gone: nobody is waited for.
 */
export function isUnread(seen: GroupSeen, assignment: Assignment, now: Now): boolean {
  if (isPromised(seen.group, assignment) || seen.group.metadata.deletionTimestamp !== undefined) return false;
  return diskView(seen, assignment, now).state === 'unknown';
}

/**
 * The move is decided and stored. It is carried out also where the old node does not hear of it: it stops as soon as it
 * reads the claim of the new one on the disk, and the new one waits for that at its gate. A group that is to end has no
 * new node, so nobody would tell the old one.
 */
export function isPromised({ metadata, spec }: FailoverGroup, { state }: Assignment): boolean {
  return state === 'Stopping' && spec.running && metadata.deletionTimestamp === undefined;
}

function wordOf(node: NodeSeen, seen: GroupSeen, holder: string, basis: Assignment['basis'], now: Now): Word {
  if (!isInTouch(node, now)) return { unknown: 'out of touch itself' };
  const report = groupReportOf(node, seen.group.metadata.name);
  const { lease } = node;
  const current = lease.kind === 'present' && node.node?.status?.report?.incarnation === lease.incarnation;
  const state = report?.neighbours.find(({ name }) => name === holder)?.state;
  if (!current || state === undefined) return { unknown: 'has not reported on it yet' };
  if (state === 'unknown') return { unknown: 'cannot read the disk' };
  if (state === 'notSeen' && basis.diskId !== undefined && report?.diskId !== basis.diskId)
    return { unknown: 'does not have the disk' };
  return state;
}

function inTouchUntilMs({ node, lease }: NodeSeen): number {
  if (node === undefined || lease.kind !== 'present' || lease.changedMs === undefined) return Number.POSITIVE_INFINITY;
  return lease.changedMs + timingOf(node.spec.timing).fenceAfterMs + 1;
}
