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

/** Those that ran the program at the sample before. A zombie no longer names its program. */
let before = new Map<number, string>();
let said = '';
let samples = 0;
let longestMs = 0;
let lastMs = nowMs();

setInterval(() => {
  const atMs = nowMs();
  longestMs = Math.max(longestMs, atMs - lastMs);
  lastMs = atMs;
  samples++;
  const running = new Map<number, string>();
  for (const pid of allPids()) {
    if (exeOf(pid) === exe) running.set(pid, pidNamespace(pid) ?? before.get(pid) ?? 'unknown');
    // A leader that has exited hides threads that have not (proc(5)): they can still write.
    else if (before.has(pid) && hasLiveThread(pid)) running.set(pid, before.get(pid) ?? 'unknown');
  }
  before = running;
  const machines = [...running].map(([pid, namespace]) => ({ pid, namespace }));
  const text = JSON.stringify(machines);
  // Now and then without a change too: it shows that the watch lives, and how coarse it was.
  if (text === said && samples % 50 !== 0) return;
  said = text;
  say({ atMs, samples, longestMs, running: machines } satisfies Sample);
}, Number(everyMs));

function hasLiveThread(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some((tid) => {
      const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'latin1');
      return !['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? 'X');
    });
  } catch {
    return false;
  }
}
