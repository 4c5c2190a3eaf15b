import {
  CreateRouteCommand,
  DescribeInstancesCommand,
  EC2Client,
  ModifyNetworkInterfaceAttributeCommand,
  ReplaceRouteCommand,
  StartInstancesCommand,
  StopInstancesCommand,
} from '@aws-sdk/client-ec2';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Sandbox, startSandbox } from '../../sandbox/sandbox.ts';
import { SERVERS, type ServerName } from '../../sandbox/topology.ts';
import { watchProcesses } from '../../sandbox/watch.ts';

const VIP = '10.1.0.20';
const PORT = 8000;

let sandbox: Sandbox;
let ec2: EC2Client;

beforeAll(async () => {
  sandbox = await startSandbox({ programs: false });
  ec2 = new EC2Client({
    endpoint: sandbox.awsEndpoint,
    region: sandbox.ids.region,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  for (const name of SERVERS) {
    await serveItsName(name);
    await check(name, false);
  }
  for (const RouteTableId of tables()) {
    await ec2.send(
      new CreateRouteCommand({
        RouteTableId,
        DestinationCidrBlock: `${VIP}/32`,
        NetworkInterfaceId: sandbox.ids.server1.networkInterfaceId,
      }),
    );
  }
});

afterAll(async () => {
  ec2?.destroy();
  await sandbox?.stop();
});

afterEach(async () => {
  await sandbox.heal();
  for (const name of SERVERS) await check(name, false);
  await route('server1');
});

function tables(): string[] {
  const { mainTableId, routeATableId, routeBTableId } = sandbox.ids;
  return [mainTableId, routeATableId, routeBTableId];
}

/** The VIP's address, and a server that answers every connection with the name of the host. */
async function serveItsName(name: ServerName): Promise<void> {
  const program = `require('node:net').createServer((socket) => socket.end(require('node:os').hostname())).listen(${PORT})`;
  const { code, stderr } = await sandbox
    .server(name)
    .exec([
      ...[
        'sh',
        '-c',
        'ip address add "$1"/32 dev eth0; /opt/pointsman/node_modules/node/bin/node -e "$2" >/dev/null 2>&1 &',
      ],
      ...['sh', VIP, program],
    ]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  await vi.waitFor(async () => expect(await ask(name === 'server1' ? '10.0.2.10' : '10.0.4.10')).toBe(name), {
    timeout: 10_000,
    interval: 50,
  });
}

/** Who answers the client at `address`; `nobody` after a second without an answer. */
async function ask(address = VIP): Promise<string> {
  const script = `exec 3<>/dev/tcp/${address}/${PORT} && cat <&3`;
  const { code, stdout } = await sandbox.client.exec(['timeout', '1', 'bash', '-c', script]);
  return code === 0 ? stdout : 'nobody';
}

async function route(name: ServerName, table = sandbox.ids.mainTableId): Promise<void> {
  const NetworkInterfaceId = sandbox.ids[name].networkInterfaceId;
  await ec2.send(
    new ReplaceRouteCommand({ RouteTableId: table, DestinationCidrBlock: `${VIP}/32`, NetworkInterfaceId }),
  );
}

async function check(name: ServerName, Value: boolean): Promise<void> {
  const NetworkInterfaceId = sandbox.ids[name].networkInterfaceId;
  await ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId, SourceDestCheck: { Value } }));
}

async function stateOf(name: ServerName): Promise<string | undefined> {
  const { Reservations } = await ec2.send(
    new DescribeInstancesCommand({ InstanceIds: [sandbox.ids[name].instanceId] }),
  );
  return Reservations?.[0]?.Instances?.[0]?.State?.Name;
}

/** The data plane follows within milliseconds; a busy machine takes longer. */
const soon = { timeout: 60_000, interval: 10 };
const becomes = (who: string, address?: string) => vi.waitFor(async () => expect(await ask(address)).toBe(who), soon);

describe('traffic', () => {
  test("to the VIP goes where the client's route table says, and only its own table counts", async () => {
    await becomes('server1');
    await route('server2', sandbox.ids.routeATableId);
    await becomes('server1');
    await route('server2');
    await becomes('server2');
  });

  test('to the VIP is dropped where the interface checks source and destination, that to its own address is not', async () => {
    await becomes('server1');
    await check('server1', true);
    await becomes('nobody');
    await becomes('server1', '10.0.2.10');
  });

  test('over a link that is cut one way still flows the other way', async () => {
    await sandbox.cut({ from: 'server1', to: 'api' });
    const reach = async (name: ServerName, address: string) =>
      (await sandbox.server(name).exec(['timeout', '1', 'bash', '-c', `exec 3<>/dev/tcp/${address}/6443`])).code === 0;
    expect(await reach('server1', '192.0.2.10')).toBe(false);
    const reaches = (name: ServerName) =>
      vi.waitFor(async () => expect(await reach(name, '192.0.2.10')).toBe(true), soon);
    await reaches('server2');
    await becomes('server1');
    await sandbox.heal({ from: 'server1', to: 'api' });
    await reaches('server1');
  });

  test('a packet of one direction arrives though the way back is cut', async () => {
    const received = async () =>
      Number((await sandbox.server('server1').exec(['cat', '/sys/class/net/eth0/statistics/rx_packets'])).stdout);
    await sandbox.cut({ from: 'server1', to: 'client' });
    const before = await received();
    expect(await ask()).toBe('nobody');
    expect(await received()).toBeGreaterThan(before);
    await sandbox.heal();
    await sandbox.cut({ from: 'client', to: 'server1' });
    expect(await ask()).toBe('nobody');
  });
});

describe('a server', () => {
  test('knows itself by its metadata service, which wants a token', async () => {
    const { server2 } = sandbox.ids;
    const { exec } = sandbox.server('server2');
    const url = 'http://169.254.169.254/latest';
    expect(
      (await exec(['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', `${url}/meta-data/instance-id`])).stdout,
    ).toBe('401');
    const token = await exec([
      'curl',
      '-s',
      '-X',
      'PUT',
      '-H',
      'X-aws-ec2-metadata-token-ttl-seconds: 60',
      `${url}/api/token`,
    ]);
    const get = async (path: string) =>
      (await exec(['curl', '-s', '-H', `X-aws-ec2-metadata-token: ${token.stdout}`, `${url}/meta-data/${path}`]))
        .stdout;
    expect(await get('instance-id')).toBe(server2.instanceId);
    expect(await get('network/interfaces/macs/')).toBe(`${server2.mac}/`);
    expect(await get(`network/interfaces/macs/${server2.mac}/interface-id`)).toBe(server2.networkInterfaceId);
  });

  test('has a cgroup hierarchy of its own, empty at every boot', async () => {
    const { exec, powerCut, boot } = sandbox.server('server2');
    const look = async () => (await exec(['sh', '-c', 'cat /proc/self/cgroup; ls -d /sys/fs/cgroup/*/'])).stdout;
    expect(await look()).toContain('0::/\n');
    expect((await exec(['mkdir', '/sys/fs/cgroup/mine'])).code).toBe(0);
    expect(await look()).toContain('/sys/fs/cgroup/mine/');
    await powerCut();
    await boot();
    expect(await look()).not.toContain('/sys/fs/cgroup/mine/');
    await serveItsName('server2');
  });

  test('sees its shared disk come and go, and what the other one wrote on it', async () => {
    const [one, two] = SERVERS.map((name) => sandbox.server(name));
    await one!.exec(['sh', '-c', 'echo hello >/mnt/efs/note']);
    expect((await two!.exec(['cat', '/mnt/efs/note'])).stdout).toBe('hello\n');
    await two!.unmountDisk();
    expect((await two!.exec(['ls', '/mnt/efs'])).stdout).toBe('');
    expect((await two!.exec(['grep', '-c', ' /mnt/efs ', '/proc/self/mountinfo'])).stdout).toBe('0\n');
    await two!.mountDisk();
    expect((await two!.exec(['cat', '/mnt/efs/note'])).stdout).toBe('hello\n');
    expect((await two!.exec(['grep', ' /mnt/efs ', '/proc/self/mountinfo'])).stdout).toContain(' - tmpfs efs ');
  });

  test('without power answers nothing and runs nothing; booted, it is another boot with an empty /run', async () => {
    const server = sandbox.server('server2');
    const bootId = async () => (await server.exec(['cat', '/proc/sys/kernel/random/boot_id'])).stdout;
    const first = await bootId();
    await server.exec(['touch', '/run/here']);
    await route('server2');
    await becomes('server2');

    await server.powerCut();
    expect(server.processes()).toEqual([]);
    expect(await ask()).toBe('nobody');
    expect(await stateOf('server2')).toBe('running');

    await server.boot();
    expect(await bootId()).not.toBe(first);
    expect((await server.exec(['ls', '/run/here'])).code).not.toBe(0);
    await serveItsName('server2');
    await becomes('server2');
  });

  test('that is stopped in EC2 goes down before EC2 says so, is a black hole, and boots when it is started', async () => {
    const InstanceIds = [sandbox.ids.server2.instanceId];
    const until = (state: string) => vi.waitFor(async () => expect(await stateOf('server2')).toBe(state), soon);
    await route('server2');
    await becomes('server2');
    await ec2.send(new StopInstancesCommand({ InstanceIds }));
    await until('stopped');
    expect(sandbox.server('server2').processes()).toEqual([]);
    expect(await ask()).toBe('nobody');

    await ec2.send(new StartInstancesCommand({ InstanceIds }));
    await until('running');
    await serveItsName('server2');
    await becomes('server2');
  });
});

test('the watch sees MinIO on two servers at once, and not on one', async () => {
  const minio = (name: ServerName) =>
    sandbox.server(name).exec(['sh', '-c', `/work/minio server /tmp/twice >/tmp/twice.log 2>&1 & echo $!`]);
  const watch = await watchProcesses(sandbox);
  try {
    await minio('server1');
    await vi.waitFor(() => expect(watch.latest()?.running.length).toBe(1), { timeout: 10_000, interval: 20 });
    expect(watch.twice()).toEqual([]);
    await minio('server2');
    await vi.waitFor(() => expect(watch.twice().length).toBeGreaterThan(0), { timeout: 10_000, interval: 20 });
  } finally {
    await watch.stop();
    for (const name of SERVERS) {
      for (const { pid, exe } of sandbox.server(name).processes())
        if (exe === '/work/minio') process.kill(pid, 'SIGKILL');
    }
  }
});

test('AWS fails as it is told to, for the calls it is told', async () => {
  await sandbox.faults.rule({ action: 'DescribeInstances', fault: 'unauthorized' });
  await expect(stateOf('server1')).rejects.toThrow('not authorized');
  expect(await stateOf('server1')).toBe('running');
  expect((await sandbox.faults.trace()).filter(({ fault }) => fault === 'unauthorized')).toHaveLength(1);
  await sandbox.faults.reset();
});

test('the API server answers the host, by the certificate that the kubeconfig names', async () => {
  expect(await sandbox.kubectl(['get', 'serviceaccounts', '-n', 'storage', '-o', 'name'])).toContain(
    'serviceaccount/pointsman-agent-server1',
  );
});

test('an agent is nobody but itself to the API server', async () => {
  const { stdout } = await sandbox.server('server1').exec(['cat', '/etc/pointsman/token']);
  const whoAmI = await sandbox.kubectl([
    'auth',
    'whoami',
    '-o',
    'jsonpath={.status.userInfo.username}',
    `--token=${stdout}`,
  ]);
  expect(whoAmI).toBe('system:serviceaccount:storage:pointsman-agent-server1');
});
