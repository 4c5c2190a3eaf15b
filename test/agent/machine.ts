import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupBase, cgroupsIn, removeCgroup } from '../../src/agent/cgroup.ts';
import { killAll } from '../../src/agent/kill.ts';
import { findMarked, type Process } from '../../src/agent/scan.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Assignment, FailoverGroup } from '../../src/crds/failovergroup.ts';
import type { GroupReport, NodeReport } from '../../src/crds/failovernode.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { failoverGroups, failoverNodes, leases, type NodeLease } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { until } from './processes.ts';

/** One node with a real agent, a disk that is a file system of its own, and a metadata service. We are its controller. */
export interface Machine {
  readonly node: string;
  readonly groupName: string;
  readonly namespace: string;
  readonly client: KubeClient;
  readonly mountPath: string;
  /** What the agent remembers, in /run. */
  readonly runDirectory: string;
  readonly logFile: string;
  readonly instanceId: string;
  startAgent(url?: string): void;
  /** The metadata service does not answer until it is let. Resolves with that when it has been asked. */
  holdMetadata(): Promise<() => void>;
  /** SIGKILL unless told otherwise; resolves when it is gone. */
  endAgent(signal?: NodeJS.Signals): Promise<void>;
  agentPid(): number;
  /** Creates the FailoverNode. */
  declareNode(spec?: object): Promise<void>;
  /** Creates the group "group" with a command, for this node alone. */
  declareGroup(command: readonly string[], spec?: object): Promise<void>;
  /** As the controller would: for this node and its present incarnation, unless told otherwise. */
  assign(epoch: number, change?: Partial<Assignment>, status?: object): Promise<Assignment>;
  lease(): Promise<NodeLease | undefined>;
  report(): Promise<NodeReport | undefined>;
  untilReported(
    what: string,
    test: (group: GroupReport, report: NodeReport) => boolean,
    limitMs?: number,
  ): Promise<GroupReport>;
  group(): Promise<FailoverGroup>;
  /** As when the tmpfs under /run is replaced. */
  loseRun(): void;
  unmount(): void;
  mount(): void;
  /** Everything alive with the mark of the group, the shim included. */
  marked(): Promise<readonly Process[]>;
  allow(policy: { commands: readonly string[]; users: readonly string[] }): void;
  close(): Promise<void>;
}

const FAST = { renewEvery: '300ms', fenceAfter: '1500ms', killWithin: '500ms', takeoverAfter: '3s' };
const AGENT = join(import.meta.dirname, '../../src/agent/main.ts');

export interface MachineOptions {
  /** Default: the agent's source. */
  readonly program?: string | undefined;
  /** A machine with the same group, on the same shared disk. */
  readonly beside?: Machine | undefined;
}

export async function startMachine(
  server: ApiServerAccess,
  namespace: string,
  { program = AGENT, beside }: MachineOptions = {},
): Promise<Machine> {
  const directory = mkdtempSync(join(tmpdir(), 'pointsman-machine-'));
  const node = `n${randomUUID().slice(0, 8)}`;
  const instanceId = `i-${randomUUID().replaceAll('-', '').slice(0, 17)}`;
  const mountPath = beside?.mountPath ?? join(directory, 'disk');
  const group = beside?.groupName ?? groupName(node);
  const logFile = join(directory, 'agent.log');
  const policyFile = join(directory, 'agent.yaml');
  const client = createKubeClient({ log: silentLog, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
  const metadata = await startMetadata({ 'instance-id': instanceId, mac: '02:00:00:00:00:99' });
  let agent: ChildProcess | undefined;
  chmodSync(directory, 0o755); // the user's process must come to its disk
  if (beside === undefined) mkdirSync(mountPath);
  const mount = () => void execFileSync('mount', ['-t', 'tmpfs', node, mountPath]);
  const unmount = () => void execFileSync('umount', ['--lazy', mountPath]);
  if (beside === undefined) mount();
  const allow = (policy: object) => writeFileSync(policyFile, JSON.stringify(policy));
  allow({ commands: ['/bin/sleep', '/bin/sh'], users: ['nobody'] });
  const adminConfig = await server.kubeconfig({ namespace });

  const endAgent = async (signal: NodeJS.Signals = 'SIGKILL') => {
    const ending = agent;
    agent = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    ending.kill(signal);
    await exited;
  };

  const machine: Machine = {
    runDirectory: join(directory, 'run', namespace, node),
    ...{ node, groupName: group, namespace, client, mountPath, logFile, instanceId, endAgent, mount, unmount, allow },
    startAgent: (url) => {
      const log = openSync(logFile, 'a');
      const flags = {
        node,
        'run-dir': join(directory, 'run'),
        'log-dir': join(directory, 'log'),
        policy: policyFile,
        'log-level': 'debug',
      };
      const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
      const env = {
        PATH: process.env['PATH'],
        KUBECONFIG: url === undefined ? adminConfig : throughProxy(adminConfig, url, directory),
        AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url,
      };
      agent = spawn(process.execPath, [program, ...args], { env, stdio: ['ignore', log, log] });
    },
    holdMetadata: metadata.hold,
    agentPid: () => agent?.pid ?? -1,
    declareNode: async (spec = {}) => {
      const body = { metadata: { name: node }, spec: { instanceId, timing: FAST, ...spec } };
      await client.create(failoverNodes, namespace, body);
    },
    declareGroup: async (command, spec = {}) => {
      const body = {
        metadata: { name: group },
        spec: {
          nodes: [node],
          sharedDisk: { mountPath, fsTypes: ['tmpfs'] },
          process: { command, user: 'nobody' },
          ...spec,
        },
      };
      await client.create(failoverGroups, namespace, body);
    },
    assign: async (epoch, change = {}, status = {}) => {
      const [held, reported] = await Promise.all([machine.lease(), machine.report()]);
      const diskId = reported?.groups[0]?.diskId ?? 'unknown';
      const nodes = [{ name: node, instanceId, takeoverAfterSeconds: 3 }];
      const assignment: Assignment = {
        ...{ node, incarnation: held?.transitions ?? 0, epoch, state: 'Active' as const },
        basis: { mountPath, diskId, heartbeat: false, nodes, earlier: [] },
        ...change,
      };
      await client.patchStatus(failoverGroups, namespace, group, { status: { ...status, assignment } });
      return assignment;
    },
    loseRun: () => rmSync(join(directory, 'run'), { recursive: true }),
    lease: () => client.get(leases, namespace, node),
    report: async () => (await client.get(failoverNodes, namespace, node))?.status?.report,
    untilReported: (what, test, limitMs = 45_000) =>
      until(
        what,
        async () => {
          const report = await machine.report();
          const [first] = report?.groups ?? [];
          return report !== undefined && first !== undefined && test(first, report) ? first : undefined;
        },
        limitMs,
      ).catch(async (error) => {
        const said = JSON.stringify(await machine.report(), undefined, 1);
        throw new Error(`${String(error)}\nlast report: ${said}\n${readFileSync(logFile, 'utf8').slice(-4_000)}`);
      }),
    group: async () => {
      const found = await client.get(failoverGroups, namespace, group);
      if (found === undefined) throw new Error('there is no group');
      return found;
    },
    marked: async () => (await findMarked((mark) => mark === `${namespace}/${node}/${group}`)).found,
    close: async () => {
      await endAgent();
      const base = cgroupBase(namespace, node);
      await killAll({
        matches: (mark) => mark.startsWith(`${namespace}/${node}`),
        cgroups: base === undefined ? [] : cgroupsIn(base),
        known: [],
        sinceTicks: 0,
        cgroupHoldsAll: false,
      });
      if (base !== undefined) {
        await until('the cgroups are gone', () => {
          for (const path of [...cgroupsIn(base), base]) removeCgroup(path);
          return !existsSync(base);
        });
      }
      try {
        if (beside === undefined) unmount();
      } catch {
        // The test has done it.
      }
      metadata.server.close();
      await client.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return machine;
}

export function groupName(node: string): string {
  return `group-${node}`;
}

function throughProxy(kubeconfig: string, url: string, directory: string): string {
  const config = JSON.parse(readFileSync(kubeconfig, 'utf8')) as { clusters: { cluster: { server: string } }[] };
  for (const { cluster } of config.clusters) cluster.server = url;
  const path = join(directory, `proxy-${randomUUID()}.kubeconfig`);
  writeFileSync(path, JSON.stringify(config));
  return path;
}

async function startMetadata(
  values: Readonly<Record<string, string>>,
): Promise<{ server: Server; url: string; hold: Machine['holdMetadata'] }> {
  let held: Promise<void> | undefined;
  let asked = () => {};
  const server = createServer(async (request, response) => {
    asked();
    await held;
    if (request.method === 'PUT') return response.end('TOKEN==');
    const value = values[(request.url ?? '').replace('/latest/meta-data/', '')];
    if (request.headers['x-aws-ec2-metadata-token'] !== 'TOKEN==') response.statusCode = 401;
    else if (value === undefined) response.statusCode = 404;
    return response.end(value ?? '');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on a port
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    return new Promise<() => void>((told) => {
      asked = () => told(resolve);
    });
  };
  return { server, url: `http://127.0.0.1:${port}`, hold };
}
