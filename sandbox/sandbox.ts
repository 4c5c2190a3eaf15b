import { type ChildProcess, spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from '../build.ts';
import { describeError } from '../src/base/errors.ts';
import type { Bucket, FaultRule, TracedCall } from '../tools/faultproxy/faults.ts';
import { toolPath } from '../tools/locate.ts';
import type { SeededCloud } from '../tools/moto/seed.ts';
import { makeCgroups } from './cgroup.ts';
import type { DiskFault } from './disk.ts';
import { enterSandbox, findServer } from './find.ts';
import { AGENT_PROGRAM, INSIDE, type InsideApi, SANDBOX_MARK } from './inside-api.ts';
import { childrenOf, listProcesses, type ProcessSeen } from './processes.ts';
import type { Cut } from './router-plan.ts';
import { connect, type Remote } from './rpc.ts';
import { type RunOptions, type RunResult, run, tailOf, tryRun } from './run.ts';
import { type Progress, stepper } from './steps.ts';
import {
  API_PORT,
  AWS_PORT,
  ENDPOINTS,
  type Endpoint,
  HOST_LINKS_MAX,
  hostLinkAddresses,
  SERVERS,
  type ServerName,
} from './topology.ts';

/**
 * The article's cloud on this machine: a VPC, two servers, a client, an API server, AWS. Needs root on Linux.
 *
 * Everything of it lives in namespaces whose pid 1 the kernel kills when this process ends, however it ends, and with
 * pid 1 goes every process, mount, interface and file of it. On the host there is one network interface (`pm0`, …),
 * so that tests and kubectl reach the API server and AWS; it goes with the rest.
 */
export interface Sandbox {
  /** Of an admin, for the host. */
  readonly kubeconfig: string;
  readonly apiUrl: string;
  /** Where the controller finds AWS: the fault proxy in front of the emulator. */
  readonly awsEndpoint: string;
  readonly faults: Faults;
  readonly ids: SeededCloud;
  /** The built kubectl, as admin. @throws with its stderr, where its code is not 0 */
  kubectl(args: readonly string[], options?: RunOptions): Promise<string>;
  readonly client: {
    /** In the client's network. */
    exec(command: readonly string[], options?: RunOptions): Promise<RunResult>;
    /** A process there that stays, with pipes to it; it ends with the sandbox. */
    spawn(command: readonly string[]): ChildProcess;
  };
  server(name: ServerName): SandboxServer;
  readonly controller: {
    start(): Promise<void>;
    stop(): Promise<void>;
    /** It is started again, as a Deployment would. */
    kill(signal?: NodeJS.Signals): Promise<void>;
    log(lines?: number): string;
    /** A second replica, which stands by until the first no longer leads. */
    startSecond(): Promise<void>;
    stopSecond(): Promise<void>;
  };
  readonly etcd: {
    kill(): Promise<void>;
    /** With all that was stored. */
    start(): Promise<void>;
  };
  readonly apiserver: {
    kill(): Promise<void>;
    /** Resolves when it is ready. */
    start(): Promise<void>;
    pause(): Promise<void>;
    resume(): Promise<void>;
  };
  /** Packets from one to the other vanish from now on, until `heal`; those back do not. `*`: everybody else. */
  cut(link: Link): Promise<void>;
  /** Without an argument: all links. */
  heal(link?: Link): Promise<void>;
  /** How much later than EC2's answer the router follows; 0 at first. */
  setPropagationDelay(ms: number): Promise<void>;
  /** Host paths of the logs, by name: `sandbox`, `controller`, `server1-agent`, `kube-apiserver`, … */
  logFile(name: string): string;
  /** A process in its outermost namespaces, which sees those of all servers; with pipes, and it ends with the sandbox. */
  spawn(command: readonly string[]): ChildProcess;
  /** The pid of its pid 1, on the host. */
  readonly pid: number;
  stop(): Promise<void>;
}

/** What goes wrong with calls to AWS; see tools/faultproxy. */
export interface Faults {
  rule(rule: FaultRule): Promise<void>;
  /** Throttles an action, or `*`. */
  bucket(action: string, bucket: Bucket): Promise<void>;
  /** Adds `ms` to every call of an action, or of `*`. */
  latency(action: string, ms: number): Promise<void>;
  /** The last calls, oldest first. */
  trace(): Promise<TracedCall[]>;
  /** No fault, no latency, an empty trace. */
  reset(): Promise<void>;
}

export interface Link {
  readonly from: Endpoint | '*';
  readonly to: Endpoint | '*';
}

export interface SandboxServer {
  powerCut(): Promise<void>;
  boot(): Promise<void>;
  /** The host's pid of the agent, when it runs. */
  agentPid(): number | undefined;
  /** It is started again, as systemd would. */
  killAgent(signal?: NodeJS.Signals): Promise<void>;
  /** It is not started again. SIGTERM by default. */
  stopAgent(signal?: NodeJS.Signals): Promise<void>;
  startAgent(): Promise<void>;
  exec(command: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Everything that runs in it, with the host's pids. */
  processes(): ProcessSeen[];
  unmountDisk(): Promise<void>;
  mountDisk(): Promise<void>;
  /** For this server alone, from now on; `none` heals. Only with `faultyDisk`. `ms`: of `slow`, for each call. */
  setDiskFault(fault: DiskFault, ms?: number): Promise<void>;
  log(lines?: number): string;
}

export interface SandboxOptions {
  readonly onProgress?: (progress: Progress) => void;
  /** false: agents and controller wait until they are started. Default: true. */
  readonly programs?: boolean;
  /** The shared disk can be made to fail; its type is then `fuse.faultydisk`. Default: false. */
  readonly faultyDisk?: boolean;
  /** The agents' wall clocks can be set, see movable-clock.mjs. Default: false. */
  readonly movableClocks?: boolean;
  /** How often the controller reads every route (`POINTSMAN_RESYNC`). */
  readonly resync?: string;
}

const HERE = dirname(fileURLToPath(import.meta.url));

export async function startSandbox({
  onProgress = () => {},
  programs = true,
  faultyDisk = false,
  movableClocks = false,
  resync,
}: SandboxOptions = {}): Promise<Sandbox> {
  const step = stepper(onProgress);
  const [etcd, apiserver, kubectl, minio] = await Promise.all(
    (['etcd', 'kube-apiserver', 'kubectl', 'minio'] as const).map((name) => toolPath(name)),
  );
  const faultydisk = faultyDisk ? await toolPath('faultydisk') : null;
  await toolPath('moto-python'); // a build is not part of any step's limit
  const child = spawnInside();
  const said = errorsOf(child);
  try {
    await step('namespaces', () => saysReady(child));
    const pid = firstChild(child.pid ?? -1);
    const root = `/proc/${pid}/root`;
    const { n, device } = await step('link to the host', () => linkToHost(pid));
    const cgroups = makeCgroups(pid) ?? null;
    const inside = await connect<InsideApi>(`${root}${INSIDE.socket}`);
    inside.on('progress', (progress) => onProgress(progress as Progress));
    const { sandbox: address, prefixLength } = hostLinkAddresses(n);
    const tools = { etcd: etcd!, apiserver: apiserver!, kubectl: kubectl!, minio: minio!, faultydisk }; // four were asked for
    const [ids] = await Promise.all([
      inside.call.start({
        address,
        prefixLength,
        device: 'host0',
        tools,
        cgroups,
        movableClocks,
        resync: resync ?? null,
      }),
      ...(programs ? [step('build the programs', build, { limitMs: 120_000 })] : []),
    ]);
    if (programs) {
      const { call } = inside;
      await Promise.all([call.startController(), ...SERVERS.map((name) => call.startAgent(name))]);
    }
    return makeSandbox({ child, pid, root, device, address, inside, ids, kubectl: tools.kubectl });
  } catch (error) {
    await end(child);
    throw said() === ''
      ? error
      : new Error(`${describeError(error)}\n--- the sandbox said\n${said()}`, { cause: error });
  }
}

interface Parts {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly root: string;
  readonly device: string;
  readonly address: string;
  readonly inside: Remote<InsideApi>;
  readonly ids: SeededCloud;
  readonly kubectl: string;
}

function makeSandbox({ child, pid, root, device, address, inside, ids, kubectl }: Parts): Sandbox {
  const { call } = inside;
  const logFile = (name: string) => `${root}${INSIDE.logs}/${name}.log`;
  const kubeconfig = `${root}${INSIDE.kubeconfig}`;
  let cuts: Cut[] = [];
  const setCuts = async (wanted: Cut[]) => {
    cuts = wanted;
    await call.setCuts(cuts);
  };
  const spawnIn = (network: string | undefined, command: readonly string[]) => {
    const [file = '', ...args] = [...enterSandbox(pid, network), ...command];
    return spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  };
  return {
    pid,
    ids,
    kubeconfig,
    apiUrl: `https://${address}:${API_PORT}`,
    awsEndpoint: `http://${address}:${AWS_PORT}`,
    faults: faultsAt(`http://${address}:${AWS_PORT}/_ctl`),
    kubectl: (args, options) =>
      run([kubectl, ...args], {
        ...options,
        env: { ...process.env, KUBECONFIG: kubeconfig, KUBECACHEDIR: `${root}${INSIDE.scratch}/kubectl` },
      }),
    client: {
      exec: (command, options = {}) => call.execAt('client', command, options),
      spawn: (command) => spawnIn('client', command),
    },
    server: (name) => ({
      powerCut: () => call.cutPower(name),
      boot: () => call.bootServer(name),
      agentPid: () => serverProcesses(pid, name).find(isAgent)?.pid,
      killAgent: (signal = 'SIGKILL') => call.killAgent(name, signal),
      stopAgent: (signal = 'SIGTERM') => call.stopAgent(name, signal),
      startAgent: () => call.startAgent(name),
      exec: (command, options = {}) => call.execOnServer(name, command, options),
      processes: () => serverProcesses(pid, name),
      unmountDisk: () => call.detachDisk(name),
      mountDisk: () => call.attachDisk(name),
      setDiskFault: (fault, ms = 0) => call.setDiskFault(name, fault, ms),
      log: (lines) => tailOf(logFile(`${name}-agent`), lines),
    }),
    controller: {
      start: () => call.startController(),
      stop: () => call.stopController(),
      kill: (signal = 'SIGKILL') => call.killController(signal),
      log: (lines) => tailOf(logFile('controller'), lines),
      startSecond: () => call.startSecondController(),
      stopSecond: () => call.stopSecondController(),
    },
    etcd: { kill: () => call.killEtcd(), start: () => call.startEtcd() },
    apiserver: {
      kill: () => call.killApiserver(),
      start: () => call.startApiserver(),
      pause: () => call.pauseApiserver(),
      resume: () => call.resumeApiserver(),
    },
    cut: (link) => setCuts([...cuts, ...cutsOf(link)]),
    heal: (link) => {
      const healed = link === undefined ? cuts : cutsOf(link);
      return setCuts(cuts.filter((cut) => !healed.some(({ from, to }) => cut.from === from && cut.to === to)));
    },
    setPropagationDelay: (ms) => call.setPropagationDelay(ms),
    logFile,
    spawn: (command) => spawnIn(undefined, command),
    stop: async () => {
      inside.close();
      // The kernel would do it by itself, in its own time; later it might be another sandbox's by that name.
      await tryRun(['ip', 'link', 'del', device]);
      await end(child);
    },
  };
}

function faultsAt(url: string): Faults {
  const command = async (wish?: object): Promise<TracedCall[]> => {
    const sent = wish === undefined ? {} : { method: 'POST', body: JSON.stringify(wish) };
    const answer = await fetch(url, { ...sent, signal: AbortSignal.timeout(5_000) });
    return ((await answer.json()) as { trace: TracedCall[] }).trace; // `obey` in tools/faultproxy/proxy.ts
  };
  return {
    rule: async (rule) => void (await command({ rules: [rule] })),
    bucket: async (action, bucket) => void (await command({ buckets: { [action]: bucket } })),
    latency: async (action, ms) => void (await command({ latencyMs: { [action]: ms } })),
    trace: () => command(),
    reset: async () => void (await command({ reset: true })),
  };
}

function cutsOf({ from, to }: Link): Cut[] {
  const all = (end: Link['from']) => (end === '*' ? ENDPOINTS : [end]);
  return all(from).flatMap((f) => all(to).flatMap((t) => (f === t ? [] : [{ from: f, to: t }])));
}

/**
 * `setpriv` has unshare killed when this process ends, unshare its pid 1 by `--kill-child`, and the kernel everything
 * in a pid namespace whose pid 1 is gone (pid_namespaces(7)). A session of its own: Ctrl-C is for this process alone.
 * bash stays pid 1 because it reaps the orphans that a pid 1 is given; Node would not.
 */
function spawnInside(): ChildProcess {
  const script = `"$1" "$2" <&0 & wait $!`;
  return spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--fork', '--kill-child=SIGKILL'],
      ...['--pid', '--mount', '--net', '--uts', '--ipc', '--mount-proc'],
      ...['bash', '-c', script, SANDBOX_MARK, process.execPath, `${HERE}/inside.ts`],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  );
}

/** What it writes to stderr, the end of it. */
function errorsOf(child: ChildProcess): () => string {
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4_000);
  });
  return () => errors.trim();
}

async function saysReady(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout! }).once('line', () => resolve()); // stdio says pipe
    child.once('error', reject);
    child.once('exit', () => reject(new Error('it has ended')));
  });
}

/** A number that no other sandbox of this host has: whoever makes the interface first has it. */
async function linkToHost(pid: number): Promise<{ n: number; device: string }> {
  for (let n = 0; n < HOST_LINKS_MAX; n++) {
    const device = `pm${n}`;
    const add = ['ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'host0', 'netns', String(pid)];
    const { code, stderr } = await tryRun(add);
    if (code === 0) {
      const { host, prefixLength } = hostLinkAddresses(n);
      await run(['ip', '-batch', '-'], {
        input: `address add ${host}/${prefixLength} dev ${device}\nlink set ${device} up\n`,
      });
      return { n, device };
    }
    if (!stderr.includes('File exists')) throw new Error(stderr.trim());
  }
  throw new Error('no number is free');
}

/** When unshare has ended, so has pid 1, and it is the last of its namespace. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const pid = firstChild(child.pid ?? -1);
  process.kill(pid === -1 ? (child.pid ?? -1) : pid, 'SIGKILL');
  await gone;
}

function serverProcesses(sandboxPid: number, name: ServerName): ProcessSeen[] {
  const init = findServer(sandboxPid, name);
  return init === undefined ? [] : listProcesses(init);
}

function isAgent({ argv }: ProcessSeen): boolean {
  return argv.includes(AGENT_PROGRAM);
}

function firstChild(pid: number): number {
  return childrenOf(pid)[0] ?? -1;
}
