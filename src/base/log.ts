import { pino } from 'pino';
import { describeError } from './errors.ts';

/** What may stand on a log line beside its message. */
export type LogFields = Record<string, unknown>;

/** JSON lines on stdout: `log.info('moved', {group, epoch})`. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with `fields` on every line. */
  with(fields: LogFields): Log;
}

/** Bytes kept while nobody reads stdout. More is dropped: a stuck reader must not stop a failover. */
const BACKLOG_BYTES = 1 << 20;

export function createLog(name: string, level = 'info'): Log {
  const destination = pino.destination({ fd: 1, sync: false, maxLength: BACKLOG_BYTES });
  // Of what can befall stdout pino expects EPIPE alone. A full disk, or ECONNRESET of a socket, must end nothing either.
  destination.on('error', () => {});
  // At the end of the process sonic-boom would wait for a reader that stalls, and try for ever where there is none.
  destination.flushSync = () => {};
  return wrap(pino({ name, level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime }, destination));
}

/** Says nothing: for tests. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silentLog,
};

type Pino = ReturnType<typeof pino>;

function wrap(to: Pino): Log {
  return {
    debug: (message, fields = {}) => to.debug(readable(fields), message),
    info: (message, fields = {}) => to.info(readable(fields), message),
    warn: (message, fields = {}) => to.warn(readable(fields), message),
    error: (message, fields = {}) => to.error(readable(fields), message),
    with: (fields) => wrap(to.child(readable(fields))),
  };
}

/** JSON says nothing of an Error. */
function readable(fields: LogFields): LogFields {
  const said = ([key, value]: [string, unknown]) => [key, value instanceof Error ? describeError(value) : value];
  return Object.fromEntries(Object.entries(fields).map(said));
}
