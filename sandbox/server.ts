import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { clearCgroups, inCgroup } from './cgroup.ts';
import { attachDisk, dropDisk, mountPointsOf } from './disk.ts';
import { enterServer } from './find.ts';
import { forgetNetwork, inNetwork, plugIn, setMac, unplug } from './network.ts';
import { childrenOf, listProcesses } from './processes.ts';
import { type Daemon, type RunOptions, type RunResult, startDaemon, tailOf, tryRun } from './run.ts';
import type { ServerName } from './topology.ts';

/** A server of the VPC: namespaces with a root of their own, and somebody who keeps the agent running in them. */
export interface Server {
  readonly name: ServerName;
  readonly isUp: () => boolean;
  /** The hardware address of its interface, as EC2 gave it: from now on, and after every boot. */
  setMac(mac: string): Promise<void>;
  boot(): Promise<void>;
  /** The link first, then every process, by the kernel: nothing says goodbye. The shared disk keeps what it has. */
  cutPower(): Promise<void>;
  /** As systemd shuts down: the agent, then everybody, are asked to end; what is left after `graceMs` is killed. */
  shutDown(graceMs: number): Promise<void>;
  /** The agent is started, and again whenever it ends, also after the next boot. */
  startAgent(): void;
  /** SIGTERM by default, as `systemctl stop` sends to the main process alone; it is not started again. */
  stopAgent(signal?: NodeJS.Signals): Promise<void>;
  killAgent(signal: NodeJS.Signals): void;
  /** The agent's pid as this namespace sees it, when it runs. */
  agentPid(): number | undefined;
  exec(command: readonly string[], options?: RunOptions): Promise<RunResult>;
  readonly agentLog: string;
  log(lines?: number): string;
}

export interface ServerOptions {
  readonly name: ServerName;
  readonly checkout: string;
  readonly minio: string;
  /** What runs as the agent, in the server's own paths. */
  readonly agent: readonly string[];
  readonly logDirectory: string;
  /** The directory of cgroup.ts. */
  readonly cgroups: string | undefined;
  /** The data plane looks again after the link came or went. */
  readonly onLink: (linked: boolean) => Promise<void>;
}

/** systemd's RestartSec is 100 ms by default (systemd.service(5)). */
const RESTART_AFTER_MS = 100;
const BOOT_LIMIT_MS = 15_000;
const HERE = dirname(fileURLToPath(import.meta.url));

/** The host's side of /etc/pointsman of a server: it outlives a power cut. */
export function stateDirectory(server: ServerName): string {
  return `/run/sandbox/state/${server}`;
}

export function makeServer(options: ServerOptions): Server {
  const { name, logDirectory, onLink } = options;
  const agentLog = `${logDirectory}/${name}-agent.log`;
  const bootLog = `${logDirectory}/${name}-boot.log`;
  let machine: Machine | undefined;
  let agent: Daemon | undefined;
  let wanted = false;
  let mac: string | undefined;

  const intoServer = (pid: number) => [...inCgroup(options.cgroups, name), ...enterServer(pid)];

  const keepAgent = () => {
    if (machine === undefined || !wanted || agent !== undefined) return;
    const on = machine;
    const started = startDaemon({
      name: `${name}'s agent`,
      command: [...intoServer(on.pid), ...CLEAN_ENVIRONMENT, ...options.agent],
      logFile: agentLog,
    });
    agent = started;
    void started.exited.then(() => {
      agent = undefined;
      // Its end may be heard only after the next boot, which then found it still there.
      setTimeout(keepAgent, RESTART_AFTER_MS);
    });
  };

  const boot = async () => {
    if (machine !== undefined) throw new Error(`Cannot boot ${name}: it is up; cut its power first`);
    await clearCgroups(options.cgroups, name);
    await attachDisk(name); // as /etc/fstab would
    await plugIn(name, mac);
    machine = await startMachine(options, bootLog);
    await onLink(true);
    keepAgent();
  };

  const cutPower = async () => {
    const on = machine;
    if (on === undefined) return;
    machine = undefined;
    await onLink(false);
    await unplug(name);
    // Before its processes: one that waits for a disk that hangs could not be killed.
    await dropDisk(name);
    process.kill(on.pid, 'SIGKILL');
    // Where the server stood still, so do they: unshare and nsenter stop with their child (they wait with WUNTRACED), and
    // would not see it end.
    for (const parent of [on.parent, agent?.pid]) if (parent !== undefined) kill(parent, 'SIGCONT');
    await on.gone;
    await forgetNetwork(name);
  };

  const stopAgent = async (signal: NodeJS.Signals = 'SIGTERM') => {
    wanted = false;
    const running = agent;
    const pid = agentPid();
    if (running === undefined) return;
    if (pid !== undefined) kill(pid, signal);
    const late = setTimeout(() => killAgent('SIGKILL'), 5_000);
    await running.exited;
    clearTimeout(late);
  };

  // nsenter stays as the parent of what it starts in a pid namespace; it is its only child.
  const agentPid = () => (agent === undefined ? undefined : childOf(agent.pid));
  const killAgent = (signal: NodeJS.Signals) => {
    const pid = agentPid();
    if (pid !== undefined) kill(pid, signal);
    // nsenter stops itself when its child is stopped, and would neither go on with it nor bury it.
    if (signal !== 'SIGSTOP') agent?.kill('SIGCONT');
  };

  return {
    name,
    isUp: () => machine !== undefined,
    setMac: async (given) => {
      mac = given;
      if (machine !== undefined) await setMac(name, given);
    },
    boot,
    cutPower,
    shutDown: async (graceMs) => {
      const on = machine;
      if (on === undefined) return;
      const again = wanted;
      await stopAgent();
      wanted = again;
      for (const { pid } of listProcesses(on.pid)) if (pid !== on.pid) kill(pid, 'SIGTERM');
      const until = Date.now() + graceMs;
      while (listProcesses(on.pid).length > 2 && Date.now() < until) await delay(20);
      await cutPower();
    },
    startAgent: () => {
      wanted = true;
      keepAgent();
    },
    stopAgent,
    killAgent,
    agentPid,
    exec: async (command, execOptions) => {
      if (machine === undefined) throw new Error(`Cannot run ${command[0]} on ${name}: it has no power`);
      return await tryRun([...intoServer(machine.pid), ...CLEAN_ENVIRONMENT, ...command], execOptions);
    },
    agentLog,
    log: (lines) => tailOf(agentLog, lines),
  };
}

interface Machine {
  /** Its pid 1, as this namespace sees it. */
  readonly pid: number;
  /** The unshare that has forked it. */
  readonly parent: number | undefined;
  /** When the kernel has ended everything in it. */
  readonly gone: Promise<void>;
}

async function startMachine({ name, checkout, minio, cgroups }: ServerOptions, bootLog: string): Promise<Machine> {
  await mkdir(stateDirectory(name), { recursive: true });
  const [file = '', ...args] = [
    ...inCgroup(cgroups, name),
    ...inNetwork(name),
    ...[
      'unshare',
      '--fork',
      '--kill-child=SIGKILL',
      '--pid',
      '--mount',
      '--propagation',
      'slave',
      '--uts',
      '--ipc',
      '--cgroup',
    ],
    ...['sh', `${HERE}/server-root.sh`, name, checkout, minio, mountPointsOf(name), stateDirectory(name)],
    ...(cgroups === undefined ? [] : ['cgroup']),
  ];
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const gone = once(child, 'exit').then(() => {});
  let said = '';
  let errors = '';
  const up = new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
      if (said.includes('up\n')) resolve();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk;
    });
    void gone.then(() => reject(new Error(`Cannot boot ${name}: ${errors.trim() || 'its pid 1 has ended'}`)));
    setTimeout(
      () => reject(new Error(`Cannot boot ${name}: not up after ${BOOT_LIMIT_MS} ms ${bootLog}`)),
      BOOT_LIMIT_MS,
    ).unref();
  });
  await up;
  const parent = (child as ChildProcess).pid;
  const pid = childOf(parent ?? -1);
  if (pid === undefined) throw new Error(`Cannot boot ${name}: its pid 1 has ended`);
  return { pid, parent, gone };
}

const CLEAN_ENVIRONMENT = [
  'env',
  '-i',
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
];

function childOf(pid: number): number | undefined {
  return childrenOf(pid)[0];
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}
