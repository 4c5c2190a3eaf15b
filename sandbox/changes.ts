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
  let busy = false;
  const wake = async () => {
    if (busy) return;
    busy = true;
    try {
      for (let count = read(); count !== followed; count = read()) {
        await act();
        followed = count;
      }
    } catch (error) {
      log.error('change not followed', { error: describeError(error) });
    } finally {
      busy = false;
    }
  };
  const read = () => readFileSync(file, 'latin1');
  watch(file, wake);
  setInterval(wake, POLL_MS);
  await wake();
}
