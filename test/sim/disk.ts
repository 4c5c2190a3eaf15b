import type { ChannelRecord } from '../../src/decide/channel.ts';
import type { Process } from './process.ts';
import type { Time } from './time.ts';

/** A write that has come to the disk. */
export interface Landing {
  readonly writer: Process;
  /** How many had landed before it, as far as its writer knew. */
  readonly after: number;
  /** Whether a kernel held it while it was cut from the disk. */
  readonly held: boolean;
}

/**
 * The shared disk: what is on it is replaced by every write of the server, as MinIO replaces what it keeps; each node's file; the lock. A write that overwrites another's is an acknowledged write lost.
 */
export class SharedDisk {
  id: string | undefined;
  /** The nodes' files, by group and node: what each says of itself, or empty. */
  readonly records = new Map<string, ChannelRecord | 'empty'>();
  lockHolder: Process | undefined;
  /** The file server keeps a dead client's lock until then. */
  lockedUntilMs = 0;
  lockText = '';
  #lockedFor = '';
  readonly #time: Time;
  /** Told of a write that has overwritten one it did not know of; `last` is the latest of those. */
  onLost: (write: Landing, last: Landing) => void = () => {};

  constructor(time: Time) {
    this.#time = time;
  }

  /** How many writes have landed. Whoever writes knows how many there were before his. */
  landed = 0;
  #last: Landing | undefined;

  land(write: Landing): void {
    if (write.after !== this.landed && this.#last !== undefined) this.onLost(write, this.#last);
    this.landed += 1;
    this.#last = write;
  }

  isLocked(): boolean {
    return this.lockHolder !== undefined || this.#time.nowMs < this.lockedUntilMs;
  }

  /** Its client has come back and has said that it was booted anew, or the file server has waited long enough. */
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
