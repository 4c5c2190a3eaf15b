import {
  CreateRouteCommand,
  DeleteRouteCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeRouteTablesCommand,
  DescribeVpcAttributeCommand,
  DescribeVpcsCommand,
  EC2Client,
  type EC2ClientConfig,
  type Filter,
  ModifyNetworkInterfaceAttributeCommand,
  ReplaceRouteCommand,
  type Instance as SdkInstance,
  type InstanceNetworkInterface as SdkInterface,
  type Route as SdkRoute,
  type RouteTable as SdkRouteTable,
  type InstanceStateChange as SdkStateChange,
  type Vpc as SdkVpc,
  StartInstancesCommand,
  StopInstancesCommand,
} from '@aws-sdk/client-ec2';
import type {
  Call,
  Ec2,
  Instance,
  InstanceState,
  NetworkInterface,
  Route,
  RouteOrder,
  RouteTable,
  Vpc,
} from './ec2.ts';
import { INSTANCE_STATES } from './ec2.ts';
import { awsError, isDryRunPassed, Missing, Unanswered } from './errors.ts';

export interface SdkEc2Options {
  readonly region: string;
  /** Default: AWS_ENDPOINT_URL, else AWS itself. */
  readonly endpoint?: string;
  /** Default: the SDK's chain, from the environment to the instance's role. */
  readonly credentials?: EC2ClientConfig['credentials'];
}

export interface SdkEc2 extends Ec2 {
  /** Closes its connections. */
  close(): void;
}

/** A call on the path of a failover that has had no answer for this long is better made again. */
const URGENT_ATTEMPT_MS = 2_500;
const PATIENT_ATTEMPT_MS = 10_000;
const CONNECT_MS = 1_000;

/** An operating system that hangs, or stands still, is not asked: StopInstances, SkipOsShutdown. */
const TAKE_POWER = { Force: true, SkipOsShutdown: true };

/** "You can specify up to 200 values per request": DescribeRouteTables, Filters. */
const FILTER_VALUES = 200;
/** The largest page of DescribeRouteTables; DescribeInstances would allow 1000. */
const PAGE = 100;

/**
 * EC2 by the AWS SDK, with two clients, so that a slow look never holds a connection, or a retry token, that a failover
 * needs:
 * - urgent: one attempt. The SDK's own wait after a throttled call is 0.7 to 1 s and cannot be shortened.
 * - patient: the SDK's three attempts.
 *
 * `throwOnRequestTimeout` because `requestTimeout` alone only logs a warning.
 */
export function createSdkEc2(options: SdkEc2Options): SdkEc2 {
  const client = (maxAttempts: number, requestTimeout: number) =>
    new EC2Client({
      region: options.region,
      maxAttempts,
      requestHandler: { requestTimeout, throwOnRequestTimeout: true, connectionTimeout: CONNECT_MS },
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    });
  const urgent = client(1, URGENT_ATTEMPT_MS);
  const patient = client(3, PATIENT_ATTEMPT_MS);
  const toRead = (call: Call) => (call.urgent ? urgent : patient);

  return {
    region: options.region,

    async describeRoutes(tableIds, call) {
      const found = await inBatches(tableIds, (ids) =>
        send(`read route tables ${ids.join(', ')}`, 'ec2:DescribeRouteTables', call, (abort) =>
          everyPage(
            (token) => toRead(call).send(new DescribeRouteTablesCommand(page('route-table-id', ids, token)), abort),
            (answer) => answer.RouteTables ?? [],
          ),
        ),
      );
      return byId(tableIds, found.map(routeTable));
    },

    async createRoute(route, call) {
      await send(`create the route ${words(route)}`, 'ec2:CreateRoute', call, (abort) =>
        urgent.send(new CreateRouteCommand(order(route)), abort),
      );
    },

    async replaceRoute(route, call) {
      await send(`replace the route ${words(route)}`, 'ec2:ReplaceRoute', call, (abort) =>
        urgent.send(new ReplaceRouteCommand(order(route)), abort),
      );
    },

    async deleteRoute(route, call) {
      const { tableId, destination } = route;
      await send(`delete the route ${destination} in ${tableId}`, 'ec2:DeleteRoute', call, (abort) =>
        urgent.send(new DeleteRouteCommand({ RouteTableId: tableId, ...destinationOf(destination) }), abort),
      );
    },

    async describeInstances(ids, call) {
      const found = await inBatches(ids, (batch) =>
        send(`look at instances ${batch.join(', ')}`, 'ec2:DescribeInstances', call, (abort) =>
          everyPage(
            (token) => toRead(call).send(new DescribeInstancesCommand(page('instance-id', batch, token)), abort),
            (answer) => (answer.Reservations ?? []).flatMap((reservation) => reservation.Instances ?? []),
          ),
        ),
      );
      return byId(ids, found.map(instance));
    },

    async setSourceDestCheck(networkInterfaceId, on, call) {
      const deed = `switch the source/destination check of ${networkInterfaceId} ${on ? 'on' : 'off'}`;
      await send(deed, 'ec2:ModifyNetworkInterfaceAttribute', call, (abort) =>
        urgent.send(
          new ModifyNetworkInterfaceAttributeCommand({
            NetworkInterfaceId: networkInterfaceId,
            SourceDestCheck: { Value: on },
          }),
          abort,
        ),
      );
    },

    async describeVpc(vpcId, call) {
      try {
        const [vpcs, support, hostnames] = await Promise.all([
          send(`look at ${vpcId}`, 'ec2:DescribeVpcs', call, (abort) =>
            toRead(call).send(new DescribeVpcsCommand({ VpcIds: [vpcId] }), abort),
          ),
          attribute('enableDnsSupport'),
          attribute('enableDnsHostnames'),
        ]);
        const found = vpcs.Vpcs?.[0];
        if (found === undefined) return 'missing';
        return vpc(vpcId, found, support.EnableDnsSupport?.Value, hostnames.EnableDnsHostnames?.Value);
      } catch (error) {
        if (error instanceof Missing) return 'missing';
        throw error;
      }

      function attribute(name: 'enableDnsSupport' | 'enableDnsHostnames') {
        return send(`read ${name} of ${vpcId}`, 'ec2:DescribeVpcAttribute', call, (abort) =>
          toRead(call).send(new DescribeVpcAttributeCommand({ VpcId: vpcId, Attribute: name }), abort),
        );
      }
    },

    async stopInstance(id, call) {
      const answer = await send(`stop instance ${id}`, 'ec2:StopInstances', call, (abort) =>
        urgent.send(new StopInstancesCommand({ InstanceIds: [id], ...TAKE_POWER }), abort),
      );
      const change = changeOf(id, answer.StoppingInstances);
      return { was: stateOf(id, change?.PreviousState?.Name), now: stateOf(id, change?.CurrentState?.Name) };
    },

    async startInstance(id, call) {
      const answer = await send(`start instance ${id}`, 'ec2:StartInstances', call, (abort) =>
        urgent.send(new StartInstancesCommand({ InstanceIds: [id] }), abort),
      );
      return stateOf(id, changeOf(id, answer.StartingInstances)?.CurrentState?.Name);
    },

    async mayChangePower(id, change, call) {
      const action = change === 'stop' ? 'ec2:StopInstances' : 'ec2:StartInstances';
      await send(`${change} instance ${id}`, action, call, async (abort) => {
        const asked = { InstanceIds: [id], DryRun: true };
        try {
          if (change === 'stop') await patient.send(new StopInstancesCommand({ ...asked, ...TAKE_POWER }), abort);
          else await patient.send(new StartInstancesCommand(asked), abort);
        } catch (error) {
          if (!isDryRunPassed(error)) throw error;
        }
      });
    },

    async isStopProtected(id, call) {
      const deed = `read the stop protection of instance ${id}`;
      const answer = await send(deed, 'ec2:DescribeInstanceAttribute', call, (abort) =>
        patient.send(new DescribeInstanceAttributeCommand({ InstanceId: id, Attribute: 'disableApiStop' }), abort),
      );
      return answer.DisableApiStop?.Value ?? false;
    },

    close() {
      urgent.destroy();
      patient.destroy();
    },
  };
}

/**
 * Makes a call that ends in time and fails in our words. The race is not idle: the SDK does not look at the signal
 * while it fetches credentials.
 */
async function send<T>(
  deed: string,
  action: string,
  call: Call,
  make: (abort: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const beganMs = performance.now();
  const limit = AbortSignal.timeout(Math.max(1, Math.ceil(call.timeoutMs)));
  const signal = call.signal === undefined ? limit : AbortSignal.any([limit, call.signal]);
  let stopWaiting = () => {};
  const ended = new Promise<never>((_, reject) => {
    const end = () => {
      const waitedMs = Math.round(performance.now() - beganMs);
      reject(new Unanswered(`Cannot ${deed}: EC2 has not answered within ${waitedMs} ms`));
    };
    if (signal.aborted) return end();
    signal.addEventListener('abort', end, { once: true });
    stopWaiting = () => signal.removeEventListener('abort', end);
  });
  const made = signal.aborted
    ? ended
    : make({ abortSignal: signal }).catch((error) => {
        // An aborted call is told by `ended`, which knows why.
        if (signal.aborted) return ended;
        throw awsError(error, deed, action);
      });
  try {
    return await Promise.race([made, ended]);
  } finally {
    stopWaiting();
  }
}

async function inBatches<T>(ids: readonly string[], ask: (batch: string[]) => Promise<T[]>): Promise<T[]> {
  const unique = [...new Set(ids)];
  const batches: string[][] = [];
  for (let i = 0; i < unique.length; i += FILTER_VALUES) batches.push(unique.slice(i, i + FILTER_VALUES));
  return (await Promise.all(batches.map(ask))).flat();
}

/** Asked by filter, not by id: an id that does not exist fails the whole call, a filter value merely finds nothing. */
function page(filter: string, ids: string[], token: string | undefined): { Filters: Filter[]; MaxResults: number } {
  return { Filters: [{ Name: filter, Values: ids }], MaxResults: PAGE, ...(token ? { NextToken: token } : {}) };
}

async function everyPage<A extends { NextToken?: string | undefined }, T>(
  ask: (token: string | undefined) => Promise<A>,
  items: (answer: A) => T[],
): Promise<T[]> {
  const all: T[] = [];
  let token: string | undefined;
  do {
    const answer = await ask(token);
    all.push(...items(answer));
    token = answer.NextToken || undefined;
  } while (token !== undefined);
  return all;
}

function byId<T extends { id: string }>(ids: readonly string[], found: readonly T[]): Map<string, T | 'missing'> {
  const answer = new Map<string, T | 'missing'>(ids.map((id) => [id, 'missing']));
  for (const item of found) answer.set(item.id, item);
  return answer;
}

function words(route: RouteOrder): string {
  return `${route.destination} in ${route.tableId} to ${route.networkInterfaceId}`;
}

function order(route: RouteOrder) {
  return {
    RouteTableId: route.tableId,
    NetworkInterfaceId: route.networkInterfaceId,
    ...destinationOf(route.destination),
  };
}

function destinationOf(cidr: string) {
  return cidr.includes(':') ? { DestinationIpv6CidrBlock: cidr } : { DestinationCidrBlock: cidr };
}

function routeTable(table: SdkRouteTable): RouteTable {
  return { id: table.RouteTableId ?? '', vpcId: table.VpcId ?? '', routes: (table.Routes ?? []).map(route) };
}

function route(from: SdkRoute): Route {
  return {
    destination: from.DestinationCidrBlock ?? from.DestinationIpv6CidrBlock ?? from.DestinationPrefixListId ?? '',
    target:
      from.NetworkInterfaceId ??
      from.InstanceId ??
      from.NatGatewayId ??
      from.TransitGatewayId ??
      from.VpcPeeringConnectionId ??
      from.EgressOnlyInternetGatewayId ??
      from.LocalGatewayId ??
      from.CarrierGatewayId ??
      from.CoreNetworkArn ??
      from.GatewayId ??
      'unknown',
    state: from.State === 'blackhole' ? 'blackhole' : 'active',
  };
}

function changeOf(id: string, changes: readonly SdkStateChange[] | undefined): SdkStateChange | undefined {
  return changes?.find(({ InstanceId }) => InstanceId === id);
}

function stateOf(id: string | undefined, name: string | undefined): InstanceState {
  const state = INSTANCE_STATES.find((known) => known === name);
  if (state === undefined) throw new Unanswered(`Cannot look at instance ${id}: its state ${name} is not known`);
  return state;
}

function instance(from: SdkInstance): Instance {
  const interfaces = from.NetworkInterfaces ?? [];
  const primary = interfaces.find((candidate) => candidate.Attachment?.DeviceIndex === 0)?.NetworkInterfaceId;
  return {
    id: from.InstanceId ?? '',
    state: stateOf(from.InstanceId, from.State?.Name),
    ...(from.StateReason?.Code ? { stateReason: from.StateReason.Code } : {}),
    zone: from.Placement?.AvailabilityZone ?? '',
    vpcId: from.VpcId ?? '',
    subnetId: from.SubnetId ?? '',
    ...(primary === undefined ? {} : { primaryInterfaceId: primary }),
    interfaces: interfaces.map(networkInterface),
  };
}

function networkInterface(from: SdkInterface): NetworkInterface {
  return {
    id: from.NetworkInterfaceId ?? '',
    attached: from.Attachment?.Status === 'attached',
    // On is AWS's default, and the one that needs doing something about.
    sourceDestCheck: from.SourceDestCheck ?? true,
    privateIp: from.PrivateIpAddress ?? '',
    subnetId: from.SubnetId ?? '',
    vpcId: from.VpcId ?? '',
  };
}

function vpc(id: string, from: SdkVpc, dnsSupport: boolean | undefined, dnsHostnames: boolean | undefined): Vpc {
  const v4 = from.CidrBlockAssociationSet ?? [];
  const v6 = from.Ipv6CidrBlockAssociationSet ?? [];
  const cidrs = [
    ...v4.filter((block) => block.CidrBlockState?.State !== 'disassociated').map((block) => block.CidrBlock),
    ...v6.filter((block) => block.Ipv6CidrBlockState?.State !== 'disassociated').map((block) => block.Ipv6CidrBlock),
  ];
  return {
    id,
    cidrs: cidrs.filter((cidr) => cidr !== undefined),
    dnsSupport: dnsSupport ?? false,
    dnsHostnames: dnsHostnames ?? false,
  };
}
