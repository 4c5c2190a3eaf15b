import { pino } from 'pino';

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
    debug: (message, fields = {}) => to.debug(fields, message),
    info: (message, fields = {}) => to.info(fields, message),
    warn: (message, fields = {}) => to.warn(fields, message),
    error: (message, fields = {}) => to.error(fields, message),
    with: (fields) => wrap(to.child(fields)),
  };
}
