import { type Dispatcher, request } from 'undici';
import type { WatchEvent, WatchOptions } from './api.ts';
import { type Refusal, refusalError, Unanswered } from './errors.ts';

/** The server answers a watch at once; this long without headers means that it does not. */
const HEADERS_MS = 15_000;
/** Longer than any object etcd takes (1.5 MiB by default, `--max-request-bytes`). */
const MAX_LINE_CHARS = 8 << 20;
/** The server ends the stream after its `timeoutSeconds`; one that does not is cut this much later. */
const OVERDUE_MS = 30_000;

export interface WatchRequest {
  readonly doing: string;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly dispatcher: Dispatcher;
}

/** Reads one watch stream: a JSON document per line. See {@link WatchOptions} for how it ends. */
export async function* openWatch(to: WatchRequest, o: WatchOptions): AsyncGenerator<WatchEvent> {
  const limit = new AbortController();
  const follow = () => limit.abort(o.signal.reason);
  o.signal.throwIfAborted();
  o.signal.addEventListener('abort', follow, { once: true });
  const overdue = setTimeout(
    () => limit.abort(new Error('the server did not end the watch in time')),
    o.timeoutSeconds * 1000 + OVERDUE_MS,
  );
  overdue.unref();
  let refusal: Refusal;
  try {
    const response = await request(to.url, {
      headers: to.headers,
      dispatcher: to.dispatcher,
      signal: limit.signal,
      headersTimeout: HEADERS_MS,
      bodyTimeout: o.idleMs,
    });
    if (response.statusCode === 200) {
      o.onOpen?.();
      for await (const line of lines(response.body)) yield readEvent(line);
      return;
    }
    refusal = { status: response.statusCode, body: await response.body.text(), headers: response.headers };
  } catch (error) {
    o.signal.throwIfAborted();
    throw new Unanswered(`Cannot ${to.doing}: the stream broke; it is opened again`, { cause: error });
  } finally {
    clearTimeout(overdue);
    o.signal.removeEventListener('abort', follow);
    // Frees the socket when the reader left early; after a normal end it does nothing.
    limit.abort(new Error('the reader has left the watch'));
  }
  throw refusalError(to.doing, refusal);
}

async function* lines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    // `split` returns at least one part.
    rest = parts.pop()!;
    if (rest.length > MAX_LINE_CHARS) throw new Error(`a line of more than ${MAX_LINE_CHARS} characters`);
    yield* parts.filter((part) => part !== '');
  }
  if (rest !== '') throw new Error('the stream ended in the middle of an event');
}

const TYPES: ReadonlySet<unknown> = new Set<WatchEvent['type']>(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']);

function readEvent(line: string): WatchEvent {
  const raw: unknown = JSON.parse(line);
  if (typeof raw !== 'object' || raw === null || !('type' in raw) || !('object' in raw) || !TYPES.has(raw.type)) {
    throw new Error(`not a watch event: ${line.slice(0, 100)}`);
  }
  // The set above holds exactly the types of WatchEvent.
  return { type: raw.type as WatchEvent['type'], object: raw.object };
}
