import pRetry, { AbortError } from 'p-retry';

/** What the instance metadata service says this machine is. */
export interface Instance {
  readonly id: string;
  /** Hardware address of the primary interface. */
  readonly mac: string;
}

export interface MetadataOptions {
  /** As the SDKs read it from AWS_EC2_METADATA_SERVICE_ENDPOINT. */
  readonly endpoint: string;
  readonly signal: AbortSignal;
}

export const METADATA_ENDPOINT = 'http://169.254.169.254';

const REQUEST_LIMIT_MS = 1_000;
const TOKEN_SECONDS = 60;

/** By IMDSv2, tried for some ten seconds: a network that is just coming up answers late. */
export function readInstance({ endpoint, signal }: MetadataOptions): Promise<Instance> {
  return pRetry(() => readOnce(endpoint.replace(/\/$/, ''), signal), {
    retries: 6,
    minTimeout: 100,
    maxTimeout: 2_000,
    factor: 2,
    signal,
  });
}

async function readOnce(endpoint: string, signal: AbortSignal): Promise<Instance> {
  const token = await ask(endpoint, '/latest/api/token', signal, {
    method: 'PUT',
    headers: { 'X-aws-ec2-metadata-token-ttl-seconds': String(TOKEN_SECONDS) },
  });
  const read = (path: string) =>
    ask(endpoint, `/latest/meta-data/${path}`, signal, { headers: { 'X-aws-ec2-metadata-token': token } });
  const [id, mac] = await Promise.all([read('instance-id'), read('mac')]);
  if (!/^i-[0-9a-f]{8,17}$/.test(id)) {
    throw new AbortError(
      `Cannot use the metadata service at ${endpoint}: it calls this instance ${JSON.stringify(id)}`,
    );
  }
  return { id, mac };
}

async function ask(endpoint: string, path: string, signal: AbortSignal, init: RequestInit): Promise<string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_LIMIT_MS)]);
  const response = await fetch(`${endpoint}${path}`, { ...init, signal: limit });
  const text = await response.text();
  if (!response.ok) throw new Error(`Cannot read ${endpoint}${path}: status ${response.status}`);
  return text.trim();
}
