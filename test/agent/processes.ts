import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupBase, cgroupOf, cgroupsIn, removeCgroup } from '../../src/agent/cgroup.ts';
import { killAll } from '../../src/agent/kill.ts';
import { wardenMarkOf } from '../../src/agent/mark.ts';
import { realParts } from '../../src/agent/parts.ts';
import { createGroupProcess, type GroupProcess, type ProcessView } from '../../src/agent/process.ts';
import { findMarked } from '../../src/agent/scan.ts';
import type { RunSpec } from '../../src/agent/shim-protocol.ts';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';

/** A user without rights that every Debian and Amazon Linux has. */
export const NOBODY = { uid: 65534, gid: 65534 };

/** A node's run directory with one group, and real processes. */
export interface Bench {
  readonly directory: string;
  readonly mark: string;
  readonly cgroup: string | undefined;
  /** As an agent that has just started sees the group. */
  agent(): GroupProcess;
  run(command: readonly string[], changes?: Partial<RunSpec>): RunSpec;
  readonly logFile: string;
  /** What the processes have written to it. */
  output(): string;
  setIncarnation(incarnation: number): void;
  /** Everything alive that carries the mark, the shim included. */
  alive(): Promise<number[]>;
  /** The wardens, each a shell that waits, or that shell with the program it has started. */
  wardens(): Promise<number[]>;
  close(): Promise<void>;
}

let count = 0;

export function openBench({ cgroups }: { cgroups: boolean }): Bench {
  const directory = mkdtempSync(join(tmpdir(), 'pointsman-agent-'));
  const node = `node${process.pid}-${++count}`;
  const mark = `test/${node}/group`;
  const base = cgroups ? cgroupBase('test', node) : undefined;
  const cgroup = base === undefined ? undefined : cgroupOf(base, 'group');
  const agents: GroupProcess[] = [];
  const logFile = join(directory, 'log', 'group.log');
  const setIncarnation = (incarnation: number) => writeFileSync(join(directory, 'incarnation'), `${incarnation}\n`);
  setIncarnation(1);
  return {
    directory,
    mark,
    cgroup,
    logFile,
    agent: () => {
      const agent = createGroupProcess({
        config: {
          socket: join(directory, 'group.sock'),
          acceptedFile: join(directory, 'group.json'),
          incarnationFile: join(directory, 'incarnation'),
          mark,
          logFile,
          cgroup,
        },
        shimLogFile: join(directory, 'log', 'shim.log'),
        clock: bootClock,
        log: silentLog,
        parts: realParts,
        onChange: () => {},
      });
      agents.push(agent);
      return agent;
    },
    run: (command, changes = {}) => ({
      ...NOBODY,
      command,
      workingDirectory: '/',
      env: { PATH: '/usr/bin:/bin' },
      lock: undefined,
      ...changes,
    }),
    output: () => readFileSync(logFile, 'utf8'),
    setIncarnation,
    alive: () => marked(mark),
    wardens: () => marked(wardenMarkOf(mark)),
    close: async () => {
      for (const agent of agents) agent.leave();
      await killAll({
        matches: (found) => found === mark || found === wardenMarkOf(mark),
        cgroups: cgroup === undefined ? [] : [cgroup],
        known: [],
        sinceTicks: 0,
        cgroupHoldsAll: false,
      });
      if (base !== undefined) {
        await until('the cgroups are gone', () => {
          for (const path of [...cgroupsIn(base), base]) removeCgroup(path);
          return !existsSync(base);
        });
      }
      rmSync(directory, { recursive: true });
    },
  };
}

async function marked(mark: string): Promise<number[]> {
  return (await findMarked((found) => found === mark)).found.map(({ pid }) => pid);
}

export async function until<T>(what: string, look: () => T | Promise<T>, limitMs = 60_000): Promise<NonNullable<T>> {
  const end = bootClock.nowMs() + limitMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (bootClock.nowMs() > end) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await bootClock.sleep(2);
  }
}

export async function untilState(agent: GroupProcess, ...states: ProcessView['state'][]): Promise<ProcessView> {
  return until(`the process is ${states.join(' or ')}`, () => {
    const view = agent.view();
    return states.includes(view.state) ? view : undefined;
  });
}
