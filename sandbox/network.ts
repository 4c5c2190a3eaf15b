import { run } from './run.ts';
import { CONTROL, METADATA_ADDRESS, type PlaceName, SITES } from './topology.ts';

/**
 * The links of the VPC. Network namespaces are named by `ip netns`, whose files lie under /run: here that is a tmpfs
 * of the sandbox's own mount namespace, so they vanish with it.
 */
const ROUTER = 'router';

/** Every change of the network goes through here, one `ip` for a whole batch. */
export async function ip(netns: string | undefined, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const where = netns === undefined ? [] : ['-n', netns];
  await run(['ip', ...where, '-batch', '-'], { input: `${lines.join('\n')}\n`, timeoutMs: 10_000 });
}

/** The prefix that runs a command in the network of a place. */
export function inNetwork(name: PlaceName | typeof ROUTER): string[] {
  return ['nsenter', `--net=/run/netns/${name}`];
}

/** The router, and its link to the namespace this runs in. */
export async function makeRouter(): Promise<void> {
  await ip(undefined, [
    'link set lo up',
    `netns add ${ROUTER}`,
    `link add vpc type veth peer name ${CONTROL.link} netns ${ROUTER}`,
    `address add ${CONTROL.api}/${CONTROL.prefixLength} dev vpc`,
    `address add ${CONTROL.aws}/${CONTROL.prefixLength} dev vpc`,
    'link set vpc up',
    `route add 10.0.0.0/8 via ${CONTROL.router}`,
  ]);
  await ip(ROUTER, [
    'link set lo up',
    `address add ${METADATA_ADDRESS}/32 dev lo`,
    `address add ${CONTROL.router}/${CONTROL.prefixLength} dev ${CONTROL.link}`,
    `link set ${CONTROL.link} up`,
    ...nothingElseFor(CONTROL.link),
  ]);
  await run([...inNetwork(ROUTER), 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
}

/**
 * A namespace for a place, and its link to the router. Nothing is forwarded before the data plane says so.
 * `mac`: as EC2 has it, where it is known.
 */
export async function plugIn(name: PlaceName, mac?: string): Promise<void> {
  const { address, gateway, prefixLength } = SITES[name];
  await ip(undefined, [`netns add ${name}`]);
  await ip(ROUTER, [
    `link add ${name} type veth peer name eth0 netns ${name}`,
    `address add ${gateway}/32 dev ${name}`,
    `link set ${name} up`,
    `route add ${address}/32 dev ${name}`,
    // Hosts of one subnet reach each other through the router, which answers for them all.
    ...nothingElseFor(name),
  ]);
  await ip(name, [
    'link set lo up',
    ...(mac === undefined ? [] : [`link set eth0 address ${mac}`]),
    `address add ${address}/${prefixLength} dev eth0`,
    'link set eth0 up',
    `route add default via ${gateway}`,
  ]);
}

export async function setMac(name: PlaceName, mac: string): Promise<void> {
  await ip(name, [`link set eth0 address ${mac}`]);
}

/**
 * Takes the link away at once, as a power cut does: whatever the place's kernel still wants to say (the FINs and RSTs
 * of its dying processes) is not heard.
 */
export async function unplug(name: PlaceName): Promise<void> {
  await ip(ROUTER, [...nothingElseFor(name).map((line) => line.replace('add', 'del')), `link del ${name}`]);
}

/** When everything that ran in it is gone. */
export async function forgetNetwork(name: PlaceName): Promise<void> {
  await ip(undefined, [`netns del ${name}`]);
}

export async function applyToRouter(lines: readonly string[]): Promise<void> {
  await ip(ROUTER, lines);
}

/** The other end of the link to the host, which the launcher has made. */
export async function linkHost(device: string, address: string, prefixLength: number): Promise<void> {
  await ip(undefined, [`address add ${address}/${prefixLength} dev ${device}`, `link set ${device} up`]);
}

/** After all that is planned for a link: the router's own table has routes for its own answers, not for forwarding. */
function nothingElseFor(link: string): string[] {
  return [`rule add pref 30000 iif ${link} blackhole`];
}
