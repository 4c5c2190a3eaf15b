import { readFileSync, statSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { dirname, resolve } from 'node:path';
import { type Cluster, KubeConfig, type RequestContext } from '@kubernetes/client-node';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { Log } from '../base/log.ts';
import { Unauthorized } from './errors.ts';

/** Calls of one kind never wait behind those of another: nothing may starve the renewal of a Lease. */
export type PoolName = 'leases' | 'watches' | 'rest';

/**
 * client-node's KubeConfig with all its ways to log in, over connections that are kept and shared.
 *
 * client-node 2.0.1 opens a connection per request (300 requests, 300 connections, measured) and ignores `tokenFile` of
 * a kubeconfig. HTTP/2 stays off: undici's lost requests in flight in 2026 (https://github.com/nodejs/undici/issues/5468).
 */
export class PooledKubeConfig extends KubeConfig {
  readonly #log: Log;
  #tokenFile: TokenFile | undefined;
  #tls: Tls | undefined;
  #pools: Record<PoolName, Dispatcher> | undefined;

  constructor(log: Log) {
    super();
    this.#log = log;
  }

  override loadFromFile(...args: Parameters<KubeConfig['loadFromFile']>): void {
    super.loadFromFile(...args);
    this.#tokenFile = this.#findTokenFile([args[0]]);
  }

  /**
   * Several files are one, as kubectl merges them: the first that names something wins. client-node's own merge throws
   * on a name that is there twice, and ignores `tokenFile`.
   */
  loadFromFiles(paths: readonly string[], context?: string): void {
    const [first = '', ...others] = paths;
    super.loadFromFile(first);
    for (const path of others) {
      const other = new KubeConfig();
      other.loadFromFile(path);
      const isNew = (known: readonly { readonly name: string }[]) => (one: { readonly name: string }) =>
        !known.some(({ name }) => name === one.name);
      this.clusters = [...this.clusters, ...other.clusters.filter(isNew(this.clusters))];
      this.users = [...this.users, ...other.users.filter(isNew(this.users))];
      this.contexts = [...this.contexts, ...other.contexts.filter(isNew(this.contexts))];
      this.currentContext ||= other.currentContext;
    }
    if (context !== undefined) {
      const names = this.contexts.map(({ name }) => name);
      if (!names.includes(context)) {
        const which = names.length === 0 ? 'there is none' : `name one of ${names.join(', ')}`;
        throw new Error(`Cannot use context "${context}": ${paths.join(', ')} has none of that name; ${which}`);
      }
      this.setCurrentContext(context);
    }
    this.#tokenFile = this.#findTokenFile(paths);
  }

  /** Of the current user, in the first file that names it. */
  #findTokenFile(paths: readonly string[]): TokenFile | undefined {
    const user = this.getCurrentUser()?.name;
    for (const path of paths) {
      const found = tokenFileOf(readFileSync(path, 'utf8'), user);
      if (found === undefined) continue;
      // Relative paths count from the kubeconfig, as kubectl reads them.
      return found.tokenFile === undefined ? undefined : new TokenFile(resolve(dirname(path), found.tokenFile));
    }
    return undefined;
  }

  override loadFromCluster(...args: Parameters<KubeConfig['loadFromCluster']>): void {
    super.loadFromCluster(...args);
    const path: unknown = this.getCurrentUser()?.authProvider?.config?.tokenFile;
    this.#tokenFile = typeof path === 'string' ? new TokenFile(path) : undefined;
  }

  /** Where the token is read from, if it comes from a file. */
  get tokenPath(): string | undefined {
    return this.#tokenFile?.path;
  }

  /** Reads the token anew before the next call, even if its file looks unchanged. */
  forgetToken(): void {
    this.#tokenFile?.forget();
  }

  /** For client-node's generated calls. */
  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    const pool = new URL(context.getUrl()).pathname.startsWith('/apis/coordination.k8s.io/') ? 'leases' : 'rest';
    const { headers, dispatcher } = await this.login(pool);
    for (const [name, value] of Object.entries(headers)) context.setHeaderParam(name, value);
    context.setDispatcher(dispatcher);
  }

  /** For calls of our own. */
  async login(pool: PoolName): Promise<{ headers: Record<string, string>; dispatcher: Dispatcher }> {
    const options: RequestOptions = {};
    await this.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    if (options.auth) headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value);
    if (this.#tokenFile) headers['Authorization'] = `Bearer ${this.#tokenFile.read()}`;
    return { headers, dispatcher: this.#poolsFor(options)[pool] };
  }

  /** Ends all connections, those in use included. */
  async closeConnections(): Promise<void> {
    const pools = this.#pools;
    this.#pools = undefined;
    await destroyAll(pools);
  }

  /** The same pools until the CA or the certificate changes, be it on disk or by a login plugin. */
  #poolsFor(options: RequestOptions): Record<PoolName, Dispatcher> {
    const tls = pickTls(options);
    if (this.#pools && this.#tls && sameTls(this.#tls, tls)) return this.#pools;
    const cluster = this.getCurrentCluster();
    if (!cluster) throw new Error('Cannot reach the API server: the kubeconfig has no current context; set one');
    if (this.#pools) {
      this.#log.info('the certificates changed; connecting anew');
      const old = this.#pools;
      // Calls under way end by their own limits; a watch is cut here and comes back.
      setTimeout(() => void destroyAll(old), OLD_POOLS_LIVE_MS).unref();
    }
    this.#tls = tls;
    this.#pools = {
      leases: createDispatcher(cluster, tls, { connections: 4, connectMs: 1_500 }),
      watches: createDispatcher(cluster, tls, { connections: 256, connectMs: 3_000 }),
      rest: createDispatcher(cluster, tls, { connections: 16, connectMs: 3_000 }),
    };
    return this.#pools;
  }
}

const OLD_POOLS_LIVE_MS = 30_000;

/** A token in a file that somebody else renews. */
class TokenFile {
  readonly path: string;
  #version = '';
  #token = '';

  constructor(path: string) {
    this.path = path;
  }

  read(): string {
    try {
      // The inode tells one atomic replacement from another within a tick of the file system's clock.
      const { mtimeMs, ino, size } = statSync(this.path);
      const version = `${mtimeMs}/${ino}/${size}`;
      if (version !== this.#version) {
        this.#token = readFileSync(this.path, 'utf8').trim();
        this.#version = version;
      }
    } catch (error) {
      // A token once read may still be good; a file that is away for a moment must not end a renewal.
      if (this.#token === '') {
        throw new Unauthorized(`Cannot log in: token file ${this.path} cannot be read; provide it`, 5_000, {
          cause: error,
        });
      }
    }
    return this.#token;
  }

  forget(): void {
    this.#version = '';
  }
}

type Tls = Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'rejectUnauthorized' | 'servername'>;

const TLS_FIELDS = ['ca', 'cert', 'key', 'pfx', 'passphrase', 'rejectUnauthorized', 'servername'] as const;

function pickTls(options: RequestOptions): Tls {
  return Object.fromEntries(
    TLS_FIELDS.filter((field) => options[field] !== undefined).map((field) => [field, options[field]]),
  );
}

function sameTls(a: Tls, b: Tls): boolean {
  return TLS_FIELDS.every((field) => String(a[field]) === String(b[field]));
}

/**
 * `connectMs` is short because a lost SYN is repeated only after 1, 3, 7 s (RFC 6298): a new attempt finds a network
 * that has come back sooner.
 */
function createDispatcher(cluster: Cluster, tls: Tls, size: { connections: number; connectMs: number }): Dispatcher {
  const shared = {
    allowH2: false,
    pipelining: 1,
    connections: size.connections,
    keepAliveTimeout: 60_000,
    keepAliveMaxTimeout: 600_000,
  };
  const connect = { ...tls, timeout: size.connectMs, keepAlive: true, keepAliveInitialDelay: 30_000 };
  if (!cluster.proxyUrl) return new Agent({ ...shared, connect } as Agent.Options);
  if (cluster.proxyUrl.startsWith('socks')) {
    throw new Error(
      `Cannot reach the API server through ${cluster.proxyUrl}: SOCKS is not supported; use an HTTP proxy`,
    );
  }
  return new ProxyAgent({ ...shared, uri: cluster.proxyUrl, requestTls: tls } as ProxyAgent.Options);
}

async function destroyAll(pools: Record<PoolName, Dispatcher> | undefined): Promise<void> {
  await Promise.all(Object.values(pools ?? {}).map((pool) => pool.destroy()));
}

const kubeconfigUsers = z.looseObject({
  users: z
    .array(
      z.looseObject({
        name: z.string().default(''),
        user: z.looseObject({ token: z.string().nullish(), tokenFile: z.string().nullish() }).nullish(),
      }),
    )
    .nullish(),
});

/** `tokenFile` wins over `token`, as in client-go (rest.Config). Undefined: the file does not name the user. */
function tokenFileOf(kubeconfig: string, user: string | undefined): { tokenFile: string | undefined } | undefined {
  const { users } = kubeconfigUsers.parse(parseYaml(kubeconfig));
  const found = users?.find(({ name }) => name === user);
  return found && { tokenFile: found.user?.tokenFile ?? undefined };
}
