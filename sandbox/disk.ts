import { mkdir } from 'node:fs/promises';
import { run, tryRun } from './run.ts';
import { SERVERS, type ServerName } from './topology.ts';

/**
 * The shared disk. One tmpfs stands for EFS; every server has its own attachment, a bind mount that propagates from
 * here into its mount namespace (mount_namespaces(7), slave mounts), so that it can be taken away and given back while
 * the server runs. The server's mountinfo says `tmpfs`.
 *
 * This file is all that knows what the disk is made of.
 */
export const SHARED_DISK = '/run/sandbox/efs';

/** The user `minio` of both servers, see server-root.sh: the directory is its own, as MinIO's manual asks. */
const MINIO_USER = 1000;

/** What a server's root binds as its /mnt, as a slave. */
export function mountPointsOf(server: ServerName): string {
  return `/run/sandbox/mnt/${server}`;
}

export async function makeDisk(): Promise<void> {
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
  if ((await tryRun(['mountpoint', '-q', point])).code !== 0) await run(['mount', '--bind', SHARED_DISK, point]);
}

/** The bare directory under the mount point is left. Files that are open stay open, as with `umount -l`. */
export async function detachDisk(server: ServerName): Promise<void> {
  const point = `${mountPointsOf(server)}/efs`;
  if ((await tryRun(['mountpoint', '-q', point])).code === 0) await run(['umount', '-l', point]);
}
