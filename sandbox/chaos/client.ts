import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { workerOf } from '../lines.ts';
import { monotonicMs } from '../prober.ts';
import type { Sandbox } from '../sandbox.ts';
import type { Attempt } from './judge.ts';

/** A client in its own network that writes and reads objects through the VIP all the time. Its log is what is judged. */
export interface ChaosClient {
  /** All of them so far, those that read back included. */
  attempts(): readonly Attempt[];
  /** Resolves at the first write that was begun from now on and acknowledged. @throws after `limitMs` */
  untilWritten(limitMs: number): Promise<void>;
  /** Writes no more, waits for what is under way, and reads what was written since the last time, or ever. */
  readBack(which: 'sinceLastTime' | 'ever', limitMs: number): Promise<void>;
  /** Goes on after it has read back. */
  write(): Promise<void>;
  stop(): Promise<void>;
}

export interface ClientCall {
  readonly id: number;
  readonly do: 'open' | 'write' | 'readTouched' | 'readAll';
  readonly limitMs: number;
}

/** An attempt that has ended, or the answer to a call. */
export interface ClientSays {
  readonly id: number;
  readonly attempt?: Attempt;
  readonly error?: string;
}

const HERE = dirname(fileURLToPath(import.meta.url));
const OPEN_LIMIT_MS = 60_000;

/** Resolves when its bucket is there and it writes. The service must be up. */
export async function startChaosClient(sandbox: Sandbox, endpoint: string): Promise<ChaosClient> {
  const credentials = ['minioadmin', 'minioadmin'];
  const worker = workerOf(
    sandbox.client.spawn([process.execPath, `${HERE}/client-worker.ts`, endpoint, ...credentials]),
  );
  const attempts: Attempt[] = [];
  const waiting = new Map<number, (says: ClientSays) => void>();
  let watchers: { sinceMs: number; resolve: () => void }[] = [];
  worker.onMessage((says: ClientSays) => {
    const { attempt } = says;
    if (attempt === undefined) {
      waiting.get(says.id)?.(says);
      waiting.delete(says.id);
      return;
    }
    attempts.push(attempt);
    if (attempt.operation !== 'put' || attempt.outcome !== 'done') return;
    for (const { resolve } of watchers.filter(({ sinceMs }) => attempt.startMs >= sinceMs)) resolve();
    watchers = watchers.filter(({ sinceMs }) => attempt.startMs < sinceMs);
  });
  void worker.exited.then(() => {
    for (const [id, answer] of waiting) answer({ id, error: 'it has ended' });
  });
  let calls = 0;
  const call = async (what: ClientCall['do'], limitMs: number) => {
    const id = ++calls;
    const answered = new Promise<ClientSays>((resolve) => waiting.set(id, resolve));
    worker.send({ id, do: what, limitMs } satisfies ClientCall);
    const { error } = await answered;
    if (error !== undefined) throw new Error(`Cannot let the client ${what}: ${error}`);
  };
  await call('open', OPEN_LIMIT_MS);
  await call('write', OPEN_LIMIT_MS);
  return {
    attempts: () => attempts,
    untilWritten: async (limitMs) => {
      let timer: NodeJS.Timeout | undefined;
      const written = new Promise<void>((resolve) => watchers.push({ sinceMs: monotonicMs(), resolve }));
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`Cannot write to ${endpoint}: nothing was acknowledged for ${limitMs} ms`)),
          limitMs,
        );
      });
      await Promise.race([written, late]).finally(() => clearTimeout(timer));
    },
    readBack: (which, limitMs) => call(which === 'ever' ? 'readAll' : 'readTouched', limitMs),
    write: () => call('write', OPEN_LIMIT_MS),
    stop: () => worker.stop(),
  };
}
