import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ProcessSeen {
  readonly pid: number;
  readonly argv: readonly string[];
  /** The program it runs, as the kernel names it; undefined for a zombie and for a kernel thread. */
  readonly exe: string | undefined;
}

/** Every process of the pid namespace in which `inside` lives, as the /proc of the caller sees them. */
export function listProcesses(inside: number): ProcessSeen[] {
  const namespace = pidNamespace(inside);
  if (namespace === undefined) return [];
  const seen: ProcessSeen[] = [];
  for (const pid of allPids()) {
    if (pidNamespace(pid) !== namespace) continue;
    seen.push({ pid, argv: argvOf(pid), exe: exeOf(pid) });
  }
  return seen;
}

/** Empty for a zombie and for a process that is gone. */
export function argvOf(pid: number): string[] {
  return read(`/proc/${pid}/cmdline`).split('\0').slice(0, -1);
}

/** Those that its main thread has started, oldest first. */
export function childrenOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
}

export function allPids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

/** `pid:[4026532198]`, or undefined for a process that is gone or a zombie. */
export function pidNamespace(pid: number): string | undefined {
  return link(`/proc/${pid}/ns/pid`);
}

export function exeOf(pid: number): string | undefined {
  return link(`/proc/${pid}/exe`);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
