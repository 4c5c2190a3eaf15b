import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { readAccepted } from '../../src/agent/accepted.ts';
import { isAlive, listProcesses, type Process, readProcess } from '../../src/agent/scan.ts';
import { bootClock } from '../../src/base/clock.ts';
import { type Bench, openBench, until, untilState } from './processes.ts';

/** What tries to outlive its group, by every way that we know of, is found and ended. Needs root. */

const benches: Bench[] = [];
const started: Process[] = [];
afterEach(async () => {
  for (const process of started.splice(0)) if (isAlive(process)) processKill(process.pid);
  for (const bench of benches.splice(0)) await bench.close();
});

function processKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}

const PYTHON = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
const ROOT = { uid: 0, gid: 0 };

interface Escape {
  readonly how: string;
  readonly command: readonly string[];
  readonly root?: boolean;
  /** How many processes of it there are once it is on its way, the one that was started included. */
  readonly processes: number;
  /** Where no cgroup holds it. */
  readonly byParentAlone?: true;
  /** Only a cgroup holds it: docs/adr/0005-kill-by-cgroup-and-mark.md. */
  readonly byCgroupAlone?: true;
}

/** What each of its processes comes to: it says its pid first. */
const SLEEPER = 'echo "pid $$"; exec sleep 1000';
const sh = (script: string) => ['/bin/sh', '-c', script, 'sh', SLEEPER];
const ESCAPES: readonly Escape[] = [
  {
    how: 'leaves its parent and its session, as a daemon does (double fork, setsid)',
    command: sh('(setsid sh -c "$1" &); eval "$1"'),
    processes: 2,
  },
  { how: 'ignores SIGTERM', command: sh('trap "" TERM HUP INT; eval "$1"'), processes: 1 },
  {
    how: 'starts with an empty environment, below its parent',
    command: sh('env -i /bin/sh -c "$1" & eval "$1"'),
    processes: 2,
  },
  {
    how: 'starts with an empty environment, in another session',
    command: sh('env -i setsid /bin/sh -c "$1" & eval "$1"'),
    processes: 2,
    byParentAlone: true,
  },
  {
    how: 'starts with an empty environment, as a daemon',
    command: sh('(env -i setsid /bin/sh -c "$1" &); eval "$1"'),
    processes: 2,
    byCgroupAlone: true,
  },
  {
    how: 'changes its user',
    command: sh('setpriv --reuid 65534 --clear-groups setsid sh -c "$1" & eval "$1"'),
    root: true,
    processes: 2,
  },
  {
    how: 'lives in a pid namespace of its own, as pid 1 there',
    // It would say 1: its parent is named, and what is left of it is found by its mark.
    command: sh('unshare --pid --fork sleep 1000 & echo "pid $!"; eval "$1"'),
    root: true,
    processes: 2,
  },
  {
    how: 'has a zombie leader and a thread that lives on',
    command: [
      PYTHON,
      '-c',
      `import ctypes, os, threading, time
threading.Thread(target=lambda: time.sleep(1000)).start()
print("pid", os.getpid(), flush=True)
ctypes.CDLL(None).pthread_exit(None)`,
    ],
    root: true,
    processes: 1,
  },
  {
    how: 'is stopped (SIGSTOP)',
    command: sh(`sh -c 'echo "pid $$"; kill -STOP $$; :' & eval "$1"`),
    processes: 2,
  },
  {
    how: 'is stopped by a tracer (ptrace)',
    command: [
      PYTHON,
      '-c',
      `import ctypes, os, time
child = os.fork()
if child == 0:
    os.setsid()
    ctypes.CDLL(None).ptrace(0, 0, 0, 0)
    print("pid", os.getpid(), flush=True)
    os.kill(os.getpid(), 19)
os.waitpid(child, 0)
print("pid", os.getpid(), flush=True)
time.sleep(1000)`,
    ],
    root: true,
    processes: 2,
  },
  {
    how: 'closes everything that it has open',
    command: sh(`sh -c 'echo "pid $$"; exec 0<&- 1>&- 2>&-; exec setsid sleep 1000' & eval "$1"`),
    processes: 2,
  },
];

const WAYS = [
  ['killed by cgroup', true],
  ['killed by mark and descent, without a cgroup', false],
] as const;

describe.each(WAYS)('%s', (_, cgroups) => {
  async function running(command: readonly string[], root = false) {
    const bench = openBench({ cgroups });
    benches.push(bench);
    if (cgroups) expect(bench.cgroup, 'this machine lets us write no cgroup v2').toBeDefined();
    const agent = bench.agent();
    await agent.warm();
    const deadlineMs = bootClock.nowMs() + 60_000;
    const run = bench.run(command, root ? ROOT : {});
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs, run });
    const { pid } = await untilState(agent, 'running');
    return { bench, agent, leader: pid! };
  }

  const theirs = ESCAPES.filter(({ byCgroupAlone }) => cgroups || byCgroupAlone === undefined);
  const byShim = 'a stop';
  const byAgent = 'the death of its shim';
  const rows = theirs.flatMap((each) => [byShim, byAgent].map((end) => ({ ...each, end })));

  test.each(rows)('what $how ends by $end', async ({ command, root, processes, byParentAlone, end }) => {
    const { bench, agent, leader } = await running(command, root);
    const said = await until('it is on its way', () => {
      const pids = [...bench.output().matchAll(/pid (\d+)/g)].map(([, pid]) => Number(pid));
      return new Set(pids).size >= processes ? pids : undefined;
    });
    const all = [...new Set(said)].map((pid) => readProcess(pid)!); // they were there a moment ago
    started.push(...all);
    // What is known by its parent alone is known once the shim has looked, which it does every two seconds and at a stop.
    if (byParentAlone && !cgroups && end === byAgent) {
      await until('the shim has seen it', () => all.every(({ pid }) => kin(bench).includes(pid)));
    }
    if (end === byShim) {
      agent.stop('SIGTERM', 100);
      await untilState(agent, 'idle');
    } else {
      process.kill(readProcess(leader)?.parent ?? -1, 'SIGKILL');
      await untilState(agent, 'absent');
    }
    // Not "in a moment": whoever says that it has ended has seen it.
    expect(all.filter(isAlive)).toEqual([]);
    expect(await bench.alive()).toHaveLength(end === byShim ? 1 : 0); // the shim
  });

  test('what forks and exits, on and on, does not count as ended while it does', async () => {
    // A generation lives for about a millisecond and leaves one child, in a session of its own. The last one stays.
    const script = `import os, time
for generation in range(500):
    if os.fork():
        os._exit(0)
    os.setsid()
time.sleep(1000)`;
    const bench = openBench({ cgroups });
    benches.push(bench);
    const tag = `tag-${bench.mark}`;
    const agent = bench.agent();
    await agent.warm();
    const run = bench.run([PYTHON, '-c', script, tag], ROOT);
    await agent.start({ epoch: 1, incarnation: 1, deadlineMs: bootClock.nowMs() + 60_000, run });
    await until('it has ended', () => agent.view().last, 60_000);
    const left = listProcesses().filter(({ pid }) => commandOf(pid).includes(tag));
    expect(left).toEqual([]);
  }, 90_000);
});

test('the ways in which this machine lets us kill', () => {
  // Said here, and every row above is run in both: none is skipped where there is no cgroup v2, they fail.
  const hasCgroup = openBench({ cgroups: true });
  benches.push(hasCgroup);
  expect(hasCgroup.cgroup, 'this machine lets us write no cgroup v2').toBeDefined();
});

function kin({ directory }: Bench): number[] {
  return readAccepted(join(directory, 'group.json'))?.status.family?.map(({ pid }) => pid) ?? [];
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // gone meanwhile
  }
}
