import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { run, startDaemon } from './run.ts';
import { API_PORT, CONTROL } from './topology.ts';

/** etcd and kube-apiserver, nothing else: no controller-manager collects garbage or ends namespaces. */
export interface ControlPlane {
  /** Resolves when the API server takes objects. */
  ready(): Promise<void>;
  readonly etcd: {
    /** SIGKILL. What it has stored stays. */
    kill(): Promise<void>;
    start(): void;
  };
  readonly apiserver: {
    /** SIGKILL. */
    kill(): Promise<void>;
    start(): Promise<void>;
    /** It stands still and its connections stay open. */
    pause(): void;
    resume(): void;
  };
  readonly caPem: string;
  readonly adminToken: string;
  /** A token for a ServiceAccount, by the TokenRequest API, as the controller-manager-less cluster gives them. */
  tokenFor(namespace: string, account: string): Promise<string>;
  /** One call as admin. @throws with the server's message, where it answers no */
  call(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown>;
}

export interface ControlPlaneOptions {
  readonly directory: string;
  readonly logDirectory: string;
  readonly etcd: string;
  readonly apiserver: string;
  /** More addresses for the certificate. */
  readonly addresses: readonly string[];
}

const READY_POLL_MS = 50;
const CALL_LIMIT_MS = 10_000;
/** Nobody rotates the controller's, as a kubelet would. */
const TOKEN_SECONDS = 24 * 3600;

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { directory, logDirectory } = options;
  await mkdir(directory, { recursive: true });
  const startEtcd = () =>
    startDaemon({
      name: 'etcd',
      logFile: `${logDirectory}/etcd.log`,
      command: [
        options.etcd,
        `--data-dir=${directory}/etcd`,
        '--listen-client-urls=http://127.0.0.1:2379',
        '--advertise-client-urls=http://127.0.0.1:2379',
        '--listen-peer-urls=http://127.0.0.1:2380',
        '--log-level=warn',
        // It lies in memory and is gone with the sandbox: a sync buys nothing.
        '--unsafe-no-fsync',
      ],
    });
  let etcd = startEtcd();
  await makeKeys(directory, options.addresses);
  const adminToken = randomBytes(24).toString('hex');
  await writeFile(`${directory}/tokens.csv`, `${adminToken},admin,admin,"system:masters"\n`, { mode: 0o600 });
  const caPem = await readFile(`${directory}/tls.crt`, 'utf8');

  const startApiserver = () =>
    startDaemon({
      name: 'kube-apiserver',
      logFile: `${logDirectory}/kube-apiserver.log`,
      command: [
        options.apiserver,
        '--etcd-servers=http://127.0.0.1:2379',
        '--bind-address=0.0.0.0',
        `--advertise-address=${CONTROL.api}`,
        `--secure-port=${API_PORT}`,
        `--tls-cert-file=${directory}/tls.crt`,
        `--tls-private-key-file=${directory}/tls.key`,
        `--service-account-key-file=${directory}/accounts.key`,
        `--service-account-signing-key-file=${directory}/accounts.key`,
        '--service-account-issuer=https://kubernetes.default.svc',
        `--token-auth-file=${directory}/tokens.csv`,
        '--authorization-mode=RBAC',
        '--service-cluster-ip-range=10.96.0.0/16',
        '--disable-admission-plugins=ServiceAccount',
        '--endpoint-reconciler-type=none',
        '--profiling=false',
      ],
    });
  let apiserver = startApiserver();

  const dispatcher = new Agent({ connect: { ca: caPem }, allowH2: false });
  const send = async (method: 'GET' | 'POST', path: string, body?: unknown) => {
    const answer = await request(`https://127.0.0.1:${API_PORT}${path}`, {
      method,
      dispatcher,
      headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_LIMIT_MS),
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };
  const call = async (method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> => {
    const { status, text } = await send(method, path, body);
    if (status >= 300)
      throw new Error(`Cannot ${method} ${path}: the API server answers ${status}: ${text.slice(0, 500)}`);
    return JSON.parse(text);
  };

  return {
    etcd: {
      kill: async () => {
        etcd.kill('SIGKILL');
        await etcd.exited;
      },
      start: () => {
        etcd = startEtcd();
      },
    },
    caPem,
    adminToken,
    call,
    ready: async () => {
      for (;;) {
        const status = await send('GET', '/readyz').then(
          (answer) => answer.status,
          () => 0,
        );
        if (status === 200) return;
        const ended = await Promise.race([apiserver.exited, etcd.exited, delay(READY_POLL_MS)]);
        if (ended !== undefined) throw new Error(`Cannot start the API server: it or etcd has ended: ${ended}`);
      }
    },
    tokenFor: async (namespace, account) => {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
      const answer = (await call('POST', path, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: [], expirationSeconds: TOKEN_SECONDS },
      })) as { status: { token: string } }; // authentication.k8s.io/v1, TokenRequest
      return answer.status.token;
    },
    apiserver: {
      kill: async () => {
        apiserver.kill('SIGKILL');
        await apiserver.exited;
      },
      start: async () => {
        apiserver = startApiserver();
      },
      pause: () => apiserver.kill('SIGSTOP'),
      resume: () => apiserver.kill('SIGCONT'),
    },
  };
}

/** Elliptic curves: an RSA key alone takes a quarter of a second to find. */
async function makeKeys(directory: string, addresses: readonly string[]): Promise<void> {
  const names = ['DNS:localhost', 'DNS:kubernetes.default.svc', ...['127.0.0.1', ...addresses].map((a) => `IP:${a}`)];
  const curve = ['-pkeyopt', 'ec_paramgen_curve:P-256'];
  await Promise.all([
    run([
      ...['openssl', 'req', '-x509', '-nodes', '-days', '30', '-newkey', 'ec', ...curve, '-subj', '/CN=kube-apiserver'],
      ...[
        '-keyout',
        `${directory}/tls.key`,
        '-out',
        `${directory}/tls.crt`,
        '-addext',
        `subjectAltName=${names.join(',')}`,
      ],
    ]),
    // In SEC 1's form ("EC PRIVATE KEY"), which the API server takes for both halves of the pair.
    run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${directory}/accounts.key`]),
  ]);
}

export interface KubeconfigOptions {
  readonly server: string;
  readonly caPem: string;
  readonly namespace: string;
  readonly user: { readonly token: string } | { readonly tokenFile: string };
}

/** YAML is a superset of JSON. */
export function kubeconfig({ server, caPem, namespace, user }: KubeconfigOptions): string {
  return `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'sandbox', cluster: { server, 'certificate-authority-data': btoa(caPem) } }],
    users: [{ name: 'sandbox', user }],
    contexts: [{ name: 'sandbox', context: { cluster: 'sandbox', user: 'sandbox', namespace } }],
    'current-context': 'sandbox',
  })}\n`;
}
