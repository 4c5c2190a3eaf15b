import type { Assignment, Move } from '../../src/crds/failovergroup.ts';
import type { Raw } from './apiserver.ts';
import type { Landing } from './disk.ts';
import type { Machine } from './machine.ts';
import type { Process } from './process.ts';

/** Which of docs/protocol.md, "What must be tested, always", and what was seen. */
export interface Violation {
  readonly invariant:
    | 'busy loop'
    | 'controller ended'
    | 'two processes'
    | 'address of a superseded node'
    | 'epochs'
    | 'lost write'
    | 'not served'
    | 'moved';
  readonly message: string;
}

interface GroupStatus {
  readonly assignment?: Assignment;
  readonly move?: Move;
}

/** Watches over every state of the world. The first violation stands. */
export class Invariants {
  violation: Violation | undefined;
  /** Epoch → the proof by which it was closed. */
  readonly proofs = new Map<number, string>();
  readonly #holders = new Map<number, string>();
  readonly #machines: readonly Machine[];
  #highest = 0;
  /** Every process that ever ran, the latest last. */
  readonly ran: Process[] = [];

  constructor(machines: readonly Machine[]) {
    this.#machines = machines;
  }

  /** Two that can write the disk at this moment. */
  check(): void {
    let first: Process | undefined;
    for (const machine of this.#machines) {
      for (const process of machine.processes) {
        if (!process.writes) continue;
        if (first === undefined) first = process;
        else this.#together(first, process);
      }
    }
  }

  #together(one: Process, other: Process): void {
    const [older, newer] = one.epoch <= other.epoch ? [one, other] : [other, one];
    if (this.#isExcused(older)) return;
    const proof = this.proofs.get(older.epoch);
    this.#found(
      'two processes',
      `${older.actor.name} (pid ${older.pid}) and ${newer.actor.name} (pid ${newer.pid}) both live with the disk writable; epoch ${older.epoch} was closed by ${proof ?? 'nothing'}`,
    );
  }

  /** By what the proof does not cover, if it is that proof. */
  #isExcused(process: Process): boolean {
    return this.proofs.get(process.epoch) === 'LeaseExpired' && process.excuses.size > 0;
  }

  /** One of the two has overwritten what the other had written. */
  lostWrite(one: Landing, other: Landing): void {
    const [older, newer] = one.writer.epoch <= other.writer.epoch ? [one, other] : [other, one];
    const proof = this.proofs.get(older.writer.epoch);
    if (this.#isExcused(older.writer)) return;
    if (older.held && (proof === 'LeaseExpired' || proof === UNSETTLED)) return;
    const name = ({ writer: { actor, pid } }: Landing) => `${actor.name} (pid ${pid})`;
    const closed = `epoch ${older.writer.epoch} was closed by ${proof ?? 'nothing'}`;
    this.#found(
      'lost write',
      `${name(one)} overwrote what ${name(newer === one ? older : newer)} had written; ${closed}`,
    );
  }

  spawned(process: Process): void {
    const { epoch, machine } = process;
    const holder = this.#holders.get(epoch) ?? machine.name;
    this.#holders.set(epoch, holder);
    this.ran.push(process);
    if (holder !== machine.name) this.#found('epochs', `epoch ${epoch} runs on ${machine.name} and ran on ${holder}`);
  }

  /** A write of the group's status. */
  groupWritten(before: Raw | undefined, after: Raw | undefined): void {
    const was = (before?.['status'] as GroupStatus | undefined)?.assignment;
    const status = after?.['status'] as GroupStatus | undefined;
    const is = status?.assignment;
    if (is === undefined || (was !== undefined && was.epoch === is.epoch && was.node === is.node)) return;
    if (was === undefined && this.#highest > 0) {
      // The status was deleted by hand, and made again from what a node reports.
      if (is.epoch < this.#highest || this.#nodeOf(is.epoch, is.node) !== is.node)
        this.#found('epochs', `epoch ${is.epoch} of ${is.node} was made again; ${this.#highest} was the highest`);
      this.#highest = Math.max(this.#highest, is.epoch);
      return;
    }
    if (is.epoch <= this.#highest)
      this.#found('epochs', `epoch ${is.epoch} was assigned to ${is.node} after ${this.#highest}`);
    if (was !== undefined) {
      for (let epoch = was.epoch; epoch < is.epoch; epoch += 1) {
        if (!this.proofs.has(epoch)) this.proofs.set(epoch, proofOf(status?.move));
      }
    }
    this.#highest = is.epoch;
    this.#addresses(was, is);
  }

  #nodeOf(epoch: number, otherwise: string): string {
    return this.#holders.get(epoch) ?? otherwise;
  }

  #addresses(was: Assignment | undefined, is: Assignment): void {
    const old = this.#machines.find(({ name }) => name === was?.node && name !== is.node);
    if (old === undefined || !old.up || old.actor.stopped) return;
    if ([...old.processes].some((process) => this.#isExcused(process))) return;
    // Open: an agent that was started again and has no list of the VIPs yet takes none away, and ends the epoch all the
    // same. What its forerunner put there goes at the end of its lifetime.
    if (!old.knowsAddresses()) return;
    // Open: a new incarnation is taken, and proves the old one out, before the address of the old one is away. It goes
    // within milliseconds, or with the agent's next look.
    if (is.epoch > 1 && this.proofs.get(is.epoch - 1) === 'Rejoined') return;
    for (const [address, untilMs] of old.addresses) {
      if (untilMs <= old.time.nowMs) continue;
      const message = `${address} is on ${old.name} for ${Math.round(untilMs - old.time.nowMs)} ms more, and ${is.node} has epoch ${is.epoch}`;
      this.#found('address of a superseded node', message);
    }
  }

  fail(violation: Violation): void {
    this.violation ??= violation;
  }

  #found(invariant: Violation['invariant'], message: string): void {
    this.fail({ invariant, message });
  }
}

/** A release whose end the disk did not take, which was given its time: a write that a kernel holds may land later. */
const UNSETTLED = 'an unsettled end';

function proofOf(move: Move | undefined): string {
  if (move?.proof === undefined) return 'nothing';
  return move.proof !== 'LeaseExpired' && move.message.includes('did not take') ? UNSETTLED : move.proof;
}
