import { SANDBOX_MARK } from './inside-api.ts';
import { allPids, argvOf, childrenOf } from './processes.ts';
import type { ServerName } from './topology.ts';

/** The host's pids of the sandboxes that run on it: of their pid 1. */
export function findSandboxes(): number[] {
  return allPids().filter((pid) => {
    const argv = argvOf(pid);
    return argv[0] === 'bash' && argv[3] === SANDBOX_MARK; // as sandbox.ts starts it
  });
}

/** The pid 1 of a server is a child of an unshare, and that is a child of `inside.ts`; its last argument names it. */
export function findServer(sandboxPid: number, name: ServerName): number | undefined {
  return childrenOf(sandboxPid)
    .flatMap(childrenOf)
    .flatMap(childrenOf)
    .find((pid) => argvOf(pid).at(-1) === `pointsman-${name}`);
}

/** What nsenter(1) is told to get to where the whole sandbox is seen, in a network of it. */
export function enterSandbox(pid: number, network?: string): string[] {
  const net = network === undefined ? '-n' : `--net=/proc/${pid}/root/run/netns/${network}`;
  return ['nsenter', '-t', String(pid), '-p', '-m', '-i', '-u', net, '--'];
}

/** Into everything of a server, its root too. `pid`: its pid 1. */
export function enterServer(pid: number): string[] {
  return ['nsenter', '-t', String(pid), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w', '--'];
}
