/**
 * Errors say what happens next. The queue retries a {@link RetryError} (and any error it does not know) with back-off,
 * looks again after the given time for a {@link WaitError}, and stops retrying for a {@link PersonNeededError} until the
 * object changes.
 *
 * Messages have a grammar: the action, the object, a colon, the present state; then what to do.
 * `Cannot move 10.1.0.20 to node "server2": interface eni-0abc is not attached`.
 */
export class RetryError extends Error {
  override name = 'RetryError';
}

/** Nothing is wrong; look again after `afterMs`. */
export class WaitError extends Error {
  override name = 'WaitError';
  readonly afterMs: number;
  constructor(message: string, afterMs: number, options?: ErrorOptions) {
    super(message, options);
    this.afterMs = afterMs;
  }
}

/** Retrying cannot help: somebody has to change something. The message says what. */
export class PersonNeededError extends Error {
  override name = 'PersonNeededError';
}

/** An unknown thrown value as one line of text, its causes included. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : ` (${describeError(error.cause)})`;
  return `${error.message || error.name}${cause}`;
}
