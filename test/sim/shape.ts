import { Chance } from './chance.ts';

/** What there is in a run. */
export interface Shape {
  readonly nodes: number;
  readonly groups: readonly GroupShape[];
}

export interface GroupShape {
  readonly name: string;
  /** Whether it has a second channel. */
  readonly heartbeat: boolean;
  /** `Lease` unless given. */
  readonly policy?: 'Lease' | 'Instance';
}

/** The simplest: what the first seeds that failed had. */
export const ONE_GROUP: Shape = { nodes: 2, groups: [{ name: 'group', heartbeat: false }] };

/** The seed's choice. Drawn by itself, so that a run of a given shape is the same as one whose seed chose it. */
export function shapeFrom(seed: number): Shape {
  const shape = leaseShapeFrom(seed);
  // Drawn apart, so that what else there is stays as it was before there were policies.
  const chance = new Chance(seed * 11 + 3);
  if (!chance.hits(INSTANCE_SHARE)) return shape;
  const [first, ...rest] = shape.groups;
  const others = rest.map((group) => (chance.hits(0.5) ? byInstance(group) : group));
  return { ...shape, groups: [...(first ? [byInstance(first)] : []), ...others] };
}

/** How many of the seeds have a group with `policy: Instance`. */
const INSTANCE_SHARE = 0.3;

function byInstance(group: GroupShape): GroupShape {
  return { ...group, policy: 'Instance' };
}

/** The same where no group has `policy: Instance`. */
export function leaseShapeFrom(seed: number): Shape {
  const chance = new Chance(seed * 7 + 1);
  const names = chance.pick([['group'], ['group'], ['group', 'other']]);
  return {
    nodes: chance.pick([2, 2, 3]),
    groups: names.map((name) => ({ name, heartbeat: chance.hits(0.6) })),
  };
}

export function hasInstance({ groups }: Shape): boolean {
  return groups.some(({ policy }) => policy === 'Instance');
}

/** The same with a second channel for every group. */
export function allBeat({ nodes, groups }: Shape): Shape {
  return { nodes, groups: groups.map((group) => ({ ...group, heartbeat: true })) };
}

/** The VIP of a group. */
export function addressOf(group: string): string {
  return group === 'group' ? '10.1.0.20' : '10.1.0.21';
}
