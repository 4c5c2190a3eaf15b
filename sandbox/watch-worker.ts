import { readdirSync, readFileSync } from 'node:fs';
import { work } from './lines.ts';
import { allPids, exeOf, pidNamespace } from './processes.ts';
import type { Sample } from './watch.ts';

/**
 * Looks every few milliseconds which processes run one program, and says so whenever that has changed. Runs beside the
 * servers, in the sandbox's own pid namespace:
 *
 *     node watch-worker.ts EXE EVERY_MS
 */
const [exe, everyMs] = process.argv.slice(2);
if (everyMs === undefined) throw new Error('Cannot watch: two arguments are needed');
const say = work(() => {});
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/** Those that ran the program at the sample before, dying ones too. A zombie no longer names its program. */
let before = new Map<number, string>();
const SIGKILL_BIT = 1n << 8n;
let said = '';
let samples = 0;
let longestMs = 0;
let lastMs = nowMs();

/** SIGKILL cannot be taken back: who was once seen under it runs nothing of its own any more. */
const dying = new Set<number>();

setInterval(() => {
  const atMs = nowMs();
  longestMs = Math.max(longestMs, atMs - lastMs);
  lastMs = atMs;
  samples++;
  const seen = new Map<number, string>();
  const machines: Sample['running'][number][] = [];
  for (const pid of allPids()) {
    // A leader that has exited hides threads that have not (proc(5)): they can still write.
    if (exeOf(pid) !== exe && !before.has(pid)) continue;
    const state = stateOf(pid);
    if (state === 'gone') continue;
    const namespace = pidNamespace(pid) ?? before.get(pid) ?? 'unknown';
    seen.set(pid, namespace);
    if (state === 'dying') dying.add(pid);
    if (!dying.has(pid)) machines.push({ pid, namespace, stopped: state === 'stopped' });
  }
  for (const pid of dying) if (!seen.has(pid)) dying.delete(pid);
  before = seen;
  const text = JSON.stringify(machines);
  // Now and then without a change too: it shows that the watch lives, and how coarse it was.
  if (text === said && samples % 50 !== 0) return;
  said = text;
  say({ atMs, samples, longestMs, running: machines } satisfies Sample);
}, Number(everyMs));

type State = 'running' | 'stopped' | 'dying' | 'gone';

/** Of a process: of all its threads that live. */
function stateOf(pid: number): State {
  // Most often the first thread tells.
  const first = threadState(pid, pid);
  if (first === 'running') return first;
  let all: State = 'gone';
  for (const tid of threadsOf(pid)) {
    const state = threadState(pid, tid);
    if (state === 'gone') continue;
    if (all !== 'gone' && state !== all) return 'running';
    all = state;
  }
  return all;
}

/** proc_pid_stat(5): the state and the flags, of which 4 is PF_EXITING. proc_pid_status(5): the signals that wait. */
function threadState(pid: number, tid: number): State {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'latin1');
    const [state = 'X', , , , , , flags] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return 'gone';
    if ((Number(flags) & 4) !== 0) return 'dying';
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1');
    const pending = [...status.matchAll(/^(?:Sig|Shd)Pnd:\t([0-9a-f]+)$/gm)];
    if (pending.some(([, mask]) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n)) return 'dying';
    return state === 'T' ? 'stopped' : 'running';
  } catch {
    return 'gone';
  }
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
