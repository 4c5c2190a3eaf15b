import { ApiException } from '@kubernetes/client-node';
import { describeError, PersonNeededError, RetryError, WaitError } from '../base/errors.ts';

/** Somebody else wrote in between: read again, decide again. */
export class Conflict extends RetryError {
  override name = 'Conflict';
}

/** A create found the name taken. */
export class AlreadyExists extends Conflict {
  override name = 'AlreadyExists';
}

/** The object, or the kind itself, is not there. */
export class NotFound extends RetryError {
  override name = 'NotFound';
}

/** The resourceVersion or the continue token is too old, or of another history: list again. */
export class Expired extends RetryError {
  override name = 'Expired';
}

/** RBAC or an admission policy refused. Looked at again, because granting the right changes no object of ours. */
export class Forbidden extends WaitError {
  override name = 'Forbidden';
}

/** The login was refused, also after the token was read anew. */
export class Unauthorized extends WaitError {
  override name = 'Unauthorized';
}

/** The server holds what was sent for wrong; sending it again cannot help. */
export class Invalid extends PersonNeededError {
  override name = 'Invalid';
}

/** The server asks for a pause of {@link retryAfterMs}. It did nothing. */
export class Throttled extends WaitError {
  override name = 'Throttled';
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs: number, options?: ErrorOptions) {
    super(message, retryAfterMs, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** No usable answer: a time-out, a reset, a 5xx. What was asked may or may not have happened. */
export class Unanswered extends RetryError {
  override name = 'Unanswered';
  /** What the server asked for, where it did. */
  readonly retryAfterMs: number | undefined;
  constructor(message: string, options?: ErrorOptions & { retryAfterMs?: number | undefined }) {
    super(message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/** What the server holds does not have the shape of its kind: edited by hand, or of another version. */
export class Unreadable extends PersonNeededError {
  override name = 'Unreadable';
}

/** An answer of the API server that is not 2xx. */
export interface Refusal {
  readonly status: number;
  /** A Status object, or its text. */
  readonly body: unknown;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const FORBIDDEN_AGAIN_MS = 10_000;
const UNAUTHORIZED_AGAIN_MS = 5_000;
/** What client-go waits where a 429 names no time. */
const THROTTLED_AGAIN_MS = 1_000;

/** What any call throws, in our words. `doing` is the action and the object: `patch Lease storage/server1`. */
export function kubeError(doing: string, error: unknown): Error {
  if (error instanceof ApiException) {
    return refusalError(doing, { status: error.code, body: error.body, headers: error.headers });
  }
  if (error instanceof RetryError || error instanceof WaitError || error instanceof PersonNeededError) return error;
  return new Unanswered(`Cannot ${doing}: no answer from the API server; it is tried again`, { cause: error });
}

/** Status codes and reasons as in apimachinery `pkg/apis/meta/v1/types.go`. */
export function refusalError(doing: string, refusal: Refusal): Error {
  const status = readStatus(refusal.body);
  const said = status.message || `status ${refusal.status}`;
  const retryAfterMs = readRetryAfterMs(refusal, status);
  if (status.causes.includes('ResourceVersionTooLarge')) return new Expired(`Cannot ${doing}: ${said}; listing again`);
  switch (refusal.status) {
    case 401:
      return new Unauthorized(
        `Cannot ${doing}: the API server refuses the login (401); renew the token or certificate of this account`,
        UNAUTHORIZED_AGAIN_MS,
      );
    case 403:
      return new Forbidden(`Cannot ${doing}: ${said}; grant it by RBAC`, FORBIDDEN_AGAIN_MS);
    case 404:
      return new NotFound(`Cannot ${doing}: ${said}; create it, or install the CRDs`);
    case 409:
      return status.reason === 'AlreadyExists'
        ? new AlreadyExists(`Cannot ${doing}: ${said}; it is read again`)
        : new Conflict(`Cannot ${doing}: ${said}; it is read again`);
    case 410:
      return new Expired(`Cannot ${doing}: ${said}; listing again`);
    case 429:
      return new Throttled(`Cannot ${doing}: the API server asks for a pause`, retryAfterMs ?? THROTTLED_AGAIN_MS);
    default:
      return refusal.status >= 400 && refusal.status < 500
        ? new Invalid(`Cannot ${doing}: ${said}; correct what the message names`)
        : new Unanswered(`Cannot ${doing}: status ${refusal.status}, ${said}; it is tried again`, { retryAfterMs });
  }
}

/** For a raw object that its kind's schema refuses. */
export function unreadable(doing: string, error: unknown): Unreadable {
  return new Unreadable(`Cannot ${doing}: ${describeError(error)}; correct the object, or update pointsman`, {
    cause: error,
  });
}

interface StatusView {
  readonly reason: string;
  readonly message: string;
  readonly causes: readonly string[];
  readonly retryAfterSeconds: number | undefined;
}

function readStatus(body: unknown): StatusView {
  const raw = typeof body === 'string' ? parseJson(body) : body;
  const status = isRecord(raw) ? raw : {};
  const details = isRecord(status['details']) ? status['details'] : {};
  const causes = Array.isArray(details['causes']) ? details['causes'] : [];
  const seconds = details['retryAfterSeconds'];
  return {
    reason: String(status['reason'] ?? ''),
    message: String(status['message'] ?? (typeof body === 'string' ? body.trim().slice(0, 200) : '')),
    causes: causes.map((cause) => (isRecord(cause) ? String(cause['reason'] ?? '') : '')),
    retryAfterSeconds: typeof seconds === 'number' && seconds > 0 ? seconds : undefined,
  };
}

/** `Retry-After` in seconds, as the API server writes it; the HTTP-date form (RFC 9110, 10.2.3) it never does. */
function readRetryAfterMs(refusal: Refusal, status: StatusView): number | undefined {
  const header = Number(refusal.headers['retry-after'] ?? Number.NaN);
  const seconds = header > 0 ? header : status.retryAfterSeconds;
  return seconds === undefined ? undefined : seconds * 1000;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
