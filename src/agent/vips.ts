import type { VipResource } from '../crds/vipresource.ts';
import { olderTwinOf } from '../decide/vip.ts';

/** The addresses of a group, by its VipResources. */
export interface GroupVips {
  /** Whatever of it may be on this node. Undefined before the first list: then anything may be. */
  readonly all: readonly string[] | undefined;
  /** Those that are its own: of two VipResources with one address the older holds it, here as in the route tables. */
  readonly held: readonly string[];
}

export function vipsOf(vips: readonly VipResource[] | undefined, group: string): GroupVips {
  if (vips === undefined) return { all: undefined, held: [] };
  const mine = vips.filter(({ spec }) => spec.groupRef.name === group);
  const held = mine.filter((vip) => olderTwinOf(vip, vips) === undefined);
  return { all: addressesOf(mine), held: addressesOf(held) };
}

function addressesOf(vips: readonly VipResource[]): string[] {
  return [...new Set(vips.map(({ spec }) => spec.address))];
}
