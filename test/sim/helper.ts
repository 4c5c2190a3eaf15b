import { Hung } from '../../src/agent/helper.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { Machine } from './machine.ts';
import type { Actor } from './time.ts';

interface Access {
  readonly agent: Actor;
  readonly act: (done: (value: unknown) => void) => void;
  readonly answer: (value: unknown) => void;
  readonly refuse: (error: Error) => void;
  /** Its child was killed; what it was about may have come through all the same. */
  killed: boolean;
}

/**
 * One helper process of a machine's agents: one access after the other, each with a limit. One that takes longer is
 * killed; where it cannot be, because it waits in the kernel, every later one fails at once until it is gone, whichever
 * agent asks. The rules are those of src/agent/helper.ts.
 */
export class HelperLane {
  readonly #machine: Machine;
  readonly #queue: Access[] = [];
  #current: Access | undefined;
  #stuck = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** `act` calls back with what it has found; an Error rejects. */
  ask<T>(
    agent: Actor,
    clock: Clock,
    limitMs: number,
    act: (done: (value: T) => void) => void,
  ): Promise<Exclude<T, Error>> {
    const { time } = this.#machine;
    return new Promise((resolve, reject) => {
      if (agent.dead) return;
      const access: Access = {
        agent,
        act: act as Access['act'], // what it calls back with comes back by `answer`, to the same caller
        answer: (value) => {
          time.in(0.2, agent, () => {
            cancel();
            if (value instanceof Error) reject(value);
            else resolve(value as Exclude<T, Error>); // see above
          });
        },
        refuse: (error) => {
          cancel();
          time.in(0, agent, () => reject(error));
        },
        killed: false,
      };
      const cancel = clock.after(limitMs, () => {
        reject(new Hung(`Cannot access the disk: no answer within ${limitMs} ms`));
        this.#giveUp(access);
      });
      this.#queue.push(access);
      this.#next();
    });
  }

  #next(): void {
    // A later agent kills what an earlier one has left.
    if (this.#current?.agent.dead) this.#kill(this.#current);
    while (this.#current === undefined) {
      const access = this.#queue.shift();
      if (access === undefined) return;
      if (access.agent.dead) continue;
      if (this.#stuck > 0) access.refuse(new Hung('Cannot access the disk: an earlier access still hangs'));
      else this.#begin(access);
    }
  }

  #begin(access: Access): void {
    const machine = this.#machine;
    const { time } = machine;
    this.#current = access;
    const ms = time.chance.longTail(1, time.chance.hits(machine.slowDisk) ? SLOWEST_MS : 60);
    time.in(ms, machine.actor, () => machine.whenDiskIsBack(() => this.#reach(access)));
  }

  #reach(access: Access): void {
    // One that was killed may have sent its request before.
    if (access.killed && this.#machine.time.chance.hits(0.5)) return;
    access.act((value) =>
      this.#whenAnswered(() => {
        if (access.killed) return;
        this.#current = undefined;
        access.answer(value);
        this.#next();
      }),
    );
  }

  #whenAnswered(then: () => void): void {
    const { time, lateAnswers, actor } = this.#machine;
    if (lateAnswers > 0 && time.chance.hits(lateAnswers))
      time.in(time.chance.between(100, LATEST_ANSWER_MS), actor, then);
    else then();
  }

  #giveUp(access: Access): void {
    if (access === this.#current) this.#kill(access);
    else if (this.#queue.includes(access)) this.#queue.splice(this.#queue.indexOf(access), 1);
    this.#next();
  }

  #kill(access: Access): void {
    const machine = this.#machine;
    access.killed = true;
    this.#current = undefined;
    if (machine.reachesDisk || !machine.hangsInKernel) return;
    this.#stuck += 1;
    machine.whenDiskIsBack(() => {
      this.#stuck -= 1;
    });
  }
}

const LATEST_ANSWER_MS = 6_000;
/** Longer than any limit. */
const SLOWEST_MS = 14_000;
