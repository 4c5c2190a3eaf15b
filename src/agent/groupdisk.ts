import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { DiskSeen } from '../decide/agent.ts';
import type { Disk } from './disk.ts';
import type { Mount, mountAt, WrittenMount } from './mounts.ts';

/** What this node knows of a group's shared disk, without ever waiting for it. */
export interface GroupDisk {
  /** What is known now. Has the disk read again where that is due. */
  look(group: FailoverGroup): DiskSeen;
  /** The mount that the last look found, with the id of its disk. Undefined where that is not known. */
  mounted(): WrittenMount | undefined;
  /** The highest epoch that our own file there says we have ended, once it has been read. */
  ended(): number;
}

export interface GroupDiskOptions {
  readonly clock: Clock;
  readonly disk: (mountPath: string) => Disk;
  readonly mountAt: typeof mountAt;
  /** After every change of what is known. */
  readonly onChange: () => void;
}

/** One look at the disk. Longer is a disk that one does not want to start on. */
const READ_LIMIT_MS = 5_000;
/** The same mount is the same disk, so this only finds damage. */
const READ_AGAIN_MS = 30_000;
const RETRY_MS = 2_000;

interface Read {
  readonly key: string;
  readonly atMs: number;
  readonly id?: string;
  readonly message?: string;
}

export function createGroupDisk({ clock, disk, mountAt, onChange }: GroupDiskOptions): GroupDisk {
  let last: Read | undefined;
  let mounted: WrittenMount | undefined;
  let reading: string | undefined;
  let ended = 0;

  function look(group: FailoverGroup): DiskSeen {
    const { mountPath, fsTypes } = group.spec.sharedDisk;
    mounted = undefined;
    const found = mountAt(mountPath, fsTypes);
    if (found.state !== 'mounted') return found;
    const key = keyOf(mountPath, found.mount);
    const known = last?.key === key ? last : undefined;
    const dueMs = known === undefined ? 0 : known.atMs + (known.id === undefined ? RETRY_MS : READ_AGAIN_MS);
    if (clock.nowMs() >= dueMs && reading !== key) void read(key, group);
    if (known?.id !== undefined) {
      const { id, device, fsType } = found.mount;
      mounted = { path: mountPath, id, device, fsType, diskId: known.id };
    }
    return {
      state: 'mounted',
      id: known?.id,
      ...(known?.message === undefined ? {} : { message: known.message }),
    };
  }

  async function read(key: string, group: FailoverGroup): Promise<void> {
    reading = key;
    const { name } = group.metadata;
    const { mountPath } = group.spec.sharedDisk;
    // Only a group that has never been started makes an id: a disk without the recorded one is another disk.
    const { diskId, assignment, rollCall } = group.status ?? {};
    const create = diskId === undefined && assignment === undefined && rollCall === undefined;
    let result: Omit<Read, 'key' | 'atMs'>;
    try {
      const on = disk(mountPath);
      const id = await on.id(create, READ_LIMIT_MS);
      if (id === undefined) result = { id: 'none' };
      else {
        await on.prepare(name, READ_LIMIT_MS);
        // Where it cannot be read it is not known what has ended here: that is not the same as nothing.
        ended = Math.max(ended, (await on.own(name, READ_LIMIT_MS))?.ended ?? 0);
        result = { id };
      }
    } catch (error) {
      result = { message: describeError(error) };
    }
    if (reading === key) reading = undefined;
    const changed = last?.key !== key || last.id !== result.id || last.message !== result.message;
    last = { key, atMs: clock.nowMs(), ...result };
    if (changed) onChange();
  }

  return { look, mounted: () => mounted, ended: () => ended };
}

/** Another mount at the same place has another id or device (proc_pid_mountinfo(5)). */
function keyOf(path: string, mount: Mount): string {
  return [path, mount.id, mount.device, mount.fsType, mount.source].join(' ');
}
