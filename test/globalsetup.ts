import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type ApiServer, type ApiServerAddress, startApiServer } from './kube/apiserver.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where a test file asks for the shared API server, see kube/shared.ts. */
    apiServerSocket: string;
  }
}

/** One API server with our CRDs for all test files, started when the first of them asks for it. */
export default function setup(project: TestProject): () => Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'pointsman-tests-'));
  const removeDir = () => rmSync(dir, { recursive: true, force: true });
  // After Ctrl-C the teardown below does not run.
  process.once('exit', removeDir);
  let starting: Promise<ApiServer> | undefined;
  const door = createServer((_, response) => {
    starting ??= startWithCrds();
    starting.then(
      ({ url, caPath, adminToken, dir }) => {
        const address: ApiServerAddress = { url, caPath, adminToken, dir };
        response.end(JSON.stringify(address));
      },
      (error) => response.writeHead(500).end(String(error)),
    );
  });
  const path = join(dir, 'door');
  door.listen(path);
  project.provide('apiServerSocket', path);
  return async () => {
    door.closeAllConnections();
    door.close();
    const server = await starting?.catch(() => undefined);
    await server?.stop();
    process.off('exit', removeDir);
    removeDir();
  };
}

async function startWithCrds(): Promise<ApiServer> {
  const server = await startApiServer();
  try {
    await server.installCrds();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}
