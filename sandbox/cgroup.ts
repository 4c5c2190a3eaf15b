import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.ts';
import { SERVERS, type ServerName } from './topology.ts';

/**
 * Every server has a cgroup of its own, as a machine has its root cgroup. cgroups are the one thing here that no
 * namespace holds and the kernel does not take away, so a small shell beside the launcher does: it waits for the end
 * of its standard input, which comes however the launcher ends, and removes them as soon as nothing is in them.
 *
 * Undefined where there is no cgroup v2 that can be written: agents work without.
 */
export function makeCgroups(sandboxPid: number): string | undefined {
  const parent = ownCgroup();
  if (parent === undefined) return undefined;
  const directory = join(parent, `pointsman-sandbox-${sandboxPid}`);
  // The sweeper first: there is no instant at which it is not there and they are.
  const sweeper = spawn('sh', ['-c', SWEEP, 'sweep-cgroups', directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // Ctrl-C is not for it
  });
  sweeper.unref();
  (sweeper.stdin as unknown as { unref(): void }).unref(); // a socket, as every pipe of libuv's
  try {
    for (const name of SERVERS) mkdirSync(join(directory, name), { recursive: true });
  } catch {
    return undefined;
  }
  return existsSync(join(directory, 'server1/cgroup.kill')) ? directory : undefined;
}

/** Ten seconds at most: the processes in them are being killed by then. */
const SWEEP = `
  cat >/dev/null
  for i in $(seq 200); do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$1" ] || exit 0
    sleep 0.05
  done`;

function ownCgroup(): string | undefined {
  const mount = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((line) => / - cgroup2 /.test(line));
  const own = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  const point = mount?.split(' ')[4];
  return point === undefined || own === undefined ? undefined : join(point, own);
}

/** The prefix that runs a command in the cgroup of a server. */
export function inCgroup(directory: string | undefined, name: ServerName): string[] {
  if (directory === undefined) return [];
  return ['sh', '-c', 'echo 0 >"$0/cgroup.procs" && exec "$@"', join(directory, name)];
}

/** A machine that boots has no cgroups from before. */
export async function clearCgroups(directory: string | undefined, name: ServerName): Promise<void> {
  if (directory === undefined) return;
  await run(['find', join(directory, name), '-mindepth', '1', '-depth', '-type', 'd', '-exec', 'rmdir', '{}', '+']);
}
