import { PersonNeededError } from '../base/errors.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import { groupReportOf, type LeaseSeen, type NodeSeen } from './seen.ts';
import { LONGEST_TAKEOVER_MS, timingOf } from './timing.ts';

/** What is known of one kind, by `namespace/name`. */
export interface Cache<T> {
  get(key: string): T | undefined;
  list(): readonly T[];
  /** Why an object that is there cannot be read: such a one is unknown, never missing. */
  problem(key: string): string | undefined;
  /** False until everything was listed once: until then nothing that is absent is missing. */
  synced(): boolean;
}

/** When this process first saw the present record of a Lease, and when it saw it change. */
export interface Ages {
  of(
    key: string,
    resourceVersion: string,
  ): { readonly firstSeenMs: number; readonly changedMs: number | undefined } | undefined;
}

/** A node's Lease, as far as it is looked at here. */
export interface LeaseRecord {
  readonly metadata: { readonly resourceVersion: string };
  readonly holder: string;
  readonly transitions: number;
  readonly durationSeconds: number;
  readonly bootId: string;
  readonly settled: boolean;
}

/** What the sight of a node is made of. */
export interface NodesWorld {
  readonly nodes: Cache<FailoverNode>;
  readonly leases: Cache<LeaseRecord>;
  readonly ages: Ages;
}

/** Throws when there is such a FailoverNode and it cannot be read: nothing may be decided as if it were gone. */
export function observeNode(world: NodesWorld, namespace: string, name: string): NodeSeen {
  const problem = world.nodes.problem(`${namespace}/${name}`);
  if (problem !== undefined) throw new PersonNeededError(`Cannot decide about FailoverNode "${name}": ${problem}`);
  const node = world.nodes.get(`${namespace}/${name}`);
  return { name, node, lease: observeLease(world, `${namespace}/${name}`), twin: node && olderTwinOf(world, node) };
}

/**
 * The nodes of the spec in its order, then whoever else the assignment, an open epoch or a report ties to the group: any
 * node, while there is no assignment.
 */
export function observeNodes(world: NodesWorld, group: FailoverGroup): NodeSeen[] {
  const { namespace, name } = group.metadata;
  const names = new Set(group.spec.nodes);
  const assignment = group.status?.assignment;
  if (assignment) for (const { node } of [assignment, ...assignment.basis.earlier]) names.add(node);
  for (const node of world.nodes.list()) {
    if (node.metadata.namespace !== namespace || names.has(node.metadata.name)) continue;
    const seen: NodeSeen = { name: node.metadata.name, node, lease: { kind: 'unknown' }, twin: undefined };
    const report = groupReportOf(seen, name);
    const isNew = group.status?.neverAssigned === true && group.status.rollCall === undefined;
    const tied = report && (report.epoch > 0 || report.ended > 0);
    if (tied || (!assignment && !isNew)) names.add(node.metadata.name);
  }
  return [...names].map((one) => observeNode(world, namespace, one));
}

function observeLease(world: NodesWorld, key: string): LeaseSeen {
  const { leases, ages } = world;
  const lease = leases.get(key);
  if (!lease) return leases.synced() && leases.problem(key) === undefined ? { kind: 'missing' } : { kind: 'unknown' };
  const age = ages.of(key, lease.metadata.resourceVersion);
  if (!age) return { kind: 'unknown' };
  return {
    kind: 'present',
    holder: lease.holder,
    incarnation: lease.transitions,
    bootId: lease.bootId,
    settled: lease.settled,
    resourceVersion: lease.metadata.resourceVersion,
    takeoverAfterMs: takeoverAfterMs(lease, world, key),
    firstSeenMs: age.firstSeenMs,
    changedMs: age.changedMs,
  };
}

/** What the record itself asks for; where it asks for nothing, as one made by hand may, what its node is told to ask for. */
function takeoverAfterMs({ durationSeconds }: LeaseRecord, { nodes }: NodesWorld, key: string): number {
  if (durationSeconds > 0) return durationSeconds * 1000;
  const node = nodes.get(key);
  return node ? timingOf(node.spec.timing).takeoverAfterMs : LONGEST_TAKEOVER_MS;
}

/** An older FailoverNode, in any namespace, with the same instance: two agents must not both think it theirs. */
function olderTwinOf({ nodes }: NodesWorld, node: FailoverNode): string | undefined {
  const twin = nodes.list().find((other) => {
    if (other.metadata.uid === node.metadata.uid || other.spec.instanceId !== node.spec.instanceId) return false;
    const [a, b] = [other.metadata.creationTimestamp, node.metadata.creationTimestamp];
    return a === b ? other.metadata.uid < node.metadata.uid : a < b;
  });
  if (!twin) return undefined;
  const elsewhere = twin.metadata.namespace === node.metadata.namespace ? '' : `${twin.metadata.namespace}/`;
  return `${elsewhere}${twin.metadata.name}`;
}
