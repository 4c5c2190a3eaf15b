import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** One process, as `/proc/PID/stat` shows it (proc_pid_stat(5)). */
export interface Process {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Clock ticks from boot to its start: with the pid it names a process for ever, which the pid alone does not. */
  readonly startTicks: number;
}

/** The environment variable that every process we start carries. */
export const MARK = 'POINTSMAN_MARK';

/** What a scan came to. `unclear` are processes that are alive but could not be judged: never the same as none. */
export interface Scan {
  readonly found: readonly Process[];
  readonly unclear: readonly number[];
}

/** A process in its exec shows an empty environment for a moment, and so does one in its exit. */
const EMPTY_LOOKS = 5;
const EMPTY_PAUSE_MS = 2;
/** How long one environment may take to be read. */
const READ_LIMIT_MS = 200;

/** How often newcomers are looked at in one scan, while processes come and go that may be ours. */
const ROUNDS = 4;

/**
 * Every live process but this one whose mark `matches`. Only processes started at `sinceTicks` or later are looked at.
 *
 * A process may fork and be gone before its mark has been read; its child is in no list yet. So where one has gone that
 * may have been ours, those that have come meanwhile are looked at as well, and where that does not come to an end the
 * last of them is unclear: a program that only ever forks and exits never counts as gone.
 *
 * Nor does one in its exit: its memory goes first, and its mark with it, then its files, which may wait for a file server
 * to take what was written. It is unclear for as long as that takes, where it may have been ours.
 *
 * `/proc/PID/environ` is read off the main thread and one at a time: it takes the lock of the process's memory, which a
 * process that waits for a dead file server may hold. One that does not answer stays under way, and until it does no
 * further one is read: then everything is unclear.
 */
export async function findMarked(matches: (mark: string) => boolean, sinceTicks = 0): Promise<Scan> {
  const found: Process[] = [];
  const unclear: number[] = [];
  /** By pid and start: those that were judged not to be ours, and all others that were. */
  const strangers = new Set<string>();
  const judged = new Set<string>();
  for (let round = 1; ; round += 1) {
    const all = listProcesses();
    const gone: Process[] = [];
    const exiting: Process[] = [];
    for (const process of all) {
      if (process.pid === ownPid || process.startTicks < sinceTicks || judged.has(keyOf(process))) continue;
      const verdict = await judge(process, matches);
      if (verdict === 'gone') gone.push(process);
      else if (verdict === 'exiting') exiting.push(process);
      else judged.add(keyOf(process));
      if (verdict === 'ours') found.push(process);
      else if (verdict === 'unclear') unclear.push(process.pid);
      else if (verdict === 'stranger') strangers.add(keyOf(process));
    }
    const mayBeOurs = mayHaveBeenOurs(all, (one) => one.startTicks < sinceTicks || strangers.has(keyOf(one)));
    const suspects = gone.filter(mayBeOurs);
    if (suspects.length > 0 && round < ROUNDS) continue;
    return { found, unclear: [...unclear, ...[...suspects, ...exiting.filter(mayBeOurs)].map(({ pid }) => pid)] };
  }
}

type Verdict = 'ours' | 'stranger' | 'unclear' | 'exiting' | 'dead' | 'gone';

async function judge(process: Process, matches: (mark: string) => boolean): Promise<Verdict> {
  // What was dead when it was listed has no child that was not.
  const over = isDead(process.state) ? 'dead' : 'gone';
  if (!isAlive(process)) return over;
  let environment = await readEnvironment(process);
  for (let look = 0; environment === '' && look < EMPTY_LOOKS && isAlive(process); look++) {
    await delay(EMPTY_PAUSE_MS);
    environment = await readEnvironment(process);
  }
  // What the kernel keeps even from root, as the init of some machines, was not started by us.
  if (environment === undefined) return isAlive(process) ? 'stranger' : over;
  if (environment === 'unknown') return 'unclear';
  if (environment === '') {
    if (!isAlive(process)) return over;
    return judgeEmpty(process);
  }
  const mark = markIn(environment);
  return mark !== undefined && matches(mark) ? 'ours' : 'stranger';
}

/**
 * The child of a stranger is none of ours, but for those who take in orphans: init, and any process above us that has
 * asked for it (PR_SET_CHILD_SUBREAPER).
 */
function mayHaveBeenOurs(
  all: readonly Process[],
  isStranger: (process: Process) => boolean,
): (process: Process) => boolean {
  const byPid = new Map(all.map((process) => [process.pid, process]));
  const adopters = new Set([1]);
  for (let at = byPid.get(ownPid); at !== undefined && !adopters.has(at.parent); at = byPid.get(at.parent)) {
    adopters.add(at.parent);
  }
  return ({ parent }) => {
    if (parent === 0) return false; // from outside this pid namespace, whose orphans its own init takes in
    const above = byPid.get(parent);
    return adopters.has(parent) || above === undefined || !isStranger(above);
  };
}

function keyOf({ pid, startTicks }: Process): string {
  return `${pid}:${startTicks}`;
}

/**
 * Every process of user space, the newest first: those are the ones that may be gone in a moment. Reads `stat` alone,
 * which takes no lock that a hung disk may hold.
 */
export function listProcesses(): Process[] {
  const processes: Process[] = [];
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
  for (const pid of pids.map(Number).sort((a, b) => b - a)) {
    const process = readProcess(pid);
    if (process !== undefined) processes.push(process);
  }
  return processes;
}

/** Undefined when there is no such process, or when it is a thread of the kernel. */
export function readProcess(pid: number): Process | undefined {
  const fields = readStat(`/proc/${pid}/stat`);
  if (fields === undefined) return undefined;
  const flags = Number(fields[6]);
  if ((flags & PF_KTHREAD) !== 0) return undefined;
  return {
    pid,
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    group: Number(fields[2]),
    session: Number(fields[3]),
    startTicks: Number(fields[19]),
  };
}

/** Whether a thread of it still runs. A zombie is dead; a zombie leader may hide threads that live on. */
export function isAlive(process: Pick<Process, 'pid' | 'startTicks'>): boolean {
  const now = readProcess(process.pid);
  if (now === undefined || now.startTicks !== process.startTicks) return false;
  return !isDead(now.state) || liveThreads(process.pid).length > 0;
}

/**
 * Of a process whose environment was read as empty, more than once. The kernel gives it its bounds late in an exec, and
 * takes its memory away in an exit: 0 then, by fields 50 and 51 of `stat` (proc_pid_stat(5)). A process that was started
 * without an environment has bounds with nothing between them.
 */
function judgeEmpty({ pid }: Process): Verdict {
  const fields = readStat(`/proc/${pid}/stat`);
  if (fields === undefined) return 'gone';
  const [start, end] = [Number(fields[47]), Number(fields[48])];
  if (end !== 0) return start === end ? 'stranger' : 'unclear';
  return (Number(fields[6]) & PF_EXITING) === 0 ? 'unclear' : 'exiting';
}

const PF_EXITING = 0x00000004;
const PF_KTHREAD = 0x00200000;

function isDead(state: string): boolean {
  return state === 'Z' || state === 'X' || state === 'x';
}

function liveThreads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).filter((thread) => {
      const fields = readStat(`/proc/${pid}/task/${thread}/stat`);
      return fields !== undefined && !isDead(fields[0] ?? '');
    });
  } catch {
    return []; // gone meanwhile
  }
}

/** The fields behind the name, which stands in parentheses and may itself hold any character: 0 is the state. */
function readStat(path: string): string[] | undefined {
  try {
    const text = readFileSync(path, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

const ownPid = process.pid;

let underWay: Promise<string | undefined> | undefined;

/** Undefined when it cannot be read or is gone; empty also where its memory is gone and it is not, yet. */
async function readEnvironment(process: Process): Promise<string | undefined | 'unknown'> {
  if (underWay !== undefined && (await within(underWay)) === 'unknown') return 'unknown';
  // A zombie leader has no memory left to read the environment from; its living threads do (proc_pid_environ(5)).
  const path = isDead(process.state)
    ? `/proc/${process.pid}/task/${liveThreads(process.pid)[0] ?? process.pid}/environ`
    : `/proc/${process.pid}/environ`;
  const reading = readFile(path, 'latin1').catch((error: NodeJS.ErrnoException) => {
    // Of a process without memory: since Linux 6.17, before that an empty file.
    return error.code === 'ESRCH' ? '' : undefined;
  });
  underWay = reading;
  void reading.finally(() => {
    if (underWay === reading) underWay = undefined;
  });
  return within(reading);
}

async function within(reading: Promise<string | undefined>): Promise<string | undefined | 'unknown'> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<'unknown'>((resolve) => {
    timer = setTimeout(() => resolve('unknown'), READ_LIMIT_MS);
  });
  try {
    return await Promise.race([reading, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function markIn(environment: string): string | undefined {
  const entry = environment.split('\0').find((line) => line.startsWith(`${MARK}=`));
  return entry?.slice(MARK.length + 1);
}
