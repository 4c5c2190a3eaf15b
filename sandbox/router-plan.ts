import { CONTROL, ENDPOINTS, type Endpoint, PLACES, type PlaceName, SITES } from './topology.ts';

/**
 * What EC2 would do with a packet, as routes and rules of the one router that stands for the VPC. Pure: EC2's state
 * in, a plan out; `batchOf` turns the difference of two plans into commands for `ip -batch`.
 *
 * Every place has a routing table of its own, chosen by the link a packet comes in on, because on EC2 it is the
 * sender's subnet that chooses the route table. A table per place rather than per subnet lets a cut hit one sender.
 */
export function planRouter(seen: RouterInput): RouterPlan {
  const plan: RouterPlan = new Map();
  for (const [index, name] of PLACES.entries()) planPlace(plan, seen, name, TABLE_BASE + index);
  planControl(plan, seen);
  return plan;
}

export interface RouterInput {
  readonly ec2: Ec2State;
  /** The places whose link is there: not those of a server without power. */
  readonly linked: ReadonlySet<PlaceName>;
  readonly attached: Readonly<Record<PlaceName, Attachment>>;
  readonly cuts: readonly Cut[];
}

/** Where EC2 has a place: a host without an interface id is one that EC2 knows nothing of, and always up. */
export interface Attachment {
  readonly subnetId: string;
  readonly interfaceId?: string;
}

/** Packets of `from` to `to` vanish; those the other way are not touched. */
export interface Cut {
  readonly from: Endpoint;
  readonly to: Endpoint;
}

/** The part of EC2's state that decides about packets. */
export interface Ec2State {
  readonly routeTables: readonly RouteTable[];
  readonly interfaces: ReadonlyMap<string, NetworkInterface>;
  /** By instance id: `running`, `stopping`, … */
  readonly instances: ReadonlyMap<string, string>;
}
export interface RouteTable {
  readonly id: string;
  readonly main: boolean;
  readonly subnetIds: readonly string[];
  readonly routes: readonly { readonly destination: string; readonly target: string }[];
}
export interface NetworkInterface {
  readonly instanceId?: string;
  readonly sourceDestCheck: boolean;
}

/** From what is set (`route 101 10.1.0.20/32`, `rule 1001`) to how it is set. */
export type RouterPlan = Map<string, string>;

/** The commands that lead from one plan to the other. Routes are replaced, never taken away first: no gap. */
export function batchOf(have: ReadonlyMap<string, string>, want: ReadonlyMap<string, string>): string[] {
  const lines: string[] = [];
  for (const [key, how] of want) {
    if (have.get(key) === how) continue;
    const [kind, where, destination] = key.split(' ');
    if (kind === 'route') lines.push(`route replace ${how.replace('DST', destination ?? '')} table ${where}`);
    else lines.push(`rule add pref ${where} ${how}`);
  }
  for (const [key, how] of have) {
    if (want.has(key)) continue;
    const [kind, where, destination] = key.split(' ');
    if (kind === 'route')
      lines.push(`route del ${how.split(' ')[0] === 'blackhole' ? 'blackhole ' : ''}${destination} table ${where}`);
    else lines.push(`rule del pref ${where} ${how}`);
  }
  return lines;
}

const TABLE_BASE = 101;
const CONTROL_TABLE = 100;
/**
 * Priorities of the rules: cuts by source, then the table of a place, with and without source check, then nothing for
 * it. One priority has one rule for ever: a rule cannot be replaced, and the kernel takes a second one of the same
 * priority that says less for the same rule (fib4_rule_compare: "File exists").
 */
const CUT_PREF = 500;
const CHECKED_PREF = 1000;
const PLACE_PREF = 2000;

function planPlace(plan: RouterPlan, seen: RouterInput, name: PlaceName, table: number): void {
  if (!seen.linked.has(name)) return;
  const attachment = seen.attached[name];
  const own = attachment.interfaceId === undefined ? undefined : seen.ec2.interfaces.get(attachment.interfaceId);
  // "Each EC2 instance performs source/destination checks by default": the instance must be the source or destination
  // of what it sends or receives (Amazon VPC user guide, NAT instances).
  if (own?.sourceDestCheck) {
    plan.set(`rule ${CHECKED_PREF + table}`, `iif ${name} from ${SITES[name].address} lookup ${table}`);
  } else {
    plan.set(`rule ${PLACE_PREF + table}`, `iif ${name} lookup ${table}`);
  }

  const cutOff = new Set(seen.cuts.filter((cut) => cut.from === name).map((cut) => cut.to));
  for (const other of PLACES) {
    if (other === name) continue;
    plan.set(`route ${table} ${SITES[other].address}/32`, cutOff.has(other) ? BLACKHOLE : hopTo(seen, other, 'own'));
  }
  for (const to of ['api', 'aws'] as const) if (cutOff.has(to)) plan.set(`route ${table} ${CONTROL[to]}/32`, BLACKHOLE);
  for (const route of routesOf(seen.ec2, attachment.subnetId)) {
    // Whoever is not there is not answered for: the VPC drops silently.
    const how = route.target === 'local' ? BLACKHOLE : hopOf(seen, route.target, cutOff);
    const key = `route ${table} ${route.destination === '0.0.0.0/0' ? 'default' : route.destination}`;
    if (!plan.has(key)) plan.set(key, how);
  }
  if (!plan.has(`route ${table} default`)) plan.set(`route ${table} default`, BLACKHOLE);
}

function planControl(plan: RouterPlan, seen: RouterInput): void {
  plan.set(`rule ${PLACE_PREF}`, `iif ${CONTROL.link} lookup ${CONTROL_TABLE}`);
  for (const name of PLACES) plan.set(`route ${CONTROL_TABLE} ${SITES[name].address}/32`, hopTo(seen, name, 'own'));
  plan.set(`route ${CONTROL_TABLE} default`, BLACKHOLE);
  // Both addresses of `control` come in on one link: these cuts tell them apart by the source.
  for (const cut of seen.cuts) {
    if (cut.from !== 'api' && cut.from !== 'aws') continue;
    if (cut.to === 'api' || cut.to === 'aws') continue;
    const pref = CUT_PREF + ENDPOINTS.indexOf(cut.from) * ENDPOINTS.length + ENDPOINTS.indexOf(cut.to);
    plan.set(`rule ${pref}`, `iif ${CONTROL.link} from ${CONTROL[cut.from]} to ${SITES[cut.to].address} blackhole`);
  }
}

function routesOf(ec2: Ec2State, subnetId: string): RouteTable['routes'] {
  const table =
    ec2.routeTables.find((t) => t.subnetIds.includes(subnetId)) ??
    // "If a subnet isn't explicitly associated, it uses the main route table" (Amazon VPC user guide). The caller
    // lists the tables of this VPC alone.
    ec2.routeTables.find((t) => t.main);
  return table?.routes ?? [];
}

const BLACKHOLE = 'blackhole DST';

function hopOf(seen: RouterInput, target: string, cutOff: ReadonlySet<Endpoint>): string {
  if (target.startsWith('igw-') || target.startsWith('nat-'))
    return `DST via ${CONTROL.api} dev ${CONTROL.link} onlink`;
  const place = PLACES.find((name) => seen.attached[name].interfaceId === target);
  return place === undefined || cutOff.has(place) ? BLACKHOLE : hopTo(seen, place, 'foreign');
}

/** `foreign`: the packet's destination is not an address that EC2 gave to the interface. */
function hopTo(seen: RouterInput, name: PlaceName, destination: 'own' | 'foreign'): string {
  if (!seen.linked.has(name)) return BLACKHOLE;
  const { interfaceId } = seen.attached[name];
  if (interfaceId !== undefined) {
    const known = seen.ec2.interfaces.get(interfaceId);
    if (known?.instanceId === undefined) return BLACKHOLE;
    // The link of a server that has no power is gone; until then it answers, also while EC2 says `stopping`.
    if (!['running', 'stopping'].includes(seen.ec2.instances.get(known.instanceId) ?? '')) return BLACKHOLE;
    if (destination === 'foreign' && known.sourceDestCheck) return BLACKHOLE;
  }
  return destination === 'own' ? `DST dev ${name}` : `DST via ${SITES[name].address} dev ${name} onlink`;
}
