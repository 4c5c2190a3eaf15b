import { readFileSync } from 'node:fs';

/** One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)). */
export interface Mount {
  /** Unique while it is mounted; may be used again afterwards. */
  readonly id: number;
  /** major:minor. A new mount of an NFS export gets a new one. */
  readonly device: string;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly source: string;
}

/** A mount that something has written to, as it is remembered: whether it is still that one can be asked later. */
export interface WrittenMount {
  readonly path: string;
  readonly id: number;
  readonly device: string;
  readonly fsType: string;
  /** Of the disk; undefined where it was never read. A number of the kernel's may be used again, this is not. */
  readonly diskId?: string | undefined;
}

/** What is mounted at a path. */
export type MountState =
  | { readonly state: 'mounted'; readonly mount: Mount }
  | { readonly state: 'notMounted'; readonly message: string }
  | { readonly state: 'unknown'; readonly message: string };

/** Reading mountinfo asks no file server, so it does not hang where `stat` of the path would. */
export function mountAt(path: string, fsTypes: readonly string[]): MountState {
  try {
    return judgeMount(parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')), path, fsTypes);
  } catch (error) {
    return { state: 'unknown', message: `Cannot read /proc/self/mountinfo: ${String(error)}` };
  }
}

/**
 * Runs `act` on the file system that is mounted at `path`, and throws where none is, or where it is not the same one
 * afterwards: the directory below a mount point is never what was meant, and what went there proves nothing. `expected`:
 * nor is any other mount than that one.
 */
export function onMount<T>(path: string, act: () => T, expected?: Pick<Mount, 'id' | 'device'>): T {
  const before = topMount(path);
  if (before === undefined) throw new Error(`Cannot use ${path}: nothing is mounted there`);
  if (expected !== undefined && !isSameMount(before, expected)) {
    throw new Error(`Cannot use ${path}: it is not the mount that was written to`);
  }
  const result = act();
  const after = topMount(path);
  if (after !== undefined && isSameMount(after, before)) return result;
  throw new Error(`Cannot use ${path}: it was unmounted meanwhile`);
}

export function isSameMount(a: Pick<Mount, 'id' | 'device'>, b: Pick<Mount, 'id' | 'device'>): boolean {
  return a.id === b.id && a.device === b.device;
}

function topMount(path: string): Mount | undefined {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).findLast((mount) => mount.mountPoint === path);
}

/** `path` must itself be a mount point, never a directory below one; of several mounts there the last is on top. */
export function judgeMount(mounts: readonly Mount[], path: string, fsTypes: readonly string[]): MountState {
  const top = mounts.findLast((mount) => mount.mountPoint === path);
  if (top === undefined) {
    return {
      state: 'notMounted',
      message: `Cannot use ${path}: nothing is mounted there; mount the shared disk (mount ${path})`,
    };
  }
  if (!fsTypes.includes(top.fsType)) {
    return {
      state: 'notMounted',
      message: `Cannot use ${path}: a file system of type ${top.fsType} is mounted there; mount one of ${fsTypes.join(', ')}, or add ${top.fsType} to sharedDisk.fsTypes`,
    };
  }
  // A mount over a directory above hides it: then the path leads elsewhere.
  const above = mounts.findLast((mount) => path.startsWith(mount.mountPoint === '/' ? '/' : `${mount.mountPoint}/`));
  if (above !== undefined && mounts.indexOf(above) > mounts.indexOf(top) && above.mountPoint !== '/') {
    return {
      state: 'notMounted',
      message: `Cannot use ${path}: the mount at ${above.mountPoint} hides it; unmount ${above.mountPoint}`,
    };
  }
  return { state: 'mounted', mount: top };
}

export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    // 36 35 98:0 /root /mount/point options [optional fields…] - type source superoptions
    const [before, after] = line.split(' - ', 2);
    if (before === undefined || after === undefined) continue;
    const [id, , device, , mountPoint] = before.split(' ');
    const [fsType, source] = after.split(' ');
    if (id === undefined || device === undefined || mountPoint === undefined || fsType === undefined) continue;
    mounts.push({
      id: Number(id),
      device,
      mountPoint: unescapeOctal(mountPoint),
      fsType,
      source: unescapeOctal(source ?? ''),
    });
  }
  return mounts;
}

/** Space, tab, newline and backslash stand as \040, \011, \012, \134. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
