import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { Conflict } from '../../src/kube/errors.ts';
import { leases } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from './apiserver.ts';
import { sharedApiServer } from './shared.ts';

let server: ApiServerAccess;
let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await sharedApiServer();
  namespace = await server.namespace('client');
  client = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
});
afterAll(async () => {
  await client.close();
});

describe('a replacement', () => {
  test('takes effect on the version it names and on no other', async () => {
    const name = randomUUID();
    const first = await client.create(leases, namespace, { metadata: { name }, spec: { holderIdentity: 'a' } });
    const second = await client.replace(leases, namespace, { metadata: first.metadata, spec: { holderIdentity: 'b' } });
    expect(second.holder).toBe('b');
    const stale = client.replace(leases, namespace, { metadata: first.metadata, spec: { holderIdentity: 'c' } });
    await expect(stale).rejects.toThrow(Conflict);
    expect((await client.get(leases, namespace, name))?.holder).toBe('b');
  });
});
