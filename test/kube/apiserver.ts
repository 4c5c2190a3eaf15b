import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { toolPath } from '../../tools/locate.ts';

/** Enough to reach a running API server, also from another process. */
export interface ApiServerAddress {
  readonly url: string;
  readonly caPath: string;
  readonly adminToken: string;
  /** For files of the tests; removed with the server. */
  readonly dir: string;
}

/** How a kubeconfig logs in. Relative URLs aside, `url` may lead through a proxy of the test's own. */
export interface KubeconfigOptions {
  readonly token?: string;
  readonly tokenFile?: string;
  readonly url?: string;
  readonly namespace?: string;
}

export interface ApiServerAccess extends ApiServerAddress {
  /** Writes a kubeconfig, by default the admin's, and returns its path. */
  kubeconfig(options?: KubeconfigOptions): Promise<string>;
  /** Runs kubectl as the admin; returns what it prints. Throws with what it printed when it fails. */
  kubectl(args: readonly string[], options?: { input?: string; kubeconfig?: string }): Promise<string>;
  /** Creates a namespace nobody else uses and returns its name. */
  namespace(prefix: string): Promise<string>;
  /** Installs our CRDs and waits until they are served. */
  installCrds(): Promise<void>;
  /** A token of a ServiceAccount, by the TokenRequest API. */
  serviceAccountToken(namespace: string, name: string, lifeSeconds?: number): Promise<string>;
}

export interface ApiServer extends ApiServerAccess {
  /** Kills the API server, etcd goes on; `between` runs while it is away; then starts it again on the same port. */
  restart(between?: () => Promise<void>): Promise<void>;
  /** Forgets all history before now, as a real cluster does every five minutes. */
  compact(): Promise<void>;
  /** Kills both and removes every file. */
  stop(): Promise<void>;
}

/** Starts a real etcd and kube-apiserver on loopback, in a directory of their own, and waits until it is ready. */
export async function startApiServer(): Promise<ApiServer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start();
    } catch (error) {
      // A port found free may be taken by the time it is used.
      if (attempt === 3 || !String(error).includes('address already in use')) throw error;
    }
  }
}

/** The same functions for a server that another process has started. */
export function accessApiServer(address: ApiServerAddress): ApiServerAccess {
  const { url, caPath, adminToken, dir } = address;
  const access: ApiServerAccess = {
    ...address,
    async kubeconfig(options = {}) {
      const user = options.tokenFile ? { tokenFile: options.tokenFile } : { token: options.token ?? adminToken };
      const path = join(dir, `${randomUUID()}.kubeconfig`);
      const cluster = { server: options.url ?? url, 'certificate-authority': caPath };
      const context = { cluster: 'test', user: 'test', namespace: options.namespace ?? 'default' };
      await writeFile(
        path,
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Config',
          clusters: [{ name: 'test', cluster }],
          users: [{ name: 'test', user }],
          contexts: [{ name: 'test', context }],
          'current-context': 'test',
        }),
        { mode: 0o600 },
      );
      return path;
    },
    async kubectl(args, { input, kubeconfig } = {}) {
      const config = kubeconfig ?? (await access.kubeconfig());
      const child = spawn(await toolPath('kubectl'), args, {
        env: { ...process.env, KUBECONFIG: config, HOME: dir },
        stdio: 'pipe',
        timeout: 60_000,
      });
      const out: Buffer[] = [];
      const err: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
      child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
      child.stdin.end(input ?? '');
      const [code] = await once(child, 'close');
      if (code === 0) return Buffer.concat(out).toString();
      throw new Error(`Cannot run kubectl ${args.join(' ')}: exit ${code}, ${Buffer.concat([...out, ...err])}`);
    },
    async namespace(prefix) {
      const name = `${prefix}-${randomUUID().slice(0, 8)}`;
      await access.kubectl(['create', 'namespace', name]);
      return name;
    },
    async installCrds() {
      await access.kubectl(['apply', '--server-side', '-k', CRDS]);
      await access.kubectl(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s']);
    },
    async serviceAccountToken(namespace, name, lifeSeconds = 3600) {
      const token = await access.kubectl(['create', 'token', name, '-n', namespace, `--duration=${lifeSeconds}s`]);
      return token.trim();
    },
  };
  return access;
}

const CRDS = join(import.meta.dirname, '../../manifests/crds');
const READY_WITHIN_MS = 120_000;

async function start(): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), 'pointsman-apiserver-'));
  // After Ctrl-C no teardown runs; the daemons are killed by the kernel then.
  const removeDir = () => rmSync(dir, { recursive: true, force: true });
  process.once('exit', removeDir);
  const running: Daemon[] = [];
  const stop = async () => {
    await Promise.all(running.map((daemon) => daemon.kill()));
    process.off('exit', removeDir);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    const [etcdPort, etcdPeerPort, port] = await freePorts(3);
    const etcdUrl = `http://127.0.0.1:${etcdPort}`;
    const url = `https://127.0.0.1:${port}`;
    const adminToken = randomUUID();
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await writeFile(join(dir, 'sa.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
    await writeFile(join(dir, 'tokens.csv'), `${adminToken},admin,admin,system:masters\n`, { mode: 0o600 });

    const etcd = await startDaemon(dir, 'etcd', [
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=http://127.0.0.1:${etcdPeerPort}`,
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
    running.push(etcd);
    const startServer = () =>
      startDaemon(dir, 'kube-apiserver', [
        `--etcd-servers=${etcdUrl}`,
        `--cert-dir=${dir}`,
        `--secure-port=${port}`,
        '--bind-address=127.0.0.1',
        `--service-account-key-file=${join(dir, 'sa.key')}`,
        `--service-account-signing-key-file=${join(dir, 'sa.key')}`,
        '--service-account-issuer=https://kubernetes.default.svc',
        `--token-auth-file=${join(dir, 'tokens.csv')}`,
        '--authorization-mode=RBAC',
        '--service-cluster-ip-range=10.0.0.0/24',
        '--disable-admission-plugins=ServiceAccount',
      ]);
    let server = await startServer();
    running.push(server);
    const address = { url, caPath: join(dir, 'apiserver.crt'), adminToken, dir };
    await untilReady(address, server);
    return {
      ...accessApiServer(address),
      async restart(between) {
        await server.kill();
        await between?.();
        server = await startServer();
        running.push(server);
        await untilReady(address, server);
      },
      async compact() {
        const { header } = await etcdCall(etcdUrl, 'kv/range', { key: Buffer.from('/').toString('base64') });
        await etcdCall(etcdUrl, 'kv/compaction', { revision: header.revision, physical: true });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function untilReady(address: ApiServerAddress, server: Daemon): Promise<void> {
  const endMs = performance.now() + READY_WITHIN_MS;
  let last = 'no answer yet';
  while (performance.now() < endMs) {
    if (server.ended()) throw new Error(`Cannot start kube-apiserver: it has ended; ${await server.lastWords()}`);
    try {
      // Written by the server at its first start.
      const ca = await readFile(address.caPath);
      const dispatcher = new Agent({ connect: { ca } });
      const response = await request(`${address.url}/readyz`, {
        dispatcher,
        headers: { authorization: `Bearer ${address.adminToken}` },
        signal: AbortSignal.timeout(5_000),
      });
      last = await response.body.text();
      await dispatcher.destroy();
      if (response.statusCode === 200) return;
    } catch (error) {
      last = String(error);
    }
    await delay(50);
  }
  throw new Error(`Cannot start kube-apiserver: not ready after ${READY_WITHIN_MS} ms, ${last}`);
}

interface EtcdAnswer {
  readonly header: { readonly revision: string };
}

async function etcdCall(etcdUrl: string, path: string, body: object): Promise<EtcdAnswer> {
  const response = await request(`${etcdUrl}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) });
  const text = await response.body.text();
  if (response.statusCode !== 200) throw new Error(`Cannot ask etcd for ${path}: ${response.statusCode} ${text}`);
  // etcd's JSON gateway puts the header into every answer.
  return JSON.parse(text) as EtcdAnswer;
}

interface Daemon {
  ended(): boolean;
  lastWords(): Promise<string>;
  kill(): Promise<void>;
}

/** It dies with this process, however that ends: the kernel kills it (PR_SET_PDEATHSIG, prctl(2)). */
async function startDaemon(dir: string, tool: 'etcd' | 'kube-apiserver', args: readonly string[]): Promise<Daemon> {
  const logPath = join(dir, `${tool}-${randomUUID().slice(0, 8)}.log`);
  const log = createWriteStream(logPath);
  await once(log, 'open');
  const child: ChildProcess = spawn('setpriv', ['--pdeathsig', 'KILL', '--', await toolPath(tool), ...args], {
    stdio: ['ignore', log, log],
  });
  const exited = once(child, 'exit').catch(() => {});
  return {
    ended: () => child.exitCode !== null || child.signalCode !== null,
    lastWords: async () => (await readFile(logPath, 'utf8')).slice(-2_000),
    async kill() {
      child.kill('SIGKILL');
      await exited;
      log.close();
    },
  };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
