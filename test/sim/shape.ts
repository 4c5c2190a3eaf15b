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
}

/** The simplest: what the first seeds that failed had. */
export const ONE_GROUP: Shape = { nodes: 2, groups: [{ name: 'group', heartbeat: false }] };

/** The seed's choice. Drawn by itself, so that a run of a given shape is the same as one whose seed chose it. */
export function shapeFrom(seed: number): Shape {
  const chance = new Chance(seed * 7 + 1);
  const names = chance.pick([['group'], ['group'], ['group', 'other']]);
  return {
    nodes: chance.pick([2, 2, 3]),
    groups: names.map((name) => ({ name, heartbeat: chance.hits(0.6) })),
  };
}

/** The same with a second channel for every group. */
export function allBeat({ nodes, groups }: Shape): Shape {
  return { nodes, groups: groups.map((group) => ({ ...group, heartbeat: true })) };
}

/** The VIP of a group. */
export function addressOf(group: string): string {
  return group === 'group' ? '10.1.0.20' : '10.1.0.21';
}
