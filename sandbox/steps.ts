import { performance } from 'node:perf_hooks';
import { describeError } from '../src/base/errors.ts';
import { tailOf } from './run.ts';

/** One step of a start, as progress is shown. `tookMs` is there when it has ended. */
export interface Progress {
  readonly step: string;
  readonly tookMs?: number;
}

export interface StepOptions {
  /** Default: 30 s. */
  readonly limitMs?: number;
  /** Where to look when it fails. */
  readonly logFile?: string;
}

export type Step = <T>(name: string, act: () => Promise<T>, options?: StepOptions) => Promise<T>;

/** Runs steps with a limit each; an error says which step it was, and shows the end of its log. */
export function stepper(report: (progress: Progress) => void): Step {
  return async (name, act, { limitMs = 30_000, logFile } = {}) => {
    report({ step: name });
    const from = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done after ${limitMs} ms`)), limitMs);
    });
    try {
      const result = await Promise.race([act(), limit]);
      report({ step: name, tookMs: Math.round(performance.now() - from) });
      return result;
    } catch (error) {
      const log = logFile === undefined ? '' : `\n--- ${logFile}\n${tailOf(logFile)}`;
      throw new Error(`Cannot start the sandbox: ${name}: ${describeError(error)}${log}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  };
}
