import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { SYSTEM_PATH } from './chain.ts';

/**
 * The group's addresses on this node's interface. A route of the VPC leads the packets here (aws.md); the address makes
 * the kernel take them in. As a /32 or /128 it brings no route of its own.
 *
 * Each has a lifetime that every renewal of the Lease prolongs: the kernel takes it away by itself when the agent is
 * gone (ip-address(8), valid_lft), so a node that has been fenced does not answer at it.
 */
export interface Addresses {
  /** Puts them there, or prolongs them. Rejects when `ip` does not do it in time. */
  put(addresses: readonly string[], lifetimeSeconds: number): Promise<void>;
  /** Succeeds where they are not there. */
  remove(addresses: readonly string[]): Promise<void>;
  /** Everything on the interface now. */
  present(): Promise<string[]>;
}

const OPTIONS = { timeout: 2_000, killSignal: 'SIGKILL', env: { PATH: SYSTEM_PATH } } as const;

export function addressesOn(device: string): Addresses {
  return {
    put: async (addresses, lifetimeSeconds) => {
      const life = `valid_lft ${lifetimeSeconds} preferred_lft ${lifetimeSeconds}`;
      await batch(
        addresses.map((address) => `address replace ${prefixed(address)} dev ${device} ${life}${once(address)}`),
      );
    },
    remove: async (addresses) => {
      const there = await addressesAt(device);
      const mine = addresses.filter((address) => there.includes(address));
      await batch(mine.map((address) => `address delete ${prefixed(address)} dev ${device}`));
    },
    present: () => addressesAt(device),
  };
}

/** The interface with that hardware address; undefined when there is none. */
export function deviceByMac(mac: string): string | undefined {
  const root = '/sys/class/net';
  return readdirSync(root).find((name) => {
    try {
      return readFileSync(`${root}/${name}/address`, 'latin1').trim() === mac.toLowerCase();
    } catch {
      return false;
    }
  });
}

function prefixed(address: string): string {
  return isIPv6(address) ? `${address}/128` : `${address}/32`;
}

/** Nobody else has it: detecting duplicates would only keep it unusable for a second (RFC 4862, 5.4). */
function once(address: string): string {
  return isIPv6(address) ? ' nodad' : '';
}

async function addressesAt(device: string): Promise<string[]> {
  const links = JSON.parse((await ip(['-json', 'address', 'show', 'dev', device])) || '[]') as {
    addr_info?: { local?: string }[];
  }[];
  return links.flatMap((link) => link.addr_info ?? []).flatMap(({ local }) => (local === undefined ? [] : [local]));
}

/** All in one process, however many. */
async function batch(lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await ip(['-force', '-batch', '-'], lines.map((line) => `${line}\n`).join(''));
}

function ip(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('ip', args, OPTIONS, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`Cannot run "ip ${args.join(' ')}": ${stderr.trim() || error.message}`));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
