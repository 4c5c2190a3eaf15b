import type { ChannelRecord } from '../../src/decide/channel.ts';
import type { Process } from './process.ts';
import { Actor, type Time } from './time.ts';

/** A write that has come to the disk. */
export interface Landing {
  readonly writer: Process;
  /** How many had landed before it, as far as its writer knew. */
  readonly after: number;
  /** Whether a kernel held it while it was cut from the disk. */
  readonly held: boolean;
}

/** What stands in a node's file: what it says of itself; nothing yet; or the rest of a write that was cut off. */
export type FileContent = ChannelRecord | 'empty' | { readonly torn: string };

/** The shared disk: its id, for each group the nodes' files, and what its process keeps there. */
export class SharedDisk {
  id: string | undefined;
  /** By group and node. */
  readonly #files = new Map<string, Map<string, FileContent>>();
  readonly actor = new Actor('the shared disk');
  readonly #time: Time;
  readonly #groups = new Map<string, GroupData>();
  /** Whether anybody is refused a lock. */
  keepsLocks = true;
  /** Told of a write that has overwritten one it did not know of; `last` is the latest of those. */
  onLost: (write: Landing, last: Landing) => void = () => {};

  constructor(time: Time) {
    this.#time = time;
  }

  filesOf(group: string): Map<string, FileContent> {
    let files = this.#files.get(group);
    if (files === undefined) {
      files = new Map();
      this.#files.set(group, files);
    }
    return files;
  }

  of(group: string): GroupData {
    let data = this.#groups.get(group);
    if (data === undefined) {
      data = new GroupData(this.#time, (write, last) => this.onLost(write, last));
      this.#groups.set(group, data);
    }
    return data;
  }

  /** Its client has come back and has said that it was booted anew, or the file server has waited long enough. */
  forget(machine: string): void {
    for (const data of this.#groups.values()) data.forget(machine);
  }

  /** The file server gives up on every client that is dead. */
  forgetTheDead(): void {
    for (const data of this.#groups.values()) data.lockedUntilMs = 0;
  }
}

/**
 * The data of one group: all of it is replaced by every write of the server, as MinIO replaces what it keeps. A write
 * that overwrites one its writer did not know of is an acknowledged write lost. Beside it the lock.
 */
export class GroupData {
  lockHolder: Process | undefined;
  /** The file server keeps a dead client's lock until then. */
  lockedUntilMs = 0;
  lockText = '';
  /** How many writes have landed. Whoever writes knows how many there were before his. */
  landed = 0;
  #lockedFor = '';
  #last: Landing | undefined;
  readonly #time: Time;
  readonly #onLost: (write: Landing, last: Landing) => void;

  constructor(time: Time, onLost: (write: Landing, last: Landing) => void) {
    this.#time = time;
    this.#onLost = onLost;
  }

  land(write: Landing): void {
    if (write.after !== this.landed && this.#last !== undefined) this.#onLost(write, this.#last);
    this.landed += 1;
    this.#last = write;
  }

  isLocked(): boolean {
    return this.lockHolder !== undefined || this.#time.nowMs < this.lockedUntilMs;
  }

  forget(machine: string): void {
    if (this.#lockedFor === machine) this.lockedUntilMs = 0;
  }

  /** By the death of its holder; a client that died with its machine keeps it for a while. */
  unlock(holder: Process, keptMs = 0): void {
    if (this.lockHolder !== holder) return;
    this.lockHolder = undefined;
    this.lockedUntilMs = this.#time.nowMs + keptMs;
    this.#lockedFor = holder.machine.name;
  }
}
