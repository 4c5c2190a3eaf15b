import type { DiskView, GroupView, NodeView, StatusView, VipView } from './statusview.ts';

/** What is worth a line of each object: ages and latencies are not. By `failovergroup/failover`. */
export type Lines = ReadonlyMap<string, string>;

export function linesOf({ groups, nodes, vips, disks }: StatusView, allNamespaces: boolean): Lines {
  const at = (kind: string, { namespace, name }: { readonly namespace: string; readonly name: string }) =>
    `${allNamespaces ? `${namespace}/` : ''}${kind}/${name}`;
  return new Map([
    ...groups.map((one) => [at('failovergroup', one), groupLine(one)] as const),
    ...nodes.map((one) => [at('failovernode', one), nodeLine(one)] as const),
    ...vips.map((one) => [at('vipresource', one), vipLine(one)] as const),
    ...disks.map((one) => [at('diskmonitor', one), diskLine(one)] as const),
  ]);
}

/** A line for each object that is new, changed or gone, in the order of the screen. */
export function changes(before: Lines, now: Lines, iso: string): string[] {
  const changed = [...now].filter(([object, line]) => before.get(object) !== line);
  const gone = [...before.keys()].filter((object) => !now.has(object));
  return [
    ...changed.map(([object, line]) => `${iso}  ${object}: ${line}`),
    ...gone.map((object) => `${iso}  ${object}: gone`),
  ];
}

function groupLine({ ready, reason, message, activeNode, assigned, moveTo }: GroupView): string {
  const where = assigned ? `${assigned.node}, epoch ${assigned.epoch}, ${assigned.state}` : 'no node';
  const serves = activeNode === undefined ? '' : `, runs on ${activeNode}`;
  const wish = moveTo === undefined ? '' : `, asked to move to ${moveTo}`;
  return `Ready ${ready}: ${reason}: ${message} (${where}${serves}${wish})`;
}

function nodeLine({ inTouch, reason, fit, runs, lease }: NodeView): string {
  const words = [
    `in touch: ${inTouch}${reason === 'InTouch' ? '' : ` (${reason})`}`,
    ...(lease?.holder === '' ? ['its Lease is held by nobody'] : []),
    ...fit.map((one) => `fit for ${one.group}: ${one.fit ? 'yes' : `no (${one.reason})`}`),
    ...runs.map((one) => `${one.group}: epoch ${one.epoch}, ${one.state}, ${one.ready ? 'ready' : 'not ready'}`),
  ];
  return words.join('; ');
}

function vipLine({ ready, reason, target, tables }: VipView): string {
  const to = target === undefined ? 'nowhere' : `${target.node} (${target.networkInterfaceId})`;
  return `Ready ${ready}: ${reason}: leads to ${to}; ${tables.map(({ id, state }) => `${id} ${state}`).join(', ')}`;
}

function diskLine({ ready, reason, nodes }: DiskView): string {
  return `Ready ${ready}: ${reason}: ${nodes.map(({ name, state }) => `${name} ${state}`).join(', ')}`;
}
