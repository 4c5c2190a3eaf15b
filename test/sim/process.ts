import type { GroupData } from './disk.ts';
import type { Machine } from './machine.ts';
import type { Shim } from './shim.ts';
import { Actor } from './time.ts';

const WRITE_EVERY_MS = 400;
/** Within the shortest `killWithin` that a run has, timers that fire late included. */
const SLOWEST_KILL_MS = 320;

/** The user's process: it reads what the disk holds when it starts, and writes every now and then. */
export class Process {
  readonly pid: number;
  readonly epoch: number;
  readonly machine: Machine;
  readonly actor: Actor;
  readonly mark: string;
  readonly shim: Shim;
  readonly group: string;
  readonly data: GroupData;
  /** Whether it has come to the user's program; before that it does nothing. */
  executed = false;
  killed = false;
  /** What its proof might not cover, since its deadline was last moved. */
  readonly excuses = new Set<string>();
  /** How many writes it knows to be on the disk. */
  #known = 0;
  readonly #onEnd: (signal: string | null, code: number | null) => void;

  constructor(shim: Shim, epoch: number, onEnd: (signal: string | null, code: number | null) => void) {
    this.shim = shim;
    this.machine = shim.machine;
    this.epoch = epoch;
    this.mark = shim.config.mark;
    this.group = shim.group;
    this.data = this.machine.disk.of(this.group);
    this.pid = this.machine.nextPid();
    this.actor = new Actor(`process of ${this.group}, epoch ${epoch}, on ${this.machine.name}`, this.machine.actor);
    this.#onEnd = onEnd;
  }

  get alive(): boolean {
    return !this.actor.dead;
  }

  /** Whether it could change the disk at this moment. */
  get writes(): boolean {
    return this.executed && this.alive && !this.actor.stopped && this.machine.reachesDisk;
  }

  exec(): void {
    this.executed = true;
    this.machine.readDisk(this.data, (landed) => {
      this.#known = landed;
      this.#writeOn();
    });
  }

  #writeOn(): void {
    const { time } = this.machine;
    time.in(time.chance.between(WRITE_EVERY_MS / 4, WRITE_EVERY_MS), this.actor, () => {
      this.machine.write(this, this.#known, () => {
        this.#known = this.data.landed;
        this.#writeOn();
      });
    });
  }

  /** SIGKILL: it is gone in a moment, or, while it waits for the disk in the kernel, when the disk is back. */
  kill(): void {
    if (this.killed || !this.alive) return;
    this.killed = true;
    const { time } = this.machine;
    time.in(time.chance.longTail(0.2, SLOWEST_KILL_MS), this.machine.actor, () => this.#endWhenItCan());
  }

  #endWhenItCan(): void {
    if (!this.alive) return;
    const { machine } = this;
    if (!machine.reachesDisk && machine.hangsInKernel) {
      this.excuses.add('hangs in the kernel');
      machine.whenDiskIsBack(() => this.#endWhenItCan());
    } else this.end('SIGKILL', null);
  }

  /** By itself, or as it was asked to. */
  end(signal: string | null, code: number | null): void {
    if (!this.alive) return;
    this.actor.die();
    this.machine.processes.delete(this);
    this.machine.ended += 1;
    this.data.unlock(this);
    this.machine.tell(
      `process ${this.pid} of ${this.group}, epoch ${this.epoch}, ends (${signal ?? `status ${code}`})`,
    );
    this.#onEnd(signal, code);
  }

  /** With its machine: nobody is told. */
  vanish(): void {
    this.actor.die();
    this.machine.processes.delete(this);
    const { chance } = this.machine.time;
    this.data.unlock(this, chance.hits(0.5) ? chance.between(0, 60_000) : 0);
  }
}
