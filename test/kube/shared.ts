import { Agent, request } from 'undici';
import { inject } from 'vitest';
import { type ApiServerAccess, type ApiServerAddress, accessApiServer } from './apiserver.ts';

/** The API server that all test files share. Use a namespace of your own on it, and nothing cluster-wide but CRDs. */
export async function sharedApiServer(): Promise<ApiServerAccess> {
  const dispatcher = new Agent({ connect: { socketPath: inject('apiServerSocket') }, headersTimeout: 150_000 });
  const response = await request('http://door/', { dispatcher });
  const text = await response.body.text();
  await dispatcher.close();
  if (response.statusCode !== 200) throw new Error(text);
  // Written by globalsetup.ts.
  return accessApiServer(JSON.parse(text) as ApiServerAddress);
}
