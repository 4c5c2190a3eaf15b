import type { Process } from './process.ts';
import type { Time } from './time.ts';

/**
 * The shared disk: one number, which every write of the server replaces by the next one, as MinIO replaces what it
 * keeps; each node's `ended`; the lock. A write that overwrites another's is an acknowledged write lost.
 */
export class SharedDisk {
  id: string | undefined;
  /** The last write that landed. */
  value = 0;
  readonly ended = new Map<string, number>();
  lockHolder: Process | undefined;
  /** The file server keeps a dead client's lock until then. */
  lockedUntilMs = 0;
  lockText = '';
  #lockedFor = '';
  readonly #time: Time;
  /** Told of a write that has overwritten one it did not know of. */
  onLost: (writer: Process, held: boolean) => void = () => {};

  constructor(time: Time) {
    this.#time = time;
  }

  land(writer: Process, value: number, held: boolean): void {
    if (value !== this.value + 1) this.onLost(writer, held);
    this.value = Math.max(this.value, value);
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
