import { API_GROUP } from '../crds/kind.ts';
import { belongingTo, type Cluster, readCluster } from './cluster.ts';
import type { Command } from './command.ts';
import { ALL_NAMESPACES } from './commandline.ts';
import { EXIT, UsageError } from './exit.ts';
import { noSuchGroup } from './find.ts';
import { asData } from './output.ts';
import { statusText } from './statustext.ts';
import { statusView } from './statusview.ts';

export const status: Command = {
  name: 'status',
  takes: '[GROUP]',
  least: 0,
  most: 1,
  summary: 'What serves where, and why it does not where it does not',
  about: `Groups, nodes, addresses and disks on one screen, and why, where something is not well.

IN TOUCH is the controller's word on the node, LEASE the age of the Lease by this machine's clock.
Exit code 0 when all of them are Ready, 3 when one is not.`,
  options: ALL_NAMESPACES,
  formats: ['wide', 'json', 'yaml', 'name'],
  async run({ words: [name], allNamespaces, format, terminal, clock, signal, connect }) {
    if (allNamespaces && name !== undefined)
      throw new UsageError('A group is in one namespace: write either its name or --all-namespaces');
    const { api, namespace } = connect();
    const all = await readCluster(api, allNamespaces ? undefined : namespace, { signal });
    const cluster = name === undefined ? all : ofGroup(name, namespace, all);
    const nowMs = clock.wall().getTime();
    const view = statusView(cluster, nowMs);
    const code = view.ready ? EXIT.ok : EXIT.notWell;
    if (format === 'json' || format === 'yaml') {
      terminal.out(asData(view, format));
    } else if (format === 'name') {
      terminal.out(names(cluster));
    } else if (Object.values(view).every((part) => !Array.isArray(part) || part.length === 0)) {
      const where = allNamespaces ? 'in any namespace' : `in namespace ${namespace}; --all-namespaces looks everywhere`;
      terminal.err(`There is nothing of pointsman ${where}\n`);
    } else {
      terminal.out(statusText(view, { wide: format === 'wide', allNamespaces, colours: terminal.colours, nowMs }));
    }
    return code;
  },
};

/** Throws when there is no such group. */
export function ofGroup(name: string, namespace: string, cluster: Cluster): Cluster {
  const group = cluster.groups.find(({ metadata }) => metadata.name === name);
  if (group) return belongingTo(group, cluster);
  const problem = cluster.unreadable.find(
    ({ kind, key }) => kind === 'failovergroup' && key === `${namespace}/${name}`,
  );
  if (problem) throw new Error(problem.message);
  throw noSuchGroup(name, namespace, cluster.groups);
}

/** As `kubectl get -o name` writes them. */
function names({ groups, nodes, vips, monitors }: Cluster): string {
  const of = (kind: string, objects: readonly { readonly metadata: { readonly name: string } }[]) =>
    objects.map(({ metadata }) => `${kind}.${API_GROUP}/${metadata.name}\n`);
  return [
    ...of('failovergroup', groups),
    ...of('failovernode', nodes),
    ...of('vipresource', vips),
    ...of('diskmonitor', monitors),
  ].join('');
}
