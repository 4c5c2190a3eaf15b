import type { Assignment, Move } from '../../src/crds/failovergroup.ts';
import type { Raw } from './apiserver.ts';
import type { Landing } from './disk.ts';
import type { Machine } from './machine.ts';
import type { Process } from './process.ts';
import { addressOf, type Shape } from './shape.ts';

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
    | 'moved'
    | 'stopped';
  readonly message: string;
}

interface GroupStatus {
  readonly assignment?: Assignment;
  readonly move?: Move;
}

/** Watches over every state of the world. The first violation stands. */
export class Invariants {
  violation: Violation | undefined;
  readonly #groups = new Map<string, GroupHistory>();
  readonly #machines: readonly Machine[];
  readonly #writing: Process[] = [];

  /** Whether a node says, by its report or its Lease, that a disk has not taken what it wrote. */
  isUnsettled: (group: string, node: string) => boolean = () => false;
  /** The groups with a second channel. */
  readonly #beats: ReadonlySet<string>;

  constructor(machines: readonly Machine[], { groups }: Shape) {
    this.#machines = machines;
    this.#beats = new Set(groups.flatMap(({ name, heartbeat }) => (heartbeat ? [name] : [])));
  }

  /** Two of one group that can write the disk at this moment. */
  check(): void {
    const writing = this.#writing;
    writing.length = 0;
    for (const machine of this.#machines) {
      for (const process of machine.processes) {
        if (!process.writes) continue;
        for (const other of writing) if (other.group === process.group) this.#together(other, process);
        writing.push(process);
      }
    }
  }

  #together(one: Process, other: Process): void {
    const [older, newer] = one.epoch <= other.epoch ? [one, other] : [other, one];
    const { proofs } = this.#of(older.group);
    if (isExcused(older, proofs)) return;
    this.#found(
      'two processes',
      `${older.actor.name} (pid ${older.pid}) and ${newer.actor.name} (pid ${newer.pid}) both live with the disk writable; epoch ${older.epoch} was closed by ${proofs.get(older.epoch) ?? 'nothing'}`,
    );
  }

  /** One of the two has overwritten what the other had written. */
  lostWrite(one: Landing, other: Landing): void {
    const [older, newer] = one.writer.epoch <= other.writer.epoch ? [one, other] : [other, one];
    const { proofs } = this.#of(older.writer.group);
    const proof = proofs.get(older.writer.epoch);
    if (isExcused(older.writer, proofs)) return;
    if (older.held && (proof === 'LeaseExpired' || proof === UNSETTLED || proof === ROLL_CALL)) return;
    const name = ({ writer: { actor, pid } }: Landing) => `${actor.name} (pid ${pid})`;
    const closed = `epoch ${older.writer.epoch} was closed by ${proof ?? 'nothing'}`;
    this.#found(
      'lost write',
      `${name(one)} overwrote what ${name(newer === one ? older : newer)} had written; ${closed}`,
    );
  }

  spawned({ group, epoch, machine }: Process): void {
    const { holders } = this.#of(group);
    const holder = holders.get(epoch) ?? machine.name;
    holders.set(epoch, holder);
    if (holder !== machine.name)
      this.#found('epochs', `epoch ${epoch} of ${group} runs on ${machine.name} and ran on ${holder}`);
    // With a second channel the fence alone ends nothing: the gate does, and whoever starts has passed it.
    for (const old of this.#machines) if (old !== machine && this.#beats.has(group)) this.#address(group, old, epoch);
  }

  /** A write of a group's status. */
  groupWritten(before: Raw | undefined, after: Raw | undefined): void {
    const group = (after ?? before)?.metadata.name ?? '';
    const history = this.#of(group);
    const was = (before?.['status'] as GroupStatus | undefined)?.assignment;
    const status = after?.['status'] as GroupStatus | undefined;
    const is = status?.assignment;
    if (is === undefined || (was !== undefined && was.epoch === is.epoch && was.node === is.node)) return;
    if (was === undefined && history.highest > 0) {
      // The status was deleted by hand, and made again from what a node reports.
      if (is.epoch < history.highest || (history.holders.get(is.epoch) ?? is.node) !== is.node)
        this.#found('epochs', `epoch ${is.epoch} of ${is.node} was made again; ${history.highest} was the highest`);
      for (let epoch = history.highest; epoch > 0 && epoch < is.epoch; epoch -= 1) {
        if (!history.proofs.has(epoch)) history.proofs.set(epoch, ROLL_CALL);
      }
      history.highest = Math.max(history.highest, is.epoch);
      return;
    }
    if (is.epoch <= history.highest)
      this.#found('epochs', `epoch ${is.epoch} was assigned to ${is.node} after ${history.highest}`);
    if (was !== undefined) {
      for (let epoch = was.epoch; epoch < is.epoch; epoch += 1) {
        if (!history.proofs.has(epoch))
          history.proofs.set(epoch, proofOf(status?.move, this.isUnsettled(group, was.node)));
      }
    }
    history.highest = is.epoch;
    this.#addresses(group, was, is);
  }

  #addresses(group: string, was: Assignment | undefined, is: Assignment): void {
    const { proofs } = this.#of(group);
    const old = this.#machines.find(({ name }) => name === was?.node && name !== is.node);
    if (old === undefined) return;
    if (this.#beats.has(group) && proofs.get(is.epoch - 1) === 'LeaseExpired') return; // looked at when it starts
    this.#address(group, old, is.epoch);
  }

  #address(group: string, old: Machine, epoch: number): void {
    if (!old.up || old.actor.stopped) return;
    const { proofs } = this.#of(group);
    if ([...old.processes].some((process) => process.group === group && isExcused(process, proofs))) return;
    const address = addressOf(group);
    const untilMs = old.addresses.get(address) ?? 0;
    if (untilMs <= old.time.nowMs) return;
    const message = `${address} is on ${old.name} for ${Math.round(untilMs - old.time.nowMs)} ms more, and epoch ${epoch} is another node's`;
    this.#found('address of a superseded node', message);
  }

  fail(violation: Violation): void {
    this.violation ??= violation;
  }

  #found(invariant: Violation['invariant'], message: string): void {
    this.fail({ invariant, message });
  }

  #of(group: string): GroupHistory {
    let history = this.#groups.get(group);
    if (history === undefined) {
      history = { proofs: new Map(), holders: new Map(), highest: 0 };
      this.#groups.set(group, history);
    }
    return history;
  }
}

/** What has been of one group. */
interface GroupHistory {
  /** Epoch → the proof by which it was closed. */
  readonly proofs: Map<number, string>;
  /** Epoch → the machine that a process was spawned on. */
  readonly holders: Map<number, string>;
  highest: number;
}

/** By what the proof does not cover, if it is that proof. */
function isExcused(process: Process, proofs: ReadonlyMap<number, string>): boolean {
  const proof = proofs.get(process.epoch);
  return (proof === 'LeaseExpired' || proof === ROLL_CALL) && process.excuses.size > 0;
}

/** A release whose end the disk did not take, which was given its time: a write that a kernel holds may land later. */
const UNSETTLED = 'an unsettled end';

/** A status was lost, and every node has been heard or fenced; it covers what the weakest of these does. */
const ROLL_CALL = 'a roll call';

function proofOf(move: Move | undefined, unsettled: boolean): string {
  if (move?.proof === undefined) return 'nothing';
  return unsettled && (move.proof === 'Released' || move.proof === 'Rejoined') ? UNSETTLED : move.proof;
}
