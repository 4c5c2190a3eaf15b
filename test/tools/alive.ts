import { readFileSync } from 'node:fs';

/** Whether a process runs. A zombie is dead, and stays in /proc until its parent has looked (proc(5), stat). */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat[stat.lastIndexOf(')') + 2] !== 'Z';
  } catch {
    return false;
  }
}
