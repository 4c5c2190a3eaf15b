/** The mark of everything that a node's agent starts for a group; without one, of the agent itself. */
export function markOf(namespace: string, node: string, group?: string): string {
  return [namespace, node, ...(group === undefined ? [] : [group])].join('/');
}

/** The mark of the warden beside a group's shim; no group has such a name. */
export function wardenMarkOf(groupMark: string): string {
  return `${groupMark}${WARDEN}`;
}

/** The group that a mark of this node names; undefined where it is another node's, or the agent's own. */
export function groupOfMark(mark: string, ownMark: string): string | undefined {
  if (!mark.startsWith(`${ownMark}/`)) return undefined;
  const name = mark.slice(ownMark.length + 1);
  return name.endsWith(WARDEN) ? name.slice(0, -WARDEN.length) : name;
}

const WARDEN = '#warden';
