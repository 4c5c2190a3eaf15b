import { connect } from 'node:net';
import { work } from './lines.ts';
import type { Attempt } from './prober.ts';

/**
 * Asks on and on, a new TCP connection each time, and says how each attempt went. Runs in the client's network:
 *
 *     node prober-worker.ts HOST PORT PATH EVERY_MS TIMEOUT_MS
 */
const [host, port, path, everyMs, timeoutMs] = process.argv.slice(2);
if (timeoutMs === undefined) throw new Error('Cannot probe: five arguments are needed');
const REQUEST = `GET ${path} HTTP/1.0\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
const say = work(() => {});

/** The system's monotonic clock: one for all processes of a machine. */
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

setInterval(() => {
  const attempt = { startMs: nowMs() };
  let said = false;
  const end = (outcome: Attempt['outcome']) => {
    if (said) return;
    said = true;
    clearTimeout(timer);
    socket.destroy();
    say({ ...attempt, endMs: nowMs(), outcome } satisfies Attempt);
  };
  const socket = connect({ host: host ?? '', port: Number(port) });
  const timer = setTimeout(() => end('timeout'), Number(timeoutMs));
  socket.on('connect', () => socket.write(REQUEST));
  socket.on('data', (head: Buffer) =>
    end(/^HTTP\/1\.[01] [23]/.test(head.toString('latin1', 0, 16)) ? 'ok' : 'refused'),
  );
  socket.on('error', () => end('refused'));
  socket.on('close', () => end('refused'));
}, Number(everyMs));
