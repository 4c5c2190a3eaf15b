import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { WatchedWorld } from './world.ts';

/** The API server was not heard for longer than bookmarks come. */
const DEAF_AFTER_MS = 150_000;

export interface HealthChecks {
  /** Whether the process still does its work; restarting it is the remedy. */
  readonly healthy: () => boolean;
  /** Why it is not ready to take over, or undefined when it is. */
  readonly notReady: () => string | undefined;
}

/** Of what is watched. Before a first list it counts as healthy: a restart brings no API server back. */
export function healthOf(world: Pick<WatchedWorld, 'synced' | 'lastAliveMs'>, clock: Clock): HealthChecks {
  return {
    healthy: () => !world.synced() || clock.nowMs() - world.lastAliveMs() < DEAF_AFTER_MS,
    notReady: () => (world.synced() ? undefined : 'the API server has not been listed yet'),
  };
}

export interface HealthServer {
  readonly port: number;
  close(): void;
}

/** `/healthz` and `/readyz` for the kubelet. Resolves once it listens. */
export async function serveHealth(port: number, { healthy, notReady }: HealthChecks): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (path !== '/healthz' && path !== '/readyz') {
      response.writeHead(404).end('Cannot find this page: there are /healthz and /readyz\n');
      return;
    }
    const problem =
      path === '/healthz' ? (healthy() ? undefined : 'the event loop or a watch stands still') : notReady();
    response.writeHead(problem === undefined ? 200 : 503, { 'content-type': 'text/plain' }).end(`${problem ?? 'ok'}\n`);
  });
  server.requestTimeout = 5_000;
  server.listen(port);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port, // it listens on a port
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
