import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { ChannelRecord, FileRead } from '../decide/channel.ts';
import type { DiskAct, DiskRequest } from './disk-child.ts';
import { createHelper, type Helper } from './helper.ts';
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
  /**
   * What this node's own file of the group says. Undefined where it has never written one, and where what is there is no
   * whole record: then a crash has cut off its write, and of what ran before it nothing is left.
   */
  own(group: string, timeoutMs: number): Promise<OwnRecord | undefined>;
  /**
   * Writes this node's own file under a beat that was never there before, and resolves once the disk has it. `on`:
   * rejects where another mount, or another disk, is at its place by now.
   */
  writeOwn(group: string, record: OwnRecord, timeoutMs: number, on?: WrittenMount): Promise<void>;
  /**
   * Opens afresh and reads the files of `nodes`, which are made, empty, where they are missing, and whatever else lies
   * beside them, except our own. Each has its own outcome; rejects only where nothing at all was learned.
   */
  readOthers(group: string, nodes: readonly string[], timeoutMs: number, on?: WrittenMount): Promise<FileRead[]>;
  /** Resolves once everything that was handed to the kernel for this file system is on the server; `on` as above. */
  sync(timeoutMs: number, on?: WrittenMount): Promise<void>;
  lockFile(group: string): string;
  /** Writes into the lock's file, which only its holder may do. */
  signLock(group: string, text: string, timeoutMs: number): Promise<void>;
  /** What the holder of the lock has written into its file. */
  lockHolder(group: string, timeoutMs: number): Promise<string>;
  close(): void;
}

/** The beat is given to it by its write. */
export type OwnRecord = Omit<ChannelRecord, 'beat'>;

export interface DiskOptions {
  readonly mountPath: string;
  readonly namespace: string;
  readonly node: string;
  /** Where the pids of its helper processes are kept. */
  readonly recordFiles: { readonly disk: string; readonly channel: string };
  readonly clock: Clock;
}

export function openDisk({ mountPath, namespace, node, recordFiles, clock }: DiskOptions): Disk {
  const open = (recordFile: string) => createHelper({ script: 'disk-child', subject: mountPath, recordFile, clock });
  const helper = open(recordFiles.disk);
  // Every access to the nodes' files goes through this one, so that at most one is under way to each; and none of them
  // waits behind a sync or a lock's file.
  const channel = open(recordFiles.channel);
  const askOf = (one: Helper) => (act: DiskAct, timeoutMs: number, on?: WrittenMount) => {
    const request: DiskRequest = { mountPath, act, on };
    return one.ask(request, timeoutMs);
  };
  const ask = askOf(helper);
  const askChannel = askOf(channel);
  // `.pointsman/id` is a file, so a namespace of that name has its files under one that no namespace can have.
  const own = namespace === 'id' ? '.id' : namespace;
  const directory = (group: string) => join(mountPath, '.pointsman', own, group);
  const ownFile = (group: string) => join(directory(group), node);
  // Not among the files of the nodes, and under a name that no namespace has.
  const lockFile = (group: string) => join(mountPath, '.pointsman', '.locks', namespace, group);
  // "Every write carries a beat that was never there before: a random mark of this agent's start, and a count."
  const mark = randomUUID();
  let beats = 0;
  return {
    warm: () => {
      helper.warm();
      channel.warm();
    },
    id: async (create, timeoutMs) => ((await ask({ type: 'id', create }, timeoutMs)) as string | null) ?? undefined,
    prepare: async (group, timeoutMs) => {
      const directories = [directory(group), join(mountPath, '.pointsman', '.locks', namespace)];
      await ask({ type: 'prepare', directories }, timeoutMs);
    },
    own: async (group, timeoutMs) => {
      const record = (await askChannel({ type: 'read', file: ownFile(group) }, timeoutMs)) as DiskRecord | null;
      return record ?? undefined;
    },
    writeOwn: async (group, { state, ended, claim, epoch, takeoverAfterSeconds }, timeoutMs, on) => {
      const beat = `${mark}-${++beats}`;
      const record: DiskRecord = { version: 1, state, ended, claim, epoch, beat, takeoverAfterSeconds };
      await askChannel({ type: 'write', file: ownFile(group), record }, timeoutMs, on);
    },
    readOthers: async (group, nodes, timeoutMs, on) => {
      const act: DiskAct = { type: 'readOthers', directory: directory(group), nodes, own: node };
      return (await askChannel(act, timeoutMs, on)) as FileRead[];
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
    close: () => {
      helper.close();
      channel.close();
    },
  };
}
