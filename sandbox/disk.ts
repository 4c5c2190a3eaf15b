import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { type FaultyDisk, mountFaultyDisk } from './faultydisk.ts';
import { run } from './run.ts';
import { SERVERS, type ServerName } from './topology.ts';

/**
 * The shared disk. One tmpfs stands for EFS; every server has its own attachment, a bind mount that propagates from
 * here into its mount namespace (mount_namespaces(7), slave mounts), so that it can be taken away and given back while
 * the server runs. The server's mountinfo says `tmpfs`.
 *
 * With `faultydisk`, what is bound is a FUSE mount of that tmpfs, one for each server, as each server has a connection
 * of its own to EFS. It fails on command, for that server alone; mountinfo says `fuse.faultydisk`.
 *
 * This file is all that knows what the disk is made of.
 */
export const SHARED_DISK = '/run/sandbox/efs';

/** The user `minio` of both servers, see server-root.sh: the directory is its own, as MinIO's manual asks. */
const MINIO_USER = 1000;

/** See `tools/faultydisk/faults.go`. */
export type DiskFault = 'none' | 'hang' | 'stuck' | 'mute' | 'fail' | 'stale' | 'full' | 'readOnly' | 'slow';

let faultydisk: string | undefined;
const connections = new Map<ServerName, FaultyDisk>();

/** What a server's root binds as its /mnt, as a slave. */
export function mountPointsOf(server: ServerName): string {
  return `/run/sandbox/mnt/${server}`;
}

/** `program`: the built tools/faultydisk. */
export async function makeDisk(program: string | undefined): Promise<void> {
  faultydisk = program;
  await mkdir(SHARED_DISK, { recursive: true });
  await run(['mount', '-t', 'tmpfs', '-o', `mode=0755,uid=${MINIO_USER},gid=${MINIO_USER}`, 'efs', SHARED_DISK]);
  for (const server of SERVERS) {
    const points = mountPointsOf(server);
    await mkdir(points, { recursive: true });
    // A mount of its own: propagation belongs to a mount, not to a directory.
    await run(['mount', '-t', 'tmpfs', '-o', 'mode=0755', 'mnt', points]);
    await run(['mount', '--make-shared', points]);
    await mkdir(`${points}/efs`);
    await attachDisk(server);
  }
}

export async function attachDisk(server: ServerName): Promise<void> {
  const point = `${mountPointsOf(server)}/efs`;
  if (!isMounted(point)) await run(['mount', '--bind', await source(server), point]);
}

/** The bare directory under the mount point is left. Files that are open stay open, as with `umount -l`. */
export async function detachDisk(server: ServerName): Promise<void> {
  const point = `${mountPointsOf(server)}/efs`;
  if (isMounted(point)) await run(['umount', '-l', point]);
}

/** What becomes of its connection to the disk when a server's power is cut: nothing that is under way goes on. */
export async function dropDisk(server: ServerName): Promise<void> {
  const connection = connections.get(server);
  if (connection === undefined) return;
  connections.delete(server);
  await detachDisk(server);
  await connection.end();
  await run(['umount', '-l', connectionOf(server)]);
}

/** From now on, for this server alone. `ms`: of `slow`, for each call. */
export async function setDiskFault(server: ServerName, fault: DiskFault, ms: number): Promise<void> {
  const connection = connections.get(server);
  if (connection === undefined) {
    throw new Error(`Cannot let the disk of ${server} fail: it has none that can; start the sandbox with faultyDisk`);
  }
  await connection.set(fault, ms);
}

async function source(server: ServerName): Promise<string> {
  if (faultydisk === undefined) return SHARED_DISK;
  const point = connectionOf(server);
  if (!connections.has(server)) {
    await mkdir(point, { recursive: true });
    connections.set(server, await mountFaultyDisk(faultydisk, SHARED_DISK, point));
  }
  return point;
}

function connectionOf(server: ServerName): string {
  return `/run/sandbox/fuse/${server}`;
}

/** By mountinfo: mountpoint(1) would ask a disk that hangs. */
function isMounted(point: string): boolean {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return mounts.some((line) => line.split(' ')[4] === point);
}
