import type { Kin } from './kill.ts';
import type { Stuck } from './stuck.ts';

/**
 * What agent and shim say to each other, one JSON object a line over a unix socket. An agent may be newer or older than
 * the shim that it adopts, so a field once given keeps its meaning.
 */

/** Fixed when the shim is spawned. */
export interface ShimConfig {
  readonly socket: string;
  /** Where it writes what it has accepted, in /run. */
  readonly acceptedFile: string;
  /** Where the agent's incarnation stands, in /run. */
  readonly incarnationFile: string;
  /** The mark that this shim carries and everything it starts. */
  readonly mark: string;
  /** Output of the user's process. */
  readonly logFile: string;
  /** The cgroup for the user's process, where there is one. */
  readonly cgroup: string | undefined;
}

/** The user's process, ready to be run: everything looked up and judged. */
export interface RunSpec {
  readonly command: readonly string[];
  readonly uid: number;
  readonly gid: number;
  readonly workingDirectory: string;
  /** The environment of the process, besides the mark. */
  readonly env: Readonly<Record<string, string>>;
  /** The file to lock. Undefined: start without the lock. */
  readonly lock: string | undefined;
}

export type Request =
  | {
      readonly type: 'start';
      readonly epoch: number;
      readonly incarnation: number;
      readonly deadlineMs: number;
      readonly run: RunSpec;
    }
  /** Later or earlier than the one before. */
  | { readonly type: 'deadline'; readonly untilMs: number }
  /** The signal to the process, then SIGKILL to everything after `timeoutMs`. Answered at once. */
  | { readonly type: 'stop'; readonly signal: NodeJS.Signals; readonly timeoutMs: number }
  | { readonly type: 'status' }
  /** Ends the shim, and what it runs. */
  | { readonly type: 'quit' };

export type Envelope = Request & { readonly id: number };

export type Message =
  | { readonly type: 'reply'; readonly id: number; readonly refused?: string; readonly status: ShimStatus }
  /** Pushed at every change. */
  | { readonly type: 'status'; readonly status: ShimStatus };

/** `ending`: it has exited or is being ended, and not all of it is known to be gone yet. */
export type Phase = 'idle' | 'starting' | 'running' | 'ending';

export interface ShimStatus {
  readonly phase: Phase;
  /** Counts what this shim has started. */
  readonly run: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** By the boot clock. Meaningless while idle. */
  readonly deadlineMs: number;
  readonly pid: number | undefined;
  /** How the last run ended, once nothing of it is left. */
  readonly last: LastRun | undefined;
  /** The process and what has been seen to descend from it, where no cgroup holds them together. */
  readonly family?: readonly Kin[];
  /** What was killed and does not end. */
  readonly stuck?: readonly Stuck[];
}

/** How far the chain of programs came before the user's own. */
export type Stage = 'started' | 'executed';

export interface LastRun {
  readonly run: number;
  readonly epoch: number;
  readonly stage: Stage;
  readonly code: number | null;
  readonly signal: string | null;
  /** Who ended it: itself, a stop, the deadline. */
  readonly cause: 'Exited' | 'Stopped' | 'Deadline';
}

/** What stands in the accepted file, for an agent that comes back. */
export interface Accepted {
  readonly pid: number;
  readonly startTicks: number;
  readonly status: ShimStatus;
}

/** Exit statuses of the chain's own links; they count only before the stage `executed`. */
export const CHAIN_EXIT = { lockHeld: 118, parentGone: 121, directory: 123 } as const;
