import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileNameOf } from './files.ts';
import { parseMountinfo } from './mounts.ts';

/**
 * Where this agent's groups get their cgroups: below its own cgroup of the v2 hierarchy, which a service manager hands
 * to it (Delegate=yes in systemd.resource-control(5)) and which is another one for each agent of a machine. Undefined
 * where there is no cgroup v2 that we may write, or one older than `cgroup.kill` (Linux 5.14): everything works without.
 */
export function cgroupBase(namespace: string, node: string): string | undefined {
  try {
    // On a hybrid hierarchy the v2 mount is /sys/fs/cgroup/unified.
    const mount = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).findLast((m) => m.fsType === 'cgroup2');
    const own = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
    if (mount === undefined || own === undefined || own.includes('..')) return undefined;
    const base = join(mount.mountPoint, own, `pointsman.${namespace}.${node}`);
    mkdirSync(base, { recursive: true });
    return existsSync(join(base, 'cgroup.kill')) ? base : undefined;
  } catch {
    return undefined;
  }
}

/** The cgroup of one group's process. */
export function cgroupOf(base: string, group: string): string {
  return join(base, `group.${fileNameOf(group)}`);
}

/** The cgroups of all groups that have one now. */
export function cgroupsIn(base: string): string[] {
  try {
    return readdirSync(base)
      .filter((name) => name.startsWith('group.'))
      .map((name) => join(base, name));
  } catch {
    return [];
  }
}

/** SIGKILL to everything in it and below, forks under way included (cgroups(7), "cgroup.kill"). */
export function killCgroup(path: string): void {
  try {
    writeFileSync(join(path, 'cgroup.kill'), '1');
  } catch {
    // Not there: nothing is in it.
  }
}

/** Whether a process lives in it or below. Zombies do not count (cgroups(7), "populated"). A missing one is empty. */
export function isPopulated(path: string): boolean {
  try {
    return !/^populated 0$/m.test(readFileSync(join(path, 'cgroup.events'), 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

/** The processes in it, zombies aside, without those below it. */
export function pidsIn(path: string): number[] {
  try {
    return readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return []; // not there
  }
}

/** Removes it where it is empty. */
export function removeCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Still populated, or gone: both are seen elsewhere.
  }
}
