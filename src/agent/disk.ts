import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { DiskAct, DiskRequest } from './disk-child.ts';
import { createHelper } from './helper.ts';
import type { WrittenMount } from './mounts.ts';
import type { DiskRecord } from './record.ts';

/** A shared disk, as this node may use it. Everything rejects in the given time; nothing runs in the agent's own threads. */
export interface Disk {
  /** Has the helper process ready. */
  warm(): void;
  /** The disk's random id; undefined when it has none and none is to be made. */
  id(create: boolean, timeoutMs: number): Promise<string | undefined>;
  /** Makes the directories that the group's files lie in. */
  prepare(group: string, timeoutMs: number): Promise<void>;
  /** The highest epoch that this node's own file says it has ended; 0 without one. */
  ended(group: string, timeoutMs: number): Promise<number>;
  /**
   * Syncs the file system, then writes `ended`: resolves once nothing of that epoch is under way any more. `on`: rejects
   * where another mount, or another disk, is at its place by now.
   */
  syncAndEnd(end: EndOfEpoch, timeoutMs: number, on?: WrittenMount): Promise<void>;
  /** Writes `ended` alone, for an epoch under which nothing ever ran. */
  end(end: EndOfEpoch, timeoutMs: number): Promise<void>;
  /** As in {@link syncAndEnd}, without the record. */
  sync(timeoutMs: number, on?: WrittenMount): Promise<void>;
  lockFile(group: string): string;
  /** Writes into the lock's file, which only its holder may do. */
  signLock(group: string, text: string, timeoutMs: number): Promise<void>;
  /** What the holder of the lock has written into its file. */
  lockHolder(group: string, timeoutMs: number): Promise<string>;
  close(): void;
}

export interface EndOfEpoch {
  readonly group: string;
  readonly epoch: number;
  readonly takeoverAfterSeconds: number;
}

export interface DiskOptions {
  readonly mountPath: string;
  readonly namespace: string;
  readonly node: string;
  readonly recordFile: string;
  readonly clock: Clock;
}

export function openDisk({ mountPath, namespace, node, recordFile, clock }: DiskOptions): Disk {
  const helper = createHelper({ script: 'disk-child', subject: mountPath, recordFile, clock });
  const ask = (act: DiskAct, timeoutMs: number, on?: WrittenMount) => {
    const request: DiskRequest = { mountPath, act, on };
    return helper.ask(request, timeoutMs);
  };
  // `.pointsman/id` is a file, so a namespace of that name has its files under one that no namespace can have.
  const own = namespace === 'id' ? '.id' : namespace;
  const directory = (group: string) => join(mountPath, '.pointsman', own, group);
  const ownFile = (group: string) => join(directory(group), node);
  // Not among the files of the nodes, and under a name that no namespace has.
  const lockFile = (group: string) => join(mountPath, '.pointsman', '.locks', namespace, group);
  // "Every write carries a beat that was never there before: a random mark of this agent's start, and a count."
  const mark = randomUUID();
  let beats = 0;
  const endRecord = ({ epoch, takeoverAfterSeconds }: EndOfEpoch): DiskRecord => ({
    version: 1,
    state: 'ended',
    ended: epoch,
    claim: 0,
    epoch,
    beat: `${mark}-${++beats}`,
    takeoverAfterSeconds,
  });
  return {
    warm: () => helper.warm(),
    id: async (create, timeoutMs) => ((await ask({ type: 'id', create }, timeoutMs)) as string | null) ?? undefined,
    prepare: async (group, timeoutMs) => {
      const directories = [directory(group), join(mountPath, '.pointsman', '.locks', namespace)];
      await ask({ type: 'prepare', directories }, timeoutMs);
    },
    ended: async (group, timeoutMs) => {
      const record = (await ask({ type: 'read', file: ownFile(group) }, timeoutMs)) as DiskRecord | null;
      return record?.ended ?? 0;
    },
    syncAndEnd: async (end, timeoutMs, on) => {
      const file = ownFile(end.group);
      await ask({ type: 'syncAndWrite', file, record: endRecord(end) }, timeoutMs, on);
    },
    end: async (end, timeoutMs) => {
      await ask({ type: 'write', file: ownFile(end.group), record: endRecord(end) }, timeoutMs);
    },
    sync: async (timeoutMs, on) => {
      await ask({ type: 'sync' }, timeoutMs, on);
    },
    lockFile,
    signLock: async (group, text, timeoutMs) => {
      await ask({ type: 'writeText', file: lockFile(group), text }, timeoutMs);
    },
    lockHolder: async (group, timeoutMs) =>
      (await ask({ type: 'readLine', file: lockFile(group) }, timeoutMs)) as string,
    close: () => helper.close(),
  };
}
