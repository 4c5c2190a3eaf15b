import type { DiskView, GroupView, MoveView, NodeView, StatusView, VipView } from './statusview.ts';
import { type Cell, type Mood, paint, table } from './table.ts';
import { ageWords, tookWords } from './words.ts';

export interface StatusTextOptions {
  readonly wide: boolean;
  readonly allNamespaces: boolean;
  readonly colours: boolean;
  /** The wall clock, for ages. */
  readonly nowMs: number;
}

/** One screen: what is, and why where it is not well. */
export function statusText(view: StatusView, o: StatusTextOptions): string {
  const parts = [groups(view.groups, o), nodes(view.nodes, o), vips(view.vips, o), disks(view.disks, o), why(view, o)];
  return parts.filter((part) => part !== '').join('\n');
}

function groups(views: readonly GroupView[], o: StatusTextOptions): string {
  return section(o, views, ['GROUP', 'NODE', 'READY', 'REASON', 'EPOCH', 'LAST MOVE'], (group) => [
    group.name,
    group.activeNode ?? (group.assigned ? `(${group.assigned.node})` : '-'),
    ready(group.ready),
    group.reason,
    String(group.assigned?.epoch ?? '-'),
    group.lastMove ? moveWords(group.lastMove, o.nowMs) : '-',
  ]);
}

/** `Requested, server1 → server2, 2m ago, served after 1.26 s`. */
function moveWords(move: MoveView, nowMs: number): string {
  const way = `${move.from === undefined ? '' : `${move.from} `}→ ${move.to ?? '?'}`;
  const ago = `${ageWords(nowMs - Date.parse(move.startedAt))} ago`;
  const served = move.servedAfterMs === undefined ? 'under way' : `served after ${tookWords(move.servedAfterMs)}`;
  const proof = move.proof === undefined ? '' : ` (${move.proof})`;
  return `${move.reason}${proof}, ${way}, ${ago}, ${served}`;
}

function nodes(views: readonly NodeView[], o: StatusTextOptions): string {
  const extra = o.wide ? ['INSTANCE', 'AGENT', 'ADDRESSES'] : [];
  return section(o, views, ['NODE', 'IN TOUCH', 'LEASE', 'FIT', 'RUNS', ...extra], (node) => [
    node.name,
    touch(node),
    lease(node, o.wide),
    fitness(node),
    runs(node),
    ...(o.wide ? [node.instanceId, node.agentVersion ?? '-', node.addresses.join(', ') || '-'] : []),
  ]);
}

function touch({ inTouch, reason }: NodeView): Cell {
  const mood: Mood = { yes: 'good', no: 'bad', unknown: 'doubtful' }[inTouch] as Mood; // the table has only moods
  return {
    text: reason === 'InTouch' ? 'yes' : `${inTouch}: ${reason}`,
    mood: reason === 'Cordoned' ? 'doubtful' : mood,
  };
}

function lease({ lease }: NodeView, wide: boolean): string {
  if (lease === undefined) return '-';
  const age = lease.renewedAgoMs === undefined ? '-' : tookWords(lease.renewedAgoMs);
  const holder = lease.holder === '' ? 'held by nobody' : `${age} old`;
  return wide ? `${holder}, incarnation ${lease.incarnation}` : holder;
}

/** The name of the group only where there are several. */
function fitness({ fit }: NodeView): Cell {
  const words = fit.map((one) => `${fit.length > 1 ? `${one.group}: ` : ''}${one.fit ? 'yes' : `no: ${one.reason}`}`);
  const mood = fit.every((one) => one.fit) ? 'good' : 'bad';
  return words.length === 0 ? { text: '-' } : { text: words.join(', '), mood };
}

/** Of a node that is not heard of it is what it said last. */
function runs({ runs, inTouch }: NodeView): string {
  const words = runs.map(runWords).join(', ');
  return words === '' ? '-' : inTouch === 'yes' ? words : `last known: ${words}`;
}

function runWords({ group, epoch, state, ready, pid, restarts }: NodeView['runs'][number]): string {
  const details = [
    `epoch ${epoch}`,
    state === 'Running' && !ready ? 'not ready' : state,
    ...(pid === undefined ? [] : [`pid ${pid}`]),
    ...(restarts === 0 ? [] : [`${restarts} restart${restarts === 1 ? '' : 's'}`]),
  ];
  return `${group} (${details.join(', ')})`;
}

function vips(views: readonly VipView[], o: StatusTextOptions): string {
  return section(o, views, ['VIP', 'ADDRESS', 'GROUP', 'LEADS TO', 'READY', 'REASON', 'ROUTE TABLES'], (vip) => [
    vip.name,
    vip.address,
    vip.group,
    vip.target ? `${vip.target.node}${o.wide ? ` (${vip.target.networkInterfaceId})` : ''}` : '-',
    ready(vip.ready),
    vip.reason,
    tableWords(vip, o.wide),
  ]);
}

/** All of them with `-o wide`; else those in place are counted and the others named. */
function tableWords({ tables }: VipView, wide: boolean): string {
  const one = ({ id, state, target }: VipView['tables'][number]) =>
    `${id} ${state}${target === undefined ? '' : ` → ${target}`}`;
  if (wide) return tables.map(one).join(', ');
  const others = tables.filter(({ state }) => state !== 'InPlace');
  const placed = `${tables.length - others.length} of ${tables.length} in place`;
  return [placed, ...others.map(one)].join('; ');
}

function disks(views: readonly DiskView[], o: StatusTextOptions): string {
  return section(o, views, ['DISK', 'PATH', 'GROUP', 'READY', 'REASON', 'NODES'], (disk) => [
    disk.name,
    disk.path,
    disk.group,
    ready(disk.ready),
    disk.reason,
    disk.nodes.map(diskWords).join(', ') || '-',
  ]);
}

function diskWords({ name, state, latencyMs }: DiskView['nodes'][number]): string {
  return `${name} ${state}${latencyMs === undefined ? '' : ` ${latencyMs} ms`}`;
}

function why({ problems }: StatusView, { colours, allNamespaces }: StatusTextOptions): string {
  if (problems.length === 0) return '';
  const lines = problems.map(({ object, namespace, severity, reason, message }) => {
    const mood: Mood = severity === 'notReady' ? 'bad' : 'doubtful';
    const at = allNamespaces ? `${namespace}/${object}` : object;
    return `  ${at}: ${paint({ text: reason, mood }, colours)}: ${message}\n`;
  });
  return `WHY\n${lines.join('')}`;
}

function ready(status: string): Cell {
  return { text: status, mood: status === 'True' ? 'good' : status === 'False' ? 'bad' : 'doubtful' };
}

function section<V extends { readonly namespace: string }>(
  { allNamespaces, colours }: StatusTextOptions,
  views: readonly V[],
  headings: readonly string[],
  row: (view: V) => readonly (Cell | string)[],
): string {
  if (views.length === 0) return '';
  const rows = views.map((view) => (allNamespaces ? [view.namespace, ...row(view)] : row(view)));
  return table(allNamespaces ? ['NAMESPACE', ...headings] : headings, rows, colours);
}
