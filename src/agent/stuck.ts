import { readdirSync, readFileSync } from 'node:fs';

/** A process that was killed and does not end: SIGKILL is taken only on the way back from the kernel. */
export interface Stuck {
  readonly pid: number;
  readonly name: string;
  /** As in proc_pid_stat(5): mostly D, an uninterruptible wait. */
  readonly state: string;
  /** The function of the kernel that it waits in; empty where the kernel does not say. */
  readonly waitsIn: string;
}

/** Those of `pids` that are still there, and where each waits. Reads nothing that takes a lock of their memory. */
export function lookAtStuck(pids: readonly number[]): Stuck[] {
  return pids.flatMap((pid) => {
    const threads = threadsOf(pid).map((thread) => ({ thread, state: stateOf(`/proc/${pid}/task/${thread}`) }));
    // The one that keeps it: the leader may be a zombie while a thread of it waits.
    const one = threads.find(({ state }) => state === 'D') ?? threads.find(({ state }) => !'ZXx'.includes(state));
    if (one === undefined) return [];
    const waitsIn = read(`/proc/${pid}/task/${one.thread}/wchan`);
    return [{ pid, name: read(`/proc/${pid}/comm`), state: one.state, waitsIn: waitsIn === '0' ? '' : waitsIn }];
  });
}

/** What waits, in what, and what a person can do about it. */
export function describeStuck(stuck: readonly Stuck[]): string {
  const list = stuck.slice(0, NAMED).map(({ pid, name, state, waitsIn }) => {
    return `process ${pid} (${name}) ${waitsIn === '' ? `is in state ${state}` : `waits in the kernel in ${waitsIn}, ${meaningOf(waitsIn)}`}`;
  });
  const more = stuck.length > NAMED ? ` and ${stuck.length - NAMED} more` : '';
  return `Cannot end the group: ${list.join('; ')}${more}, and SIGKILL takes effect only when that is over; it then ends by itself. Make what it waits for answer again, or reboot the server without a shutdown (systemctl reboot --force --force)`;
}

/** Enough to act upon; a server may have hundreds of threads. */
const NAMED = 3;

/** By the names of the functions that processes on a dead file server are found in. */
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/^(rpc_|nfs|__rpc)/, 'for an answer of the NFS server'],
  [/^(request_wait_answer|fuse_|__fuse)/, 'for an answer of a FUSE file system'],
  [/(refrigerator|freezer|^cgroup_freeze)/, 'because it is frozen: thaw its cgroup'],
  [/(io_schedule|wait_on_page|folio_wait|blk_|jbd2|xfs_|ext4_|wait_on_buffer)/, 'for a block device'],
  [/^(do_wait|kernel_wait|wait_for_completion)/, 'for another part of the kernel'],
];

function meaningOf(waitsIn: string): string {
  return MEANINGS.find(([pattern]) => pattern.test(waitsIn))?.[1] ?? 'for what that function waits for';
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // gone meanwhile
  }
}

/** `X` when it is gone. */
function stateOf(directory: string): string {
  const text = read(`${directory}/stat`);
  return text === '' ? 'X' : (text.slice(text.lastIndexOf(')') + 2)[0] ?? 'X');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return ''; // gone meanwhile
  }
}
