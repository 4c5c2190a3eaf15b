import type { CallOptions } from './api.ts';

/** A call without an answer ends after so long, unless its caller says otherwise. */
const DEFAULT_TIMEOUT_MS = 5_000;

/** The call was cut off by its time-out, which says nothing about what the server did with it. */
export class TimedOut extends Error {
  override name = 'TimedOut';
}

/**
 * Runs `act` and settles by the time-out at the latest, even if `act` does not heed its signal (a login plugin that
 * hangs). Throws `TimedOut`, or the reason of the caller's signal.
 *
 * By hand and not by `AbortSignal.any`: that keeps an entry in the caller's long-lived signal for every call.
 */
export async function withDeadline<T>(
  { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const limit = new AbortController();
  const follow = () => limit.abort(signal?.reason);
  signal?.addEventListener('abort', follow, { once: true });
  const timer = setTimeout(() => limit.abort(new TimedOut(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([act(limit.signal), rejection(limit.signal)]);
  } catch (error) {
    // fetch and undici wrap or replace the reason in places; what ended the call is what the caller needs.
    throw limit.signal.aborted ? limit.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', follow);
  }
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
