import type { FileContent } from './disk.ts';
import type { Machine } from './machine.ts';

/**
 * The files of the second channel as one machine's kernel has them. What is written is in its cache first and lands later,
 * in order, whoever wrote it and whether he lives or not; whoever opens a file afresh sees what has landed (nfs(5),
 * "close-to-open cache consistency"). The names in a directory may be known from a while ago.
 */
export class NodeFiles {
  readonly #machine: Machine;
  /** What is written and has not landed, by group. */
  readonly #dirty = new Map<string, FileContent>();
  readonly #listed = new Map<string, { readonly untilMs: number; readonly names: readonly string[] }>();
  #crashes = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** By its own machine, which has it in its cache. */
  own(group: string): FileContent | undefined {
    const { disk, name } = this.#machine;
    return this.#dirty.get(group) ?? disk.filesOf(group).get(name);
  }

  /** `done` when it is on the disk. */
  write(group: string, content: FileContent, done: () => void): void {
    const machine = this.#machine;
    this.#dirty.set(group, content);
    machine.time.in(machine.time.chance.longTail(0.5, 30), machine.actor, () =>
      machine.whenDiskIsBack(() => {
        const newest = this.#dirty.get(group);
        if (newest !== undefined) machine.disk.filesOf(group).set(machine.name, newest);
        this.#dirty.delete(group);
        done();
      }),
    );
  }

  list(group: string): readonly string[] {
    const { time, disk } = this.#machine;
    const known = this.#listed.get(group);
    if (known !== undefined && time.nowMs < known.untilMs) return known.names;
    const names = [...disk.filesOf(group).keys()];
    this.#listed.set(group, { names, untilMs: time.nowMs + time.chance.pick([0, 0, LONGEST_LISTED_MS]) });
    return names;
  }

  /** A request that was on its way may still land, whole or in part, until the machine is booted again. */
  crash(): void {
    const { time, disk, name } = this.#machine;
    this.#crashes += 1;
    const crash = this.#crashes;
    for (const [group, content] of this.#dirty) {
      const fate = time.chance.pick(['lost', 'late', 'torn'] as const);
      if (fate === 'lost') continue;
      time.in(time.chance.between(1, LATEST_MS), disk.actor, () => {
        if (this.#machine.up || this.#crashes !== crash) return;
        disk.filesOf(group).set(name, fate === 'late' ? content : { torn: `cut off at ${time.nowMs}` });
      });
    }
    this.#dirty.clear();
    this.#listed.clear();
  }
}

/** nfs(5), acdirmax. */
const LONGEST_LISTED_MS = 60_000;
const LATEST_MS = 8_000;
