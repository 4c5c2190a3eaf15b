import { randomUUID } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { Forbidden } from '../../src/kube/errors.ts';
import { leases } from '../../src/kube/resources.ts';
import { renewToken } from '../../src/kube/token.ts';
import { FakeClock } from '../base/fakeclock.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';
import { sharedApiServer } from './shared.ts';

const ACCOUNT = 'pointsman-agent-server1';
/** May make its own token, and list Leases. */
const RIGHTS = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: own}
rules:
  - {apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [${ACCOUNT}], verbs: [create]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list]}
`;

let server: ApiServerAccess;
let namespace: string;
let proxy: FaultProxy;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('token');
  await server.kubectl(['create', 'serviceaccount', ACCOUNT, '-n', namespace]);
  await server.kubectl(['apply', '-n', namespace, '-f', '-'], { input: RIGHTS });
  await server.kubectl([
    'create',
    'rolebinding',
    'own',
    '--role=own',
    `--serviceaccount=${namespace}:${ACCOUNT}`,
    '-n',
    namespace,
  ]);
  proxy = await startFaultProxy(server.url);
});
afterAll(() => proxy.stop());

async function bench(): Promise<{ path: string; client: KubeClient; clock: FakeClock; token: () => Promise<string> }> {
  const path = join(server.dir, `token-${randomUUID()}`);
  await writeFile(path, `${await server.serviceAccountToken(namespace, ACCOUNT)}\n`, { mode: 0o644 });
  const kubeconfig = await server.kubeconfig({ tokenFile: path, url: proxy.url });
  const client = createKubeClient({ log: silentLog, kubeconfig, fieldManager: 'test' });
  onTestFinished(() => client.close());
  return { path, client, clock: new FakeClock(), token: async () => (await readFile(path, 'utf8')).trim() };
}

function start(client: KubeClient, clock: FakeClock, path: string, lifeSeconds = 3600): void {
  const stop = new AbortController();
  const run = renewToken({ client, clock, log: silentLog, path, lifeSeconds }, stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await run;
  });
}

const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 60_000, interval: 10 });

test('the own token is renewed at once and at half its life, by itself, for the owner only', async () => {
  const { path, client, clock, token } = await bench();
  const first = await token();
  start(client, clock, path);
  await soon(async () => expect(await token()).not.toBe(first));
  const second = await token();
  await soon(() => expect(clock.nextMs()).toBe(1_800_000));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await clock.advance(1_799_999);
  expect(await token()).toBe(second);
  await clock.advance(1);
  await soon(async () => expect(await token()).not.toBe(second));
  await expect(client.list(leases, namespace)).resolves.toBeDefined();
  const leftOver = (await readdir(server.dir)).filter((name) => name.startsWith(`${path.split('/').at(-1)}.`));
  expect(leftOver).toEqual([]);
});

test('a renewal that fails is tried again at a growing pace, and the old token stays', async () => {
  const { path, client, clock, token } = await bench();
  const first = await token();
  proxy.set('closed');
  start(client, clock, path);
  const pauses: number[] = [];
  for (let i = 0; i < 8; i += 1) {
    await soon(() => expect(clock.nextMs()).toBeDefined());
    const pause = clock.nextMs()!;
    pauses.push(pause);
    await clock.advance(pause);
  }
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  expect(await token()).toBe(first);
  proxy.set('open');
  await soon(() => expect(clock.nextMs()).toBeDefined());
  await clock.advance(60_000);
  await soon(async () => expect(await token()).not.toBe(first));
});

test('the token of another account is refused by the server', async () => {
  const { client } = await bench();
  await expect(client.issueToken(namespace, 'default', 3600)).rejects.toThrow(Forbidden);
});

test('a file without the token of a ServiceAccount needs a person, and is told where to get one', async () => {
  const { path, client, clock } = await bench();
  await writeFile(path, 'nonsense');
  const run = renewToken({ client, clock, log: silentLog, path }, new AbortController().signal);
  await expect(run).rejects.toThrow(/it is not the token of a ServiceAccount; write one there/);
});
