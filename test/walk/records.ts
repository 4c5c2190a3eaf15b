import { type Assignment, type FailoverGroup, failoverGroup, type Move } from '../../src/crds/failovergroup.ts';
import { type FailoverNode, failoverNode, type GroupReport } from '../../src/crds/failovernode.ts';
import { parseObject } from '../../src/crds/kind.ts';

/** Each record that ever stood in the API server, once, by a number: a state holds numbers, a decision sees the record. */
class Numbered<T> {
  readonly #numbers = new Map<string, number>();
  readonly #records: T[] = [];

  /** From 1 on; 0 stays free for "none". */
  numberOf(record: T): number {
    const key = JSON.stringify(record);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#records.push(record);
    this.#numbers.set(key, this.#records.length);
    return this.#records.length;
  }

  at(number: number): T {
    const record = this.#records[number - 1];
    if (record === undefined) throw new Error(`Cannot find record ${number}: there are ${this.#records.length}`);
    return record;
  }
}

export const NAMES: readonly [string, string] = ['server1', 'server2'];

export function indexOf(name: string): number {
  return NAMES.indexOf(name);
}

export const GROUP = 'failover';
const NAMESPACE = 'storage';
const T0 = '2026-11-23T11:00:00.000Z';

/** The parts of a group that the walks change. */
export interface GroupRecord {
  readonly running: boolean;
  readonly deleting: boolean;
  readonly wish: string;
  readonly assignment: Assignment | null;
  readonly move: Move | null;
}

export interface LeaseRecord {
  /** False: nobody holds it. */
  readonly held: boolean;
  readonly incarnation: number;
  readonly boot: number;
  readonly settled: boolean;
}

export interface ReportRecord {
  readonly node: number;
  readonly incarnation: number;
  readonly boot: number;
  readonly ended: number;
  readonly settled: boolean;
  readonly epoch: number;
  readonly running: boolean;
}

export const groups = new Numbered<GroupRecord>();
export const leases = new Numbered<LeaseRecord>();
export const reports = new Numbered<ReportRecord>();

/** What changes no decision is left out, so that two groups that mean the same are the same: times, words, a move that is over. */
export function groupRecord(record: GroupRecord): GroupRecord {
  const { assignment, move } = record;
  return {
    running: record.running,
    deleting: record.deleting,
    wish: record.wish,
    assignment: assignment ?? null,
    move: move ? bareMove(move) : null,
  };
}

function bareMove({ from, to, reason, epoch }: Move): Move {
  const bare = { message: '', startedAt: T0, steps: {} };
  if (epoch !== undefined) return { reason: 'Startup', epoch, ...bare };
  return { reason, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }), ...bare };
}

/** What an agent sees of a group: its assignment. 0: there is no such group. */
export const assignments = new Numbered<Assignment | null>();
const shownNumbers: number[] = [0];

export function shown(group: number): number {
  const known = shownNumbers[group];
  if (known !== undefined) return known;
  const number = assignments.numberOf(groups.at(group).assignment);
  shownNumbers[group] = number;
  return number;
}

const groupObjects = new Map<number, FailoverGroup>();

/** The group as the API server would show it. */
export function groupObject(number: number): FailoverGroup {
  const known = groupObjects.get(number);
  if (known !== undefined) return known;
  const { running, deleting, wish, assignment, move } = groups.at(number);
  const object = parseObject(failoverGroup, {
    metadata: {
      name: GROUP,
      namespace: NAMESPACE,
      generation: 1,
      creationTimestamp: T0,
      finalizers: ['pointsman.dev/release'],
      annotations: wish === '' ? {} : { 'pointsman.dev/move-to': wish },
      ...(deleting ? { deletionTimestamp: T0 } : {}),
    },
    spec: {
      nodes: [...NAMES],
      running,
      sharedDisk: { mountPath: '/mnt/efs', heartbeat: false },
      process: { command: ['/work/minio', 'server', '/mnt/efs'], user: 'minio' },
    },
    status: {
      diskId: DISK_ID,
      // A group that is new says so; one that has neither has lost its status, which no step of a walk does.
      ...(assignment === null ? { neverAssigned: true } : { assignment }),
      ...(move === null ? {} : { move }),
    },
  });
  groupObjects.set(number, object);
  return object;
}

export const DISK_ID = 'disk-1';

/** As `ticks.ts` has it. Admission would take it: (1 s + 1 s) x 1.002 + 0.5 s is below 3 s. */
const TIMING = { renewEvery: '300ms', fenceAfter: '1s', killWithin: '1s', takeoverAfter: '3s' };

const nodeObjects = new Map<number, FailoverNode>();

/** The FailoverNode with that report. */
export function nodeObject(number: number): FailoverNode {
  const known = nodeObjects.get(number);
  if (known !== undefined) return known;
  const { node, incarnation, boot, ended, settled, epoch, running } = reports.at(number);
  const group: GroupReport = {
    ...{ name: GROUP, ended, settled, epoch, state: running ? 'Running' : 'Stopped', ready: running },
    ...{ restarts: 0, fit: true, diskId: DISK_ID, highestRead: 0, neighbours: [] },
  };
  const object = parseObject(failoverNode, {
    metadata: { name: NAMES[node], namespace: NAMESPACE, generation: 1, creationTimestamp: T0 },
    spec: { instanceId: `i-0000000${node + 1}`, timing: TIMING },
    status: {
      report: {
        ...{ incarnation, bootId: `boot-${boot}`, instanceId: `i-0000000${node + 1}`, agentVersion: '1' },
        ...{ groups: [group], disks: [] },
      },
    },
  });
  nodeObjects.set(number, object);
  return object;
}
