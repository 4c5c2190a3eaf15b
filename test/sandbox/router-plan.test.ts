import { describe, expect, test } from 'vitest';
import {
  type Attachment,
  batchOf,
  type Cut,
  type Ec2State,
  type NetworkInterface,
  planRouter,
  type RouterInput,
} from '../../sandbox/router-plan.ts';
import { PLACES, type PlaceName } from '../../sandbox/topology.ts';

const VIP = '10.1.0.20/32';
const attached: Readonly<Record<PlaceName, Attachment>> = {
  client: { subnetId: 'A1' },
  controller: { subnetId: 'B1' },
  server1: { subnetId: 'A2', interfaceId: 'eni-1' },
  server2: { subnetId: 'B2', interfaceId: 'eni-2' },
};

/** The article's VPC with the VIP at server1 in all three tables and both checks off. */
function world(change: Change = {}): RouterInput {
  const routes = (target: string) => [
    { destination: '10.0.0.0/16', target: 'local' },
    { destination: '0.0.0.0/0', target: 'igw-1' },
    { destination: VIP, target },
  ];
  const ec2: Ec2State = {
    routeTables: [
      { id: 'rtb-main', main: true, subnetIds: [], routes: routes(change.mainTarget ?? 'eni-1') },
      { id: 'rtb-a', main: false, subnetIds: ['A2'], routes: routes('eni-1') },
      { id: 'rtb-b', main: false, subnetIds: ['B2'], routes: routes('eni-1') },
    ],
    interfaces: new Map<string, NetworkInterface>([
      ['eni-1', { instanceId: 'i-1', sourceDestCheck: false, ...change.eni1 }],
      ['eni-2', { instanceId: 'i-2', sourceDestCheck: false }],
    ]),
    instances: new Map([
      ['i-1', change.state1 ?? 'running'],
      ['i-2', 'running'],
    ]),
  };
  return { ec2, attached, cuts: change.cuts ?? [], linked: new Set(PLACES.filter((name) => name !== change.unlinked)) };
}

interface Change {
  readonly mainTarget?: string;
  readonly eni1?: Partial<NetworkInterface>;
  readonly state1?: string;
  readonly cuts?: readonly Cut[];
  readonly unlinked?: PlaceName;
}

const CLIENT = 101;
const SERVER1 = 103;
const SERVER2 = 104;
const toServer1 = 'DST via 10.0.2.10 dev server1 onlink';
const toServer2 = 'DST via 10.0.4.10 dev server2 onlink';
const blackhole = 'blackhole DST';

describe('a packet of the client to the VIP', () => {
  test.each<[sentence: string, change: Change, how: string]>([
    ["follows the client's route table", {}, toServer1],
    ['follows a replaced route', { mainTarget: 'eni-2' }, toServer2],
    ['is dropped where the interface checks the destination', { eni1: { sourceDestCheck: true } }, blackhole],
    ['is dropped where the instance is stopped', { state1: 'stopped' }, blackhole],
    ['still arrives while the instance is stopping', { state1: 'stopping' }, toServer1],
    ['is dropped where the server has no power, though EC2 says running', { unlinked: 'server1' }, blackhole],
    ['is dropped where the route points at nothing known', { mainTarget: 'eni-9' }, blackhole],
    ['is dropped when the link to that server is cut', { cuts: [{ from: 'client', to: 'server1' }] }, blackhole],
    ['arrives when the link the other way is cut', { cuts: [{ from: 'server1', to: 'client' }] }, toServer1],
    ['arrives when the link to the other server is cut', { cuts: [{ from: 'client', to: 'server2' }] }, toServer1],
  ])('%s', (_, change, how) => {
    expect(planRouter(world(change)).get(`route ${CLIENT} ${VIP}`)).toBe(how);
  });

  test('is dropped where the interface is attached to no instance', () => {
    const { ec2, ...rest } = world();
    const interfaces = new Map([...ec2.interfaces, ['eni-1', { sourceDestCheck: false }]] as const);
    expect(planRouter({ ...rest, ec2: { ...ec2, interfaces } }).get(`route ${CLIENT} ${VIP}`)).toBe(blackhole);
  });
});

test('every sender uses the table of its own subnet, and the main one where it has none', () => {
  const plan = planRouter(world({ mainTarget: 'eni-2' }));
  expect([CLIENT, SERVER1, SERVER2].map((table) => plan.get(`route ${table} ${VIP}`))).toEqual([
    toServer2,
    toServer1,
    toServer1,
  ]);
});

test('with the source check on, only packets from its own address are taken from a server', () => {
  const rules = (plan: ReadonlyMap<string, string>) =>
    [...plan.values()].filter((how) => how.startsWith('iif server1'));
  expect(rules(planRouter(world({ eni1: { sourceDestCheck: true } })))).toEqual([
    'iif server1 from 10.0.2.10 lookup 103',
  ]);
  expect(rules(planRouter(world()))).toEqual(['iif server1 lookup 103']);
});

test("an address of the VPC that nobody has is dropped, and what is outside leaves by the table's default", () => {
  const plan = planRouter(world());
  expect(plan.get(`route ${CLIENT} 10.0.0.0/16`)).toBe(blackhole);
  expect(plan.get(`route ${CLIENT} default`)).toBe('DST via 192.0.2.10 dev control onlink');
});

test('the API server can be cut off from one server without AWS being cut off', () => {
  const plan = planRouter(world({ cuts: [{ from: 'server1', to: 'api' }] }));
  expect(plan.get(`route ${SERVER1} 192.0.2.10/32`)).toBe(blackhole);
  expect(plan.has(`route ${SERVER1} 192.0.2.11/32`)).toBe(false);
  expect(plan.has(`route ${SERVER2} 192.0.2.10/32`)).toBe(false);
});

test('what the API server sends can be cut off by its address, for AWS answers on the same link', () => {
  const plan = planRouter(world({ cuts: [{ from: 'api', to: 'server1' }] }));
  expect([...plan.values()]).toContain('iif control from 192.0.2.10 to 10.0.2.10 blackhole');
});

describe('the commands from one plan to the next', () => {
  test('are none when nothing has changed', () => {
    expect(batchOf(planRouter(world()), planRouter(world()))).toEqual([]);
  });

  test('replace a moved route in one step, without taking it away first', () => {
    expect(batchOf(planRouter(world()), planRouter(world({ mainTarget: 'eni-2' })))).toEqual([
      'route replace 10.1.0.20/32 via 10.0.4.10 dev server2 onlink table 101',
      'route replace 10.1.0.20/32 via 10.0.4.10 dev server2 onlink table 102',
    ]);
  });

  test('put the new rule in before the old one goes', () => {
    expect(batchOf(planRouter(world({ eni1: { sourceDestCheck: true } })), planRouter(world())).slice(-2)).toEqual([
      'route replace 10.1.0.20/32 via 10.0.2.10 dev server1 onlink table 104',
      'rule del pref 1103 iif server1 from 10.0.2.10 lookup 103',
    ]);
  });

  test('lead back when a change is undone', () => {
    const plain = planRouter(world());
    const cut = planRouter(world({ cuts: [{ from: 'server1', to: 'api' }] }));
    expect(batchOf(plain, cut)).toEqual(['route replace blackhole 192.0.2.10/32 table 103']);
    expect(batchOf(cut, plain)).toEqual(['route del blackhole 192.0.2.10/32 table 103']);
  });
});
