import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Probe } from '../crds/failovergroup.ts';

/** The first pause; each next one is longer by half, up to the probe's period. Ready is on the way of every move. */
const FIRST_PAUSE_MS = 25;
const GROWTH = 1.5;

/**
 * Asks until the process is ready. False when it was not within `failureThreshold` periods; rejects with the signal's
 * reason.
 */
export async function untilReady(probe: Probe, clock: Clock, signal: AbortSignal): Promise<boolean> {
  const periodMs = probe.periodSeconds * 1000;
  const endMs = clock.nowMs() + probe.failureThreshold * periodMs;
  let pauseMs = FIRST_PAUSE_MS;
  while (clock.nowMs() < endMs) {
    if (await passes(probe, signal)) return true;
    signal.throwIfAborted();
    await clock.sleep(pauseMs, signal);
    pauseMs = Math.min(periodMs, pauseMs * GROWTH);
  }
  return false;
}

async function passes(probe: Probe, signal: AbortSignal): Promise<boolean> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(probe.timeoutSeconds * 1000)]);
  if (probe.httpGet !== undefined) return httpAnswers(probe.httpGet, limit);
  return probe.tcpSocket !== undefined && (await portAccepts(probe.tcpSocket.port, limit));
}

/** From 200 to 399 as the kubelet has it; redirects are not followed. */
function httpAnswers(get: NonNullable<Probe['httpGet']>, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { host: HOST, port: get.port, path: get.path, signal, agent: false, timeout: 0 } as const;
    const asked =
      get.scheme === 'HTTPS' ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    asked.on('response', (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      resolve(status >= 200 && status < 400);
    });
    asked.on('error', () => resolve(false));
    asked.end();
  });
}

function portAccepts(port: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port, signal });
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** The process runs on this node; a probe through the VIP would ask the route tables too. */
const HOST = '127.0.0.1';
