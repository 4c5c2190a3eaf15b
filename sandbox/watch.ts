import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { workerOf } from './lines.ts';
import type { Sandbox } from './sandbox.ts';

/** Which processes ran the program at one instant, by the machine's monotonic clock. */
export interface Sample {
  readonly atMs: number;
  /** How many instants were looked at so far. */
  readonly samples: number;
  /** The longest time between two of them. */
  readonly longestMs: number;
  /**
   * A pid as the sandbox sees it, and the pid namespace, which is its server's. One that SIGKILL is ending does not
   * count: it runs nothing of its own any more, though it may take long to go. One that is stopped (SIGSTOP) counts.
   */
  readonly running: readonly { readonly pid: number; readonly namespace: string; readonly stopped: boolean }[];
}

/** Two servers at once: what must never be. */
export interface Watch {
  /** Every instant at which more than one server ran the program. */
  twice(): Sample[];
  /** Every change, in order. */
  changes(): Sample[];
  latest(): Sample | undefined;
  stop(): Promise<void>;
}

const HERE = dirname(fileURLToPath(import.meta.url));

/**
 * Counts from outside, every `everyMs` (20 by default), on how many servers a live process of `exe` (MinIO's by
 * default) is. Resolves with the first sample.
 */
export async function watchProcesses(sandbox: Sandbox, exe = '/work/minio', everyMs = 20): Promise<Watch> {
  const worker = workerOf(
    sandbox.spawn([
      // It must look in time just when everything else wants to run.
      ...['nice', '-n', '-15'],
      ...[process.execPath, `${HERE}/watch-worker.ts`, exe, String(everyMs)],
    ]),
  );
  const changes: Sample[] = [];
  let latest: Sample | undefined;
  await new Promise<void>((resolve, reject) => {
    worker.onMessage((sample: Sample) => {
      const same = latest !== undefined && JSON.stringify(latest.running) === JSON.stringify(sample.running);
      latest = sample;
      if (!same) changes.push(sample);
      resolve();
    });
    void worker.exited.then(() => reject(new Error('Cannot watch the processes: the watch has ended')));
  });
  return {
    twice: () => changes.filter(({ running }) => new Set(running.map(({ namespace }) => namespace)).size > 1),
    changes: () => [...changes],
    latest: () => latest,
    stop: () => worker.stop(),
  };
}
