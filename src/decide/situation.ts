import type { Assignment } from '../crds/failovergroup.ts';
import { type Fitness, fitnessOf } from './fitness.ts';
import { type GroupSeen, type NodeSeen, type Now, nodeSeen } from './seen.ts';

/** What was seen of a group, with what every check asks of it worked out once. */
export interface Situation {
  readonly seen: GroupSeen;
  readonly now: Now;
  readonly name: string;
  readonly assignment: Assignment | undefined;
  readonly fitness: readonly Fitness[];
  readonly holder: NodeSeen | undefined;
  readonly deleting: boolean;
  readonly wished: boolean;
}

export function situationOf(seen: GroupSeen, now: Now): Situation {
  const { group } = seen;
  const assignment = group.status?.assignment;
  const deleting = group.metadata.deletionTimestamp !== undefined;
  return {
    seen,
    now,
    name: group.metadata.name,
    assignment,
    fitness: group.spec.nodes.map((name) => fitnessOf(seen, nodeSeen(seen, name) ?? absent(name), now)),
    holder: assignment && nodeSeen(seen, assignment.node),
    deleting,
    wished: group.spec.running && !deleting,
  };
}

function absent(name: string): NodeSeen {
  return { name, node: undefined, lease: { kind: 'unknown' }, twin: undefined };
}
