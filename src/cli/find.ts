import type { FailoverGroup } from '../crds/failovergroup.ts';
import { failoverGroups } from '../kube/resources.ts';
import type { Connection } from './command.ts';

/** Throws when there is no such group, naming those there are. */
export async function findGroup(
  { api, namespace }: Connection,
  name: string,
  signal: AbortSignal,
): Promise<FailoverGroup> {
  const group = await api.get(failoverGroups, namespace, name, { signal });
  if (group) return group;
  const { items } = await api.list(failoverGroups, namespace, { signal });
  throw noSuchGroup(name, namespace, items);
}

export function noSuchGroup(name: string, namespace: string, groups: readonly FailoverGroup[]): Error {
  const there = groups.map(({ metadata }) => metadata.name).join(', ');
  const which = there === '' ? 'there is none; choose another with -n' : `there is ${there}`;
  return new Error(`Cannot find FailoverGroup "${name}" in namespace ${namespace}: ${which}`);
}
