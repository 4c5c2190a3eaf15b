import type { SeededCloud } from '../tools/moto/seed.ts';
import type { DiskFault } from './disk.ts';
import type { Cut } from './router-plan.ts';
import type { RunOptions, RunResult } from './run.ts';
import type { Progress } from './steps.ts';
import type { PlaceName, ServerName } from './topology.ts';

/** What the launcher may ask of the sandbox. One name, one call; see `inside.ts`. */
export interface InsideApi {
  start(options: StartOptions): Promise<SeededCloud>;

  bootServer(server: ServerName): Promise<void>;
  cutPower(server: ServerName): Promise<void>;
  startAgent(server: ServerName): Promise<void>;
  stopAgent(server: ServerName, signal: NodeJS.Signals): Promise<void>;
  killAgent(server: ServerName, signal: NodeJS.Signals): Promise<void>;
  agentPid(server: ServerName): Promise<number | null>;
  execOnServer(server: ServerName, command: readonly string[], options: RunOptions): Promise<RunResult>;
  execAt(place: PlaceName, command: readonly string[], options: RunOptions): Promise<RunResult>;
  attachDisk(server: ServerName): Promise<void>;
  detachDisk(server: ServerName): Promise<void>;
  setDiskFault(server: ServerName, fault: DiskFault, ms: number): Promise<void>;

  startController(): Promise<void>;
  stopController(): Promise<void>;
  killController(signal: NodeJS.Signals): Promise<void>;
  controllerPid(): Promise<number | null>;
  startSecondController(): Promise<void>;
  stopSecondController(): Promise<void>;

  killEtcd(): Promise<void>;
  startEtcd(): Promise<void>;

  killApiserver(): Promise<void>;
  startApiserver(): Promise<void>;
  pauseApiserver(): Promise<void>;
  resumeApiserver(): Promise<void>;

  setCuts(cuts: readonly Cut[]): Promise<void>;
  setPropagationDelay(ms: number): Promise<void>;
}

export interface StartOptions {
  /** This sandbox's address on its link to the host. */
  readonly address: string;
  readonly prefixLength: number;
  readonly device: string;
  /** The cgroup v2 directory that has one for each server. */
  readonly cgroups: string | null;
  readonly movableClocks: boolean;
  /** How often the controller reads every route; null: its default. */
  readonly resync: string | null;
  readonly tools: {
    readonly etcd: string;
    readonly apiserver: string;
    readonly kubectl: string;
    readonly minio: string;
    /** Null: the disk is a tmpfs, which never fails. */
    readonly faultydisk: string | null;
  };
}

/** Events, by name. */
export interface InsideEvents {
  readonly progress: Progress;
}

/** Where things lie, as seen from inside. */
export const INSIDE = {
  directory: '/run/sandbox',
  socket: '/run/sandbox/control.sock',
  logs: '/run/sandbox/log',
  kubeconfig: '/run/sandbox/kubeconfig',
  scratch: '/run/sandbox/tmp',
} as const;

/** Where a server has its agent. */
export const AGENT_PROGRAM = '/opt/pointsman/dist/agent.mjs';

/** The second argument of the sandbox's pid 1: what makes a sandbox known among the processes of a host. */
export const SANDBOX_MARK = 'pointsman-sandbox';
