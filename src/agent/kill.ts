import { setTimeout as delay } from 'node:timers/promises';
import { isPopulated, killCgroup, pidsIn } from './cgroup.ts';
import { findMarked, isAlive, listProcesses, type Process, readProcess } from './scan.ts';
import { lookAtStuck, type Stuck } from './stuck.ts';

/** A process, for as long as the machine runs: a pid alone may be another's by now. */
export type Kin = Pick<Process, 'pid' | 'startTicks'>;

/** What is to be ended, by every trait it can be found by. */
export interface Victims {
  /** The mark in their environment. */
  readonly matches: (mark: string) => boolean;
  readonly cgroups: readonly string[];
  /** Processes known by pid and start; everything in their sessions, process groups and below them goes as well. */
  readonly known: readonly Kin[];
  /** Nothing that started earlier is looked at. 0 looks at everything. */
  readonly sinceTicks: number;
  /** The cgroup holds everything there can be: then it alone is asked whether any is left. */
  readonly cgroupHoldsAll: boolean;
}

/** Between two rounds, doubled up to the last. The kernel needs a moment to end a large process, or for ever. */
const FIRST_PACE_MS = 5;
const LAST_PACE_MS = 160;
/** What has been killed and is still there after so long waits for something in the kernel. */
export const STUCK_AFTER_MS = 1_000;
/** Between the two scans that must find nothing, so that a process caught in its exec by the first is past it. */
const BETWEEN_SCANS_MS = 10;

/** SIGKILL to everything that can be found without waiting. The first thing to do when time is up. */
export function killNow(victims: Pick<Victims, 'cgroups' | 'known'>): void {
  for (const path of victims.cgroups) killCgroup(path);
  for (const process of family(victims.known)) sigkill(process);
}

/**
 * Kills until none is left, and returns only then, or throws the signal's reason. The proof is `populated 0` where a
 * cgroup holds everything, else two scans in a row that find nothing. `kill -0` would prove nothing: it succeeds on a
 * zombie too, and does not tell one from a zombie leader whose threads live on.
 *
 * A process that waits in the kernel takes no signal. It is waited for, however long, and `onStuck` is told what is left.
 */
export async function killAll(
  victims: Victims,
  signal?: AbortSignal,
  onStuck?: (stuck: readonly Stuck[]) => void,
): Promise<void> {
  let clean = 0;
  let paceMs = FIRST_PACE_MS;
  /** What has been found and may live: in its exit it has no mark any more, and is in no cgroup at the very last. */
  let seen: readonly Process[] = [];
  /** By pid, of what is left. */
  let sinceMs: ReadonlyMap<number, number> = new Map();
  let nextTellMs = 0;
  for (;;) {
    const inCgroups = victims.cgroups.flatMap(pidsIn).flatMap((pid) => readProcess(pid) ?? []);
    killNow(victims);
    const left = await remaining(victims);
    for (const process of left.found) sigkill(process);
    const byPid = new Map([...seen, ...inCgroups, ...left.found].map((process) => [process.pid, process]));
    seen = [...byPid.values()].filter(isAlive);
    const none = left.none && seen.length === 0;
    if (!none && onStuck !== undefined) {
      const nowMs = performance.now();
      const pids = [...seen.map(({ pid }) => pid), ...left.unclear];
      // What is in its exec or exit for a moment waits for nothing.
      sinceMs = new Map(pids.map((pid) => [pid, sinceMs.get(pid) ?? nowMs]));
      const stuck = lookAtStuck([...sinceMs].flatMap(([pid, since]) => (nowMs - since >= STUCK_AFTER_MS ? [pid] : [])));
      if (stuck.length > 0 && nowMs >= nextTellMs) {
        onStuck(stuck);
        nextTellMs = nowMs + STUCK_AFTER_MS;
      }
    }
    clean = none ? clean + 1 : 0;
    if (clean >= (victims.cgroupHoldsAll ? 1 : 2)) return;
    signal?.throwIfAborted();
    await delay(none ? BETWEEN_SCANS_MS : paceMs);
    paceMs = Math.min(LAST_PACE_MS, paceMs * 2);
  }
}

/** One look for what is left. */
export async function remaining(victims: Victims): Promise<{
  readonly none: boolean;
  readonly found: readonly Process[];
  /** Alive, and not known whether it is one of them. */
  readonly unclear: readonly number[];
}> {
  const populated = victims.cgroups.some(isPopulated);
  const relatives = family(victims.known);
  if (victims.cgroupHoldsAll) return { none: !populated && relatives.length === 0, found: relatives, unclear: [] };
  const scan = await findMarked(victims.matches, victims.sinceTicks);
  return {
    none: !populated && relatives.length === 0 && scan.found.length === 0 && scan.unclear.length === 0,
    found: [...relatives, ...scan.found],
    unclear: scan.unclear,
  };
}

/** The live ones of `known`, of their sessions and process groups, and of everything below them. */
export function family(known: Victims['known']): Process[] {
  if (known.length === 0) return [];
  const all = listProcesses();
  const startOf = new Map(all.map((process) => [process.pid, process.startTicks]));
  // A pid that another process has by now leads nobody: the kernel keeps a number back while a group or session has it.
  const heads = new Set(
    known.filter(({ pid, startTicks }) => (startOf.get(pid) ?? startTicks) === startTicks).map(({ pid }) => pid),
  );
  const oldest = Math.min(...known.map((process) => process.startTicks));
  const belongs = (process: Process) =>
    heads.has(process.pid) || heads.has(process.parent) || heads.has(process.group) || heads.has(process.session);
  for (let grew = true; grew; ) {
    grew = false;
    for (const process of all) {
      if (heads.has(process.pid) || process.startTicks < oldest || !belongs(process)) continue;
      heads.add(process.pid);
      grew = true;
    }
  }
  return all.filter((process) => heads.has(process.pid) && process.startTicks >= oldest && isAlive(process));
}

function sigkill(victim: Process): void {
  if (victim.pid === process.pid) return;
  try {
    process.kill(victim.pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}
