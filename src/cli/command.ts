import type { Clock } from '../base/clock.ts';
import type { KubeClient } from '../kube/client.ts';
import type { ExitCode } from './exit.ts';
import type { Terminal } from './terminal.ts';

/** One command of `kubectl pointsman`. It states wishes at most: specs are Git's, and statuses the controller's. */
export interface Command {
  readonly name: string;
  /** What follows the name: `GROUP [NODE]`. */
  readonly takes: string;
  /** How many words follow it, at least and at most. */
  readonly least: number;
  readonly most: number;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `--help` says beneath it. */
  readonly about: string;
  readonly options: Readonly<Record<string, OptionDefinition>>;
  /** What `-o` may ask for. */
  readonly formats: readonly Format[];
  run(call: Call): Promise<ExitCode>;
}

export interface OptionDefinition {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** What stands for its value in the help. */
  readonly value?: string;
  readonly default?: string | boolean;
  readonly about: string;
}

export type Format = 'wide' | 'json' | 'yaml' | 'name';

/** A command line, understood. */
export interface Call {
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly format: Format | undefined;
  readonly allNamespaces: boolean;
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
  /** Connects to the API server at the first use. Throws where no kubeconfig can be used. */
  connect(): Connection;
}

export interface Connection {
  readonly api: KubeClient;
  /** The one that `-n` or the context names. */
  readonly namespace: string;
}
