/** The mark of everything that a node's agent starts for a group; without one, of the agent itself. */
export function markOf(namespace: string, node: string, group?: string): string {
  return [namespace, node, ...(group === undefined ? [] : [group])].join('/');
}
