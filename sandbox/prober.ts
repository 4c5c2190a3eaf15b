import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { workerOf } from './lines.ts';
import type { Sandbox } from './sandbox.ts';

/** One request, by the machine's monotonic clock. Any answer below 400 is `ok`; 503 counts as `refused`. */
export interface Attempt {
  readonly startMs: number;
  readonly endMs: number;
  readonly outcome: 'ok' | 'refused' | 'timeout';
}

/** From the last answer before the service was away to the first one after. */
export interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
  readonly ms: number;
  readonly failed: number;
}

export interface Prober {
  /** Resolves at the first answer to an attempt made from now on. @throws after `limitMs` */
  untilUp(limitMs: number): Promise<void>;
  /** All gaps so far that are over; those with a failed attempt in them alone. */
  gaps(): Gap[];
  /** How long it has been away by now; 0 while it answers. */
  awayMs(): number;
  /** Forgets what was. */
  reset(): void;
  stop(): Promise<void>;
}

export interface ProberOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Default: 5 ms. */
  readonly everyMs?: number;
  /** Default: 200 ms. */
  readonly timeoutMs?: number;
}

/** More than a quarter of an hour at the default pace; then the older half is forgotten. */
const ATTEMPTS_MAX = 200_000;
const HERE = dirname(fileURLToPath(import.meta.url));

/** Watches a service as a client sees it. */
export function startProber(
  sandbox: Sandbox,
  { host, port, path, everyMs = 5, timeoutMs = 200 }: ProberOptions,
): Prober {
  const worker = workerOf(
    sandbox.client.spawn([
      ...[process.execPath, `${HERE}/prober-worker.ts`, host, String(port), path],
      ...[String(everyMs), String(timeoutMs)],
    ]),
  );
  let attempts: Attempt[] = [];
  let waiting: { sinceMs: number; resolve: () => void }[] = [];
  worker.onMessage((attempt: Attempt) => {
    attempts.push(attempt);
    if (attempts.length > ATTEMPTS_MAX) attempts = attempts.slice(ATTEMPTS_MAX / 2);
    if (attempt.outcome !== 'ok') return;
    for (const { resolve } of waiting.filter(({ sinceMs }) => attempt.startMs >= sinceMs)) resolve();
    waiting = waiting.filter(({ sinceMs }) => attempt.startMs < sinceMs);
  });
  return {
    untilUp: async (limitMs) => {
      let timer: NodeJS.Timeout | undefined;
      const up = new Promise<void>((resolve) => waiting.push({ sinceMs: monotonicMs(), resolve }));
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`Cannot reach http://${host}:${port}${path}: no answer for ${limitMs} ms`)),
          limitMs,
        );
      });
      await Promise.race([up, late]).finally(() => clearTimeout(timer));
    },
    gaps: () => gapsOf(attempts).gaps,
    awayMs: () => {
      const { awaySinceMs } = gapsOf(attempts);
      return awaySinceMs === undefined ? 0 : monotonicMs() - awaySinceMs;
    },
    reset: () => {
      attempts = attempts.slice(-1);
    },
    stop: () => worker.stop(),
  };
}

/** The clock of {@link Attempt}, in this process. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * Pure. Several attempts are under way at once and their answers overtake each other, so they are put in the order in
 * which they were made; a gap is a run of failed ones between two that were answered.
 */
export function gapsOf(attempts: readonly Attempt[]): { gaps: Gap[]; awaySinceMs: number | undefined } {
  const gaps: Gap[] = [];
  let lastOkMs: number | undefined;
  let failed = 0;
  for (const attempt of attempts.toSorted((a, b) => a.startMs - b.startMs)) {
    if (attempt.outcome !== 'ok') {
      failed++;
      continue;
    }
    // An answer that overtook the one before leaves no time between them for which the service was away.
    if (lastOkMs !== undefined && failed > 0 && attempt.endMs > lastOkMs) {
      gaps.push({ fromMs: lastOkMs, toMs: attempt.endMs, ms: attempt.endMs - lastOkMs, failed });
    }
    lastOkMs = Math.max(lastOkMs ?? 0, attempt.endMs);
    failed = 0;
  }
  return { gaps, awaySinceMs: failed > 0 ? lastOkMs : undefined };
}
