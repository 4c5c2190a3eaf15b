import { readFileSync, watch } from 'node:fs';
import { describeError } from '../src/base/errors.ts';
import type { Log } from '../src/base/log.ts';

/** A missed inotify event, or an `act` that failed, is caught up with after this. */
const POLL_MS = 1_000;

/**
 * Calls `act` once now and after each change of the file, which holds a count of changes (see moto_aws.py), one call at
 * a time; changes during a call lead to one more. Resolves when the first call has.
 */
export async function followChanges(file: string, log: Log, act: () => Promise<void>): Promise<void> {
  let followed = '';
  let running: Promise<void> | undefined;
  const wake = () => {
    running ??= (async () => {
      for (;;) {
        const count = readFileSync(file, 'latin1');
        if (count === followed) break;
        try {
          await act();
          followed = count;
        } catch (error) {
          log.error('change not followed', { error: describeError(error) });
          break;
        }
      }
      running = undefined;
    })();
    return running;
  };
  watch(file, wake);
  setInterval(wake, POLL_MS);
  await wake();
}
