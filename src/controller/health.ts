import { once } from 'node:events';
import { createServer } from 'node:http';

export interface HealthChecks {
  /** Whether the process still does its work; restarting it is the remedy. */
  readonly healthy: () => boolean;
  /** Why it is not ready to take over, or undefined when it is. */
  readonly notReady: () => string | undefined;
}

/** `/healthz` and `/readyz` for the kubelet. Resolves once it listens; the returned function ends it. */
export async function serveHealth(port: number, { healthy, notReady }: HealthChecks): Promise<() => void> {
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
  return () => {
    server.close();
    server.closeAllConnections();
  };
}
