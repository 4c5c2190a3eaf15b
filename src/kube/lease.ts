import type { Clock } from '../base/clock.ts';
import { API_GROUP } from '../crds/kind.ts';
import type { CallOptions, Draft, KubeApi } from './api.ts';
import { Conflict, NotFound } from './errors.ts';
import { microTime } from './microtime.ts';
import { BOOT_ID_ANNOTATION, leases, type NodeLease, SETTLED_ANNOTATION } from './resources.ts';

/** Keeps a node's Lease where it is when someone deletes it: a missing Lease is no proof. */
export const LEASE_FINALIZER = `${API_GROUP}/lease`;
/** Names the node, so that node Leases can be listed without those of elections. */
export const NODE_LABEL = `${API_GROUP}/node`;

/** Where a node's Lease lies. It has the node's name. */
export interface LeaseSite {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly namespace: string;
  readonly node: string;
}

export interface Taking {
  /** The new incarnation is above this and above what the Lease says. */
  readonly floor: number;
  readonly bootId: string;
  readonly settled: boolean;
  /** `takeoverAfter`, in whole seconds. */
  readonly durationSeconds: number;
}

export interface Held {
  readonly lease: NodeLease;
  /** By the boot clock, before the write left: a deadline counts from here. */
  readonly sentMs: number;
}

/**
 * Takes the Lease as a new incarnation, whoever holds it. Only after everything the old incarnation ran is ended.
 *
 * Throws `Conflict` when somebody wrote in between, `Unanswered` when it may or may not be taken: take it again, which
 * makes one more incarnation.
 */
export async function takeLease(site: LeaseSite, taking: Taking, o: CallOptions = {}): Promise<Held> {
  const old = await site.api.get(leases, site.namespace, site.node, o);
  const now = microTime(site.clock);
  const spec = {
    holderIdentity: site.node,
    leaseTransitions: Math.max(old?.transitions ?? 0, taking.floor) + 1,
    leaseDurationSeconds: taking.durationSeconds,
    acquireTime: now,
    renewTime: now,
  };
  const annotations = { [BOOT_ID_ANNOTATION]: taking.bootId, [SETTLED_ANNOTATION]: String(taking.settled) };
  const sentMs = site.clock.nowMs();
  const lease = old
    ? await site.api.replace(leases, site.namespace, { metadata: marked(old, site.node, annotations), spec }, o)
    : await site.api.create(leases, site.namespace, { metadata: newMetadata(site.node, annotations), spec }, o);
  return { lease, sentMs };
}

/**
 * - `renewed`: from `sentMs` on, `fenceAfter` counts anew.
 * - `lost`: this incarnation holds no Lease any more. `seen` is what was read; undefined when there is none.
 * - `unknown`: it may or may not have been renewed. `lease` is what to try with next; the deadline stands as it was.
 */
export type Renewal =
  | ({ readonly type: 'renewed' } & Held)
  | { readonly type: 'lost'; readonly seen: NodeLease | undefined }
  | { readonly type: 'unknown'; readonly lease: NodeLease; readonly error: unknown };

/**
 * Renews the Lease on the very version that is held; changes nothing but its time and duration. Never throws but for the
 * caller's signal.
 *
 * A conflict is not yet a loss: an earlier renewal without an answer may have landed after all, or somebody set a label.
 * So the Lease is read, and where the incarnation is still ours renewed once more, within the same `timeoutMs`. The read
 * itself extends nothing.
 */
export async function renewLease(
  site: LeaseSite,
  held: NodeLease,
  durationSeconds: number,
  o: CallOptions & { readonly timeoutMs: number },
): Promise<Renewal> {
  const endMs = site.clock.nowMs() + o.timeoutMs;
  const left = (): CallOptions => ({ signal: o.signal, timeoutMs: Math.max(1, endMs - site.clock.nowMs()) });
  let lease = held;
  try {
    return await putRenewal(site, lease, durationSeconds, left());
  } catch (error) {
    o.signal?.throwIfAborted();
    if (!(error instanceof Conflict) && !(error instanceof NotFound)) return { type: 'unknown', lease, error };
  }
  try {
    const seen = await site.api.get(leases, site.namespace, site.node, left());
    if (!seen || !sameIncarnation(seen, held)) return { type: 'lost', seen };
    lease = seen;
    return await putRenewal(site, lease, durationSeconds, left());
  } catch (error) {
    o.signal?.throwIfAborted();
    return { type: 'unknown', lease, error };
  }
}

/**
 * Fences a node: takes its Lease away, on the very version that was seen unchanged for its whole duration. Throws
 * `Conflict` when the node has renewed in between, and then nothing has happened; `Unanswered` leaves it open.
 */
export async function fenceLease(
  site: Omit<LeaseSite, 'node'>,
  aged: NodeLease,
  o: CallOptions = {},
): Promise<NodeLease> {
  const spec = { ...specOf(aged), holderIdentity: '', leaseTransitions: aged.transitions + 1 };
  return await site.api.replace(leases, site.namespace, { metadata: aged.metadata, spec }, o);
}

/**
 * Makes a Lease that nobody holds, for a node whose Lease is gone: it ages and is fenced like any other. Throws
 * `AlreadyExists` when there is one.
 */
export async function createUnheldLease(
  site: LeaseSite,
  record: { readonly transitions: number; readonly durationSeconds: number },
  o: CallOptions = {},
): Promise<NodeLease> {
  const spec = {
    holderIdentity: '',
    leaseTransitions: record.transitions,
    leaseDurationSeconds: record.durationSeconds,
    renewTime: microTime(site.clock),
  };
  return await site.api.create(leases, site.namespace, { metadata: newMetadata(site.node, {}), spec }, o);
}

async function putRenewal(
  site: LeaseSite,
  lease: NodeLease,
  durationSeconds: number,
  o: CallOptions,
): Promise<Renewal> {
  const renewed = { ...specOf(lease), leaseDurationSeconds: durationSeconds, renewTime: microTime(site.clock) };
  const sentMs = site.clock.nowMs();
  const written = await site.api.replace(leases, site.namespace, { metadata: lease.metadata, spec: renewed }, o);
  return { type: 'renewed', lease: written, sentMs };
}

/** The uid tells a Lease that was removed by force and made anew. */
function sameIncarnation(seen: NodeLease, held: NodeLease): boolean {
  return (
    seen.holder === held.holder && seen.transitions === held.transitions && seen.metadata.uid === held.metadata.uid
  );
}

function specOf(lease: NodeLease): Record<string, unknown> {
  return {
    holderIdentity: lease.holder,
    leaseTransitions: lease.transitions,
    // The server refuses a duration of 0, and leaves an absent one out.
    ...(lease.durationSeconds > 0 ? { leaseDurationSeconds: lease.durationSeconds } : {}),
    ...(lease.renewTime ? { renewTime: lease.renewTime } : {}),
    ...(lease.acquireTime ? { acquireTime: lease.acquireTime } : {}),
  };
}

function newMetadata(node: string, annotations: Record<string, string>): Draft['metadata'] {
  return { name: node, labels: { [NODE_LABEL]: node }, finalizers: [LEASE_FINALIZER], annotations };
}

function marked(old: NodeLease, node: string, annotations: Record<string, string>): Draft['metadata'] {
  const { metadata } = old;
  // The server refuses new finalizers on an object that is being deleted.
  const complete = metadata.deletionTimestamp !== undefined || metadata.finalizers.includes(LEASE_FINALIZER);
  return {
    ...metadata,
    labels: { ...metadata.labels, [NODE_LABEL]: node },
    annotations: { ...metadata.annotations, ...annotations },
    finalizers: complete ? metadata.finalizers : [...metadata.finalizers, LEASE_FINALIZER],
  };
}
