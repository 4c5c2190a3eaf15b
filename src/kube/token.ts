import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { KubeClient } from './client.ts';

export interface TokenRenewalOptions {
  readonly client: Pick<KubeClient, 'issueToken'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Holds the token of this process's own ServiceAccount; written anew in place. */
  readonly path: string;
  /** The life to ask for. The server takes 10 minutes at the least. Default 86 400. */
  readonly lifeSeconds?: number;
}

/**
 * Keeps the own token fresh, until `signal` aborts: it is renewed at once, since nobody knows how old the file is, and
 * then at half its life. A failure is tried again with a growing pace, for ever, so that a token outlives any outage of
 * the API server shorter than its second half.
 *
 * Never throws but when the file does not hold a token of a ServiceAccount: then a person must provide one.
 */
export async function renewToken(options: TokenRenewalOptions, signal: AbortSignal): Promise<void> {
  const { client, clock, log, path, lifeSeconds = 86_400 } = options;
  const { namespace, account } = readAccount(path, await readFile(path, 'utf8'));
  let failures = 0;
  while (!signal.aborted) {
    let pauseMs: number;
    try {
      const { token, lifeMs } = await client.issueToken(namespace, account, lifeSeconds, { signal });
      await replaceFile(path, token);
      failures = 0;
      pauseMs = lifeMs / 2;
      log.info('the token is renewed', { account: `${namespace}/${account}`, nextInMs: pauseMs });
    } catch (error) {
      if (signal.aborted) return;
      pauseMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 20));
      failures += 1;
      log.warn('the token could not be renewed', { failures, pauseMs, error: describeError(error) });
    }
    await clock.sleep(pauseMs, signal).catch(() => {});
  }
}

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 60_000;

const claims = z.looseObject({ sub: z.string() });

/** The subject of a token is `system:serviceaccount:<namespace>:<name>`. It is read, not verified: the server does. */
function readAccount(path: string, token: string): { namespace: string; account: string } {
  const payload = token.trim().split('.')[1] ?? '';
  const parsed = claims.safeParse(parseJson(Buffer.from(payload, 'base64url').toString()));
  const [system, kind, namespace, account] = (parsed.data?.sub ?? '').split(':');
  if (system === 'system' && kind === 'serviceaccount' && namespace && account) return { namespace, account };
  throw new Error(
    `Cannot renew the token in ${path}: it is not the token of a ServiceAccount; write one there, from kubectl create token`,
  );
}

/** A reader sees the old token or the new one, also after a crash. */
async function replaceFile(path: string, content: string): Promise<void> {
  const fresh = `${path}.${randomUUID()}`;
  try {
    const file = await open(fresh, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
