import {
  CreateRouteTableCommand,
  DeleteRouteCommand,
  DeleteRouteTableCommand,
  EC2Client,
  ReplaceRouteCommand,
} from '@aws-sdk/client-ec2';
import { conditionOf, VIP } from '../../cluster.ts';
import type { Sandbox } from '../../sandbox.ts';
import { type Fault, forMs, type Mend, servedElsewhere } from '../fault.ts';
import type { Situation, World } from '../world.ts';

const FOR_EVER = 1_000_000;

/** EC2 not well while the group moves, and other tools at work in the VPC. */
export const CLOUD: readonly Fault[] = [
  {
    name: 'planned move',
    sum: 'stop + start',
    lasts: servedElsewhere,
    begin: async (world, before) => {
      await move(world, before);
      return async () => {};
    },
  },
  moved('EC2 throttled during a move', 'a planned move + retries', (sandbox) =>
    sandbox.faults.bucket('*', { size: 2, perSecond: 2 }),
  ),
  moved('EC2 slow during a move', 'a planned move + two calls', (sandbox) => sandbox.faults.latency('*', 700)),
  moved('EC2 refusing during a move', 'until it is over + retry', (sandbox) =>
    sandbox.faults.rule({ action: '*', fault: 'unauthorized', times: FOR_EVER }),
  ),
  moved('EC2 silent during a move', 'until it is over + time-out + retry', (sandbox) =>
    sandbox.faults.rule({ action: '*', fault: 'hang', times: FOR_EVER }),
  ),
  moved('EC2 answering with an old state during a move', 'until it is over + retry', (sandbox) =>
    sandbox.faults.rule({ action: 'DescribeRouteTables', fault: 'stale', times: FOR_EVER }),
  ),
  {
    name: 'routes changed by another tool',
    sum: 'POINTSMAN_RESYNC (3 s)',
    lasts: routesBack,
    begin: async ({ cluster: { sandbox } }, { other }) => {
      const NetworkInterfaceId = sandbox.ids[other].networkInterfaceId;
      await onTables(sandbox, (ec2, RouteTableId) =>
        ec2.send(new ReplaceRouteCommand({ RouteTableId, DestinationCidrBlock: `${VIP}/32`, NetworkInterfaceId })),
      );
      return async () => {};
    },
  },
  {
    name: 'routes deleted by another tool',
    sum: 'POINTSMAN_RESYNC (3 s)',
    lasts: routesBack,
    begin: async ({ cluster: { sandbox } }) => {
      await onTables(sandbox, (ec2, RouteTableId) =>
        ec2.send(new DeleteRouteCommand({ RouteTableId, DestinationCidrBlock: `${VIP}/32` })),
      );
      return async () => {};
    },
  },
  {
    name: 'route table deleted',
    sum: 'none',
    // It goes once its name is in the VipResource and it is gone in EC2.
    lasts: async (world) => {
      await world.cluster.until('the missing table told of', 60_000, async () => {
        const ready = conditionOf(await world.cluster.vip(), 'Ready');
        return ready?.status === 'False' || `${ready?.reason}: ${ready?.message}`;
      });
    },
    begin: async (world) => {
      const { sandbox } = world.cluster;
      const { mainTableId, routeATableId, routeBTableId } = sandbox.ids;
      const usual = [mainTableId, routeATableId, routeBTableId];
      await withEc2(sandbox, async (ec2) => {
        const { RouteTable } = await ec2.send(new CreateRouteTableCommand({ VpcId: sandbox.ids.vpcId }));
        const RouteTableId = RouteTable?.RouteTableId ?? '';
        await world.patch('vipresource/awsvip', { spec: { routeTableIds: [...usual, RouteTableId] } });
        await world.cluster.until('a route in the table', 30_000, async () => {
          const tables = (await world.cluster.vip()).status?.routeTables ?? [];
          return tables.some(({ id, state }) => id === RouteTableId && state === 'InPlace');
        });
        await ec2.send(new DeleteRouteTableCommand({ RouteTableId }));
      });
      return () => world.patch('vipresource/awsvip', { spec: { routeTableIds: usual } });
    },
  },
];

/** Begun while EC2 is not well, which lasts for a while after it was asked. */
function moved(name: string, sum: string, hurt: (sandbox: Sandbox) => Promise<void>): Fault {
  return {
    name,
    sum,
    lasts: forMs(3_000),
    begin: async (world, before): Promise<Mend> => {
      const { sandbox } = world.cluster;
      await hurt(sandbox);
      await move(world, before);
      return () => sandbox.faults.reset();
    },
  };
}

async function move({ kubectl }: World, { other }: Situation): Promise<void> {
  await kubectl('annotate', '--overwrite', 'failovergroup/failover', `pointsman.dev/move-to=${other}`);
}

async function routesBack({ cluster }: World, { active }: Situation): Promise<void> {
  await cluster.until('the routes back', 60_000, async () => {
    const routes = Object.values(await cluster.routes());
    return routes.every((target) => target === active) || routes.join(', ');
  });
}

async function onTables(sandbox: Sandbox, act: (ec2: EC2Client, id: string) => Promise<unknown>): Promise<void> {
  const { mainTableId, routeATableId, routeBTableId } = sandbox.ids;
  await withEc2(sandbox, async (ec2) => {
    await Promise.all([mainTableId, routeATableId, routeBTableId].map((id) => act(ec2, id)));
  });
}

/** As another tool with rights of its own. */
async function withEc2(sandbox: Sandbox, act: (ec2: EC2Client) => Promise<void>): Promise<void> {
  const ec2 = new EC2Client({
    endpoint: sandbox.awsEndpoint,
    region: sandbox.ids.region,
    credentials: { accessKeyId: 'another-tool', secretAccessKey: 'another-tool' },
    requestHandler: { requestTimeout: 5_000, throwOnRequestTimeout: true },
  });
  try {
    await act(ec2);
  } finally {
    ec2.destroy();
  }
}
