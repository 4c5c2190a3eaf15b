import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { untilReady } from '../../src/agent/startup.ts';
import type { Probe } from '../../src/crds/failovergroup.ts';
import { FakeClock } from '../base/fakeclock.ts';

/** Real probes of real servers, on a clock that whoever sleeps moves on at once. */
class HastyClock extends FakeClock {
  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const slept = super.sleep(ms, signal);
    void this.advance(ms);
    return slept;
  }
}

const NEVER = new AbortController().signal;
/** Root's, of a service that nobody runs (RFC 1078): nothing that listens anywhere is given it by chance. */
const CLOSED_PORT = 1;

/** A probe by HTTP that has all the time it wants for each try: a busy machine must not fail one. */
async function probeOf(answer: RequestListener, change: Partial<Probe> = {}): Promise<Probe> {
  const port = await listening(createServer(answer));
  const httpGet = { port, path: '/ready', scheme: 'HTTP' as const };
  return { httpGet, periodSeconds: 1, timeoutSeconds: 300, failureThreshold: 60, ...change };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function')
      server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port; // it listens on a port
}

test('gives up when failureThreshold periods have passed, and not before', async () => {
  let tries = 0;
  const probe = await probeOf(
    (_, response) => {
      tries += 1;
      response.writeHead(503).end();
    },
    { periodSeconds: 2, failureThreshold: 30 },
  );
  const clock = new HastyClock();
  const startMs = clock.nowMs();
  expect(await untilReady(probe, clock, NEVER)).toBe(false);
  expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(60_000);
  expect(clock.nowMs() - startMs).toBeLessThan(62_000);
  expect(tries).toBeGreaterThanOrEqual(30);
});

test('passes also in the last period', async () => {
  const clock = new HastyClock();
  const readyMs = clock.nowMs() + 58_000;
  const probe = await probeOf((_, response) => response.writeHead(clock.nowMs() < readyMs ? 503 : 200).end(), {
    periodSeconds: 2,
    failureThreshold: 30,
  });
  expect(await untilReady(probe, clock, NEVER)).toBe(true);
});

test('the first tries come much faster than the period, so that ready is seen soon', async () => {
  const clock = new HastyClock();
  const startMs = clock.nowMs();
  let tries = 0;
  const probe = await probeOf(
    (_, response) => {
      tries += 1;
      response.writeHead(tries < 4 ? 503 : 200).end();
    },
    { periodSeconds: 300 },
  );
  expect(await untilReady(probe, clock, NEVER)).toBe(true);
  expect(clock.nowMs() - startMs).toBeLessThan(1_000);
});

test.each([
  [200, true],
  [399, true],
  [302, true],
  [400, false],
  [404, false],
  [500, false],
])('status %i: %s; a redirect is not followed', async (status, passed) => {
  const paths = new Set<string>();
  const probe = await probeOf(
    (request, response) => {
      paths.add(request.url ?? '');
      response.writeHead(status, { location: '/elsewhere' }).end();
    },
    { failureThreshold: 1 },
  );
  expect(await untilReady(probe, new HastyClock(), NEVER)).toBe(passed);
  expect([...paths]).toEqual(['/ready']);
});

test('a try that gets no answer is over after timeoutSeconds, and the next one is made', async () => {
  let tries = 0;
  const probe = await probeOf(
    (_, response) => {
      tries += 1;
      if (tries > 1) response.writeHead(200).end();
    },
    { timeoutSeconds: 1, failureThreshold: 3600 },
  );
  expect(await untilReady(probe, new HastyClock(), NEVER)).toBe(true);
  expect(tries).toBeGreaterThan(1);
});

test('by TCP: passes when the port accepts, gives up when it does not', async () => {
  const rest = { periodSeconds: 1, timeoutSeconds: 300, failureThreshold: 2 };
  const open = await listening(createTcpServer((socket) => socket.on('error', () => {}).resume()));
  expect(await untilReady({ ...rest, tcpSocket: { port: open } }, new HastyClock(), NEVER)).toBe(true);
  expect(await untilReady({ ...rest, tcpSocket: { port: CLOSED_PORT } }, new HastyClock(), NEVER)).toBe(false);
});

test('ends at once when it is told to, also while a try waits for its answer', async () => {
  const stop = new AbortController();
  const probe = await probeOf(() => stop.abort(new Error('the process has ended')));
  await expect(untilReady(probe, new HastyClock(), stop.signal)).rejects.toThrow('the process has ended');
});
