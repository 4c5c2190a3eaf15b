import { appendFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Log } from '../src/base/log.ts';
import { type SeededCloud, seedCloud } from '../tools/moto/seed.ts';
import { startMoto } from '../tools/moto/server.ts';
import { followChanges } from './changes.ts';
import { CONTROLLER_STATE, type Controller, makeController } from './controller.ts';
import { type ControlPlane, kubeconfig, startControlPlane } from './controlplane.ts';
import { type DataPlane, makeDataPlane } from './dataplane.ts';
import { attachDisk, detachDisk, makeDisk, setDiskFault } from './disk.ts';
import { openBackdoor } from './ec2.ts';
import { makeHypervisor } from './hypervisor.ts';
import { AGENT_PROGRAM, INSIDE, type InsideApi, type StartOptions } from './inside-api.ts';
import { inNetwork, linkHost, makeRouter, plugIn } from './network.ts';
import { type Served, serve } from './rpc.ts';
import { run, startDaemon, tryRun } from './run.ts';
import { makeServer, type Server, stateDirectory } from './server.ts';
import { type Step, stepper } from './steps.ts';
import { API_PORT, AWS_PORT, CONTROL, type PlaceName, SERVERS, type ServerName, SITES } from './topology.ts';

/**
 * The sandbox from within: runs in namespaces of its own (`sandbox.ts` makes them) and builds everything in them. Its
 * end is the end of all that: pid 1 waits for this process, and the kernel ends the rest.
 */
const CHECKOUT = dirname(dirname(fileURLToPath(import.meta.url)));
const NODE = process.execPath;
/** The namespace of the custom resources and of the agents' accounts, as in manifests/. */
const NAMESPACE = 'storage';
const CONTROLLER_ACCOUNT = { namespace: 'pointsman-system', name: 'pointsman-controller' };

const log = fileLog(`${INSIDE.logs}/sandbox.log`);
/** See movable-clock.mjs. The agent's children inherit it. */
const MOVABLE_CLOCK = ['env', 'NODE_OPTIONS=--import=/opt/pointsman/sandbox/movable-clock.mjs'];
process.stdin.resume().on('end', () => process.exit(0)); // the launcher is gone

await run(['mount', '-t', 'tmpfs', '-o', 'mode=0755', 'sandbox', '/run']);
for (const directory of [INSIDE.logs, INSIDE.scratch, '/run/netns']) await mkdir(directory, { recursive: true });
process.env['TMPDIR'] = INSIDE.scratch;
process.chdir(INSIDE.scratch);
const served: Served = await serve(INSIDE.socket, makeApi());
process.stdout.write('ready\n');

function makeApi(): InsideApi {
  const linked = new Set<PlaceName>();
  let servers: ReadonlyMap<ServerName, Server> = new Map();
  let dataPlane: DataPlane | undefined;
  let controlPlane: ControlPlane | undefined;
  let controller: Controller | undefined;
  let secondController: Controller | undefined;

  const server = (name: ServerName) => there(servers.get(name), name);
  const apiserver = () => there(controlPlane, 'the API server').apiserver;

  return {
    start: async (options) => {
      const step = stepper((progress) => served.emit('progress', progress));
      const onLink = (name: PlaceName) => async (up: boolean) => {
        if (up) linked.add(name);
        else linked.delete(name);
        await dataPlane?.replan();
      };
      servers = new Map(
        SERVERS.map((name) => [
          name,
          makeServer({
            name,
            checkout: CHECKOUT,
            minio: options.tools.minio,
            cgroups: options.cgroups ?? undefined,
            agent: [
              ...(options.movableClocks ? MOVABLE_CLOCK : []),
              ...['/opt/pointsman/node_modules/node/bin/node', AGENT_PROGRAM],
              ...['--node', name, '--namespace', NAMESPACE, '--kubeconfig', '/etc/pointsman/kubeconfig'],
            ],
            logDirectory: INSIDE.logs,
            onLink: onLink(name),
          }),
        ]),
      );
      const [vpc, plane, cloud] = await Promise.all([
        startVpc(step, options, servers, linked),
        startKubernetes(step, options),
        startCloud(step),
      ]);
      void vpc;
      controlPlane = plane;
      dataPlane = await step('data plane, hypervisor', () => startEc2(cloud, servers, linked));
      controller = makeController(CHECKOUT, 'controller', options.resync);
      secondController = makeController(CHECKOUT, 'controller2', options.resync);
      return cloud.seeded;
    },

    bootServer: (name) => server(name).boot(),
    cutPower: (name) => server(name).cutPower(),
    startAgent: async (name) => server(name).startAgent(),
    stopAgent: (name, signal) => server(name).stopAgent(signal),
    killAgent: async (name, signal) => server(name).killAgent(signal),
    agentPid: async (name) => server(name).agentPid() ?? null,
    execOnServer: (name, command, options) => server(name).exec(command, options),
    execAt: (place, command, options) => tryRun([...inNetwork(place), ...command], options),
    attachDisk,
    detachDisk,
    setDiskFault,

    startController: async () => there(controller, 'the controller').start(),
    stopController: async () => await there(controller, 'the controller').stop(),
    killController: async (signal) => there(controller, 'the controller').kill(signal),
    controllerPid: async () => there(controller, 'the controller').pid() ?? null,
    startSecondController: async () => there(secondController, 'the second controller').start(),
    stopSecondController: async () => await there(secondController, 'the second controller').stop(),

    killEtcd: () => there(controlPlane, 'etcd').etcd.kill(),
    startEtcd: async () => there(controlPlane, 'etcd').etcd.start(),

    killApiserver: () => apiserver().kill(),
    startApiserver: async () => {
      await apiserver().start();
      await there(controlPlane, 'the API server').ready();
    },
    pauseApiserver: async () => apiserver().pause(),
    resumeApiserver: async () => apiserver().resume(),

    setCuts: async (cuts) => await there(dataPlane, 'the data plane').setCuts(cuts),
    setPropagationDelay: async (ms) => there(dataPlane, 'the data plane').setPropagationDelay(ms),
  };
}

async function startVpc(
  step: Step,
  { device, address, prefixLength, tools }: StartOptions,
  servers: ReadonlyMap<ServerName, Server>,
  linked: Set<PlaceName>,
): Promise<void> {
  await step('network and shared disk', async () => {
    await Promise.all([makeDisk(tools.faultydisk ?? undefined), makeRouter(), linkHost(device, address, prefixLength)]);
    for (const place of ['client', 'controller'] as const) {
      await plugIn(place);
      linked.add(place);
    }
  });
  await Promise.all(
    [...servers.values()].map((server) => step(`boot ${server.name}`, async () => await server.boot())),
  );
}

async function startKubernetes(step: Step, { tools, address }: StartOptions): Promise<ControlPlane> {
  const plane = await step('start etcd and kube-apiserver', () =>
    startControlPlane({
      directory: `${INSIDE.directory}/kubernetes`,
      logDirectory: INSIDE.logs,
      etcd: tools.etcd,
      apiserver: tools.apiserver,
      addresses: [CONTROL.api, address],
    }),
  );
  const admin = kubeconfig({
    server: `https://${address}:${API_PORT}`,
    caPem: plane.caPem,
    namespace: NAMESPACE,
    user: { token: plane.adminToken },
  });
  await writeFile(INSIDE.kubeconfig, admin, { mode: 0o600 });
  await step('kube-apiserver ready', () => plane.ready(), {
    limitMs: 90_000,
    logFile: `${INSIDE.logs}/kube-apiserver.log`,
  });
  await step('custom resources, accounts and policies', async () => {
    for (const name of [NAMESPACE, CONTROLLER_ACCOUNT.namespace]) {
      await plane.call('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    }
    await Promise.all(
      ['crds', 'controller', 'agent'].map((directory) =>
        run([tools.kubectl, 'apply', '--server-side', '-k', `${CHECKOUT}/manifests/${directory}`], {
          env: { ...process.env, KUBECONFIG: INSIDE.kubeconfig, KUBECACHEDIR: `${INSIDE.scratch}/kubectl` },
        }),
      ),
    );
    await Promise.all([...SERVERS.map((name) => logInAgent(plane, name)), logInController(plane)]);
  });
  return plane;
}

/** Every program has a kubeconfig whose token lies beside it, so that it can be renewed. */
async function logIn(plane: ControlPlane, directory: string, seenAs: string, namespace: string, account: string) {
  await mkdir(directory, { recursive: true });
  await writeFile(`${directory}/token`, await plane.tokenFor(namespace, account), { mode: 0o600 });
  const config = kubeconfig({
    server: `https://${CONTROL.api}:${API_PORT}`,
    caPem: plane.caPem,
    namespace,
    user: { tokenFile: `${seenAs}/token` },
  });
  await writeFile(`${directory}/kubeconfig`, config, { mode: 0o600 });
}

async function logInAgent(plane: ControlPlane, name: ServerName): Promise<void> {
  const directory = stateDirectory(name);
  await logIn(plane, directory, '/etc/pointsman', NAMESPACE, `pointsman-agent-${name}`);
  // What the owner of the host allows.
  await writeFile(`${directory}/agent.yaml`, 'commands:\n  - /work/minio\nusers:\n  - minio\n');
}

async function logInController(plane: ControlPlane): Promise<void> {
  await logIn(plane, CONTROLLER_STATE, CONTROLLER_STATE, CONTROLLER_ACCOUNT.namespace, CONTROLLER_ACCOUNT.name);
}

interface Cloud {
  readonly seeded: SeededCloud;
  readonly endpoint: string;
}

const CHANGES_FILE = `${INSIDE.directory}/ec2-changes`;

async function startCloud(step: Step): Promise<Cloud> {
  const moto = await step('emulated AWS', () =>
    startMoto({ dir: INSIDE.logs, changesFile: CHANGES_FILE, hypervisor: true }),
  );
  const proxyLog = `${INSIDE.logs}/faultproxy.log`;
  startDaemon({
    name: 'fault proxy',
    logFile: proxyLog,
    command: [
      ...[NODE, `${CHECKOUT}/tools/faultproxy/main.ts`, '--target', moto.endpoint],
      ...['--host', '0.0.0.0', '--port', String(AWS_PORT)],
    ],
  });
  const seeded = await step("the article's VPC in it", () => seedCloud(moto.endpoint));
  await step('fault proxy', () => untilSaid(proxyLog, 'endpoint'), { logFile: proxyLog });
  return { seeded, endpoint: moto.endpoint };
}

async function startEc2(
  { seeded, endpoint }: Cloud,
  servers: ReadonlyMap<ServerName, Server>,
  linked: ReadonlySet<PlaceName>,
): Promise<DataPlane> {
  const instanceIds = SERVERS.map((name) => seeded[name].instanceId);
  const ec2 = openBackdoor(endpoint, seeded.region, seeded.vpcId, instanceIds);
  const dataPlane = makeDataPlane({
    log,
    ec2,
    linked,
    attached: {
      client: { subnetId: seeded.subnets[SITES.client.subnet].id },
      controller: { subnetId: seeded.subnets[SITES.controller.subnet].id },
      server1: { subnetId: seeded.server1.subnetId, interfaceId: seeded.server1.networkInterfaceId },
      server2: { subnetId: seeded.server2.subnetId, interfaceId: seeded.server2.networkInterfaceId },
    },
  });
  const hypervisor = makeHypervisor(
    log,
    ec2,
    new Map(SERVERS.map((name) => [seeded[name].instanceId, there(servers.get(name), name)])),
  );
  await Promise.all([
    startMetadata(seeded),
    ...SERVERS.map(async (name) => await servers.get(name)?.setMac(seeded[name].mac)),
  ]);
  await followChanges(CHANGES_FILE, log, async () => {
    hypervisor.look();
    await dataPlane.refresh();
  });
  return dataPlane;
}

async function startMetadata(seeded: SeededCloud): Promise<void> {
  const trees = Object.fromEntries(
    SERVERS.map((name) => {
      const { instanceId, networkInterfaceId, privateIp, mac, zone, subnetId } = seeded[name];
      const macs = `meta-data/network/interfaces/macs/${mac}`;
      return [
        SITES[name].address,
        {
          'meta-data/instance-id': instanceId,
          'meta-data/instance-type': 't3.large',
          'meta-data/local-ipv4': privateIp,
          'meta-data/mac': mac,
          'meta-data/placement/availability-zone': zone,
          'meta-data/placement/region': seeded.region,
          [`${macs}/interface-id`]: networkInterfaceId,
          [`${macs}/device-number`]: '0',
          [`${macs}/local-ipv4s`]: privateIp,
          [`${macs}/subnet-id`]: subnetId,
          [`${macs}/vpc-id`]: seeded.vpcId,
          [`${macs}/vpc-ipv4-cidr-block`]: seeded.vpcCidr,
        },
      ];
    }),
  );
  const file = `${INSIDE.directory}/metadata.json`;
  await writeFile(file, JSON.stringify(trees));
  const logFile = `${INSIDE.logs}/metadata.log`;
  startDaemon({
    name: 'metadata service',
    logFile,
    command: [...inNetwork('router'), NODE, `${CHECKOUT}/sandbox/metadata.ts`, file],
  });
  await untilSaid(logFile, 'listening');
}

async function untilSaid(logFile: string, word: string): Promise<void> {
  while (!(await readFile(logFile, 'utf8').catch(() => '')).includes(word)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function there<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`Cannot reach ${what}: the sandbox has not started it yet`);
  return value;
}

/** The same lines as `createLog`, to a file: standard output belongs to the launcher. */
function fileLog(file: string): Log {
  const line =
    (level: string) =>
    (message: string, fields: object = {}) =>
      appendFileSync(file, `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
  const made: Log = {
    debug: () => {},
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    with: () => made,
  };
  return made;
}
