import { watch } from 'node:fs';
import { describeError } from '../src/base/errors.ts';
import type { Log } from '../src/base/log.ts';

/** A missed inotify event is caught up with after this. */
const POLL_MS = 1_000;

/**
 * Calls `act` once now and after each change of the file, one call at a time; changes during a call lead to one more.
 * Resolves when the first call has.
 */
export async function followChanges(file: string, log: Log, act: () => Promise<void>): Promise<void> {
  let again = false;
  let running: Promise<void> | undefined;
  const wake = () => {
    again = true;
    running ??= (async () => {
      while (again) {
        again = false;
        await act().catch((error: unknown) => log.error('change not followed', { error: describeError(error) }));
      }
      running = undefined;
    })();
    return running;
  };
  watch(file, wake);
  setInterval(wake, POLL_MS);
  await wake();
}
