import type { Assignment, Move } from '../../src/crds/failovergroup.ts';
import type { Raw } from './apiserver.ts';
import type { Landing } from './disk.ts';
import type { Machine } from './machine.ts';
import type { Process } from './process.ts';
import { addressOf, type Shape } from './shape.ts';

/** Which invariant of docs/verification.md, "The simulator", was broken, and what was seen. */
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

  /** What stands of a node where the proofs are taken from. */
  standingOf: (group: string, node: string) => Standing = () => ({ held: true, unsettledLease: undefined });
  /** The groups with a second channel. */
  readonly #beats: ReadonlySet<string>;
  /** Those with `policy: Instance`, under which nothing is excused. */
  readonly #strict: ReadonlySet<string>;

  constructor(machines: readonly Machine[], { groups }: Shape) {
    this.#machines = machines;
    this.#beats = new Set(groups.flatMap(({ name, heartbeat }) => (heartbeat ? [name] : [])));
    this.#strict = new Set(groups.flatMap(({ name, policy }) => (policy === 'Instance' ? [name] : [])));
  }

  /** Two of one group that can write the disk at this moment. */
  check(): void {
    let alive = 0;
    for (const machine of this.#machines) alive += machine.processes.size;
    if (alive < 2) return;
    const writing: Process[] = [];
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
    if (this.#isExcused(older, proofs)) return;
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
    if (this.#isExcused(older.writer, proofs)) return;
    if (!this.#strict.has(older.writer.group) && older.held && (proof === 'LeaseExpired' || proof === UNSETTLED))
      return;
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
      for (const [epoch, node] of history.open(is.epoch)) {
        // Who is told to end has not ended; that is proven by the next assignment.
        if (node === is.node && is.state === 'Stopping') continue;
        history.proofs.set(epoch, proofByRollCall(this.standingOf(group, node)));
      }
      for (const epoch of history.assigned.keys()) if (epoch > is.epoch) history.assigned.delete(epoch);
    } else {
      if (is.epoch <= history.highest)
        this.#found('epochs', `epoch ${is.epoch} was assigned to ${is.node} after ${history.highest}`);
      for (const [epoch, node] of history.open(is.epoch)) {
        if (was === undefined || node !== was.node) continue;
        history.proofs.set(epoch, proofOf(status?.move, was, this.standingOf(group, node)));
      }
    }
    // A number under which a node is only told to end is none that anybody had: should the status be lost again before it
    // hears that, it has the group as before.
    if (was !== undefined || is.state === 'Active') history.highest = Math.max(history.highest, is.epoch);
    history.assigned.set(is.epoch, is.node);
    this.#addresses(group, is);
  }

  /** Those of every node that had the group before. */
  #addresses(group: string, is: Assignment): void {
    const history = this.#of(group);
    for (const old of this.#machines) {
      if (old.name === is.node) continue;
      const proof = history.proofOfLast(old.name, is.epoch);
      // Looked at when it starts.
      if (this.#beats.has(group) && proof === 'LeaseExpired') continue;
      this.#address(group, old, is.epoch);
    }
  }

  #address(group: string, old: Machine, epoch: number): void {
    if (!old.up) return;
    const history = this.#of(group);
    // A machine that stands still takes nothing away, and answers at nothing.
    if (old.actor.stopped && history.proofOfLast(old.name, epoch) === 'LeaseExpired') return;
    if ([...old.processes].some((process) => process.group === group && this.#isExcused(process, history.proofs)))
      return;
    const address = addressOf(group);
    const untilMs = old.addresses.get(address) ?? 0;
    if (untilMs <= old.time.nowMs) return;
    const message = `${address} is on ${old.name} for ${Math.round(untilMs - old.time.nowMs)} ms more, and epoch ${epoch} is another node's`;
    this.#found('address of a superseded node', message);
  }

  /** By what the proof does not cover, if it is that proof. */
  #isExcused({ group, epoch, excuses }: Process, proofs: ReadonlyMap<number, string>): boolean {
    return !this.#strict.has(group) && proofs.get(epoch) === 'LeaseExpired' && excuses.size > 0;
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
      history = new GroupHistory();
      this.#groups.set(group, history);
    }
    return history;
  }
}

/** What has been of one group. */
class GroupHistory {
  /** Epoch → the proof by which it was closed. */
  readonly proofs = new Map<number, string>();
  /** Epoch → the machine that a process was spawned on. */
  readonly holders = new Map<number, string>();
  /** Epoch → the node that it was given to. */
  readonly assigned = new Map<number, string>();
  highest = 0;

  /** What was given before `epoch` and is closed by nothing. */
  open(epoch: number): (readonly [epoch: number, node: string])[] {
    return [...this.assigned].filter(([earlier]) => earlier < epoch && !this.proofs.has(earlier));
  }

  /** By what the last epoch of `node` before `epoch` was closed. */
  proofOfLast(node: string, epoch: number): string | undefined {
    let last = 0;
    for (const [earlier, holder] of this.assigned)
      if (holder === node && earlier < epoch) last = Math.max(last, earlier);
    return this.proofs.get(last);
  }
}

/** An end that the disk did not take, which was given its time: a write that a kernel holds may land later. */
const UNSETTLED = 'an unsettled end';

/** Where the proofs are taken from, as the API server has it. */
export interface Standing {
  /** Whether anybody holds the Lease of the node. */
  readonly held: boolean;
  /** The boot of that Lease, where it says that a disk did not take what ran before. */
  readonly unsettledLease: string | undefined;
  /** The last that its report said of the group's end, whoever has deleted the report since. */
  readonly settled?: boolean;
}

function proofOf(move: Move | undefined, { bootId }: Assignment, standing: Standing): string {
  if (move?.proof === undefined) return 'nothing';
  switch (move.proof) {
    case 'Released':
      return standing.settled === false ? UNSETTLED : 'Released';
    case 'Rejoined':
      return isSameBoot(bootId, standing.unsettledLease) ? UNSETTLED : 'Rejoined';
    default:
      return move.proof;
  }
}

/** Of another boot nothing is under way any more. */
function isSameBoot(assigned: string | undefined, unsettled: string | undefined): boolean {
  return unsettled !== undefined && (assigned === undefined || assigned === unsettled);
}

/** The status was lost: the node has been fenced, or it holds its Lease and has said that it ended what it ran. */
function proofByRollCall({ held, settled }: Standing): string {
  if (!held) return 'LeaseExpired';
  return settled === false ? UNSETTLED : 'Released';
}
