import { DescribeNetworkInterfacesCommand, DescribeRouteTablesCommand, EC2Client } from '@aws-sdk/client-ec2';
import type { Ec2State } from './router-plan.ts';

/** The emulated EC2 as its own data plane and hypervisor see it: from behind, past every fault that is injected. */
export interface Ec2Backdoor {
  read(): Promise<Ec2State>;
  instance(id: string): Promise<InstanceSeen>;
  /** The hypervisor's word that an instance has come into a state. */
  confirm(id: string, state: 'running' | 'stopped' | 'terminated'): Promise<void>;
}

export interface InstanceSeen {
  readonly instanceId: string;
  readonly state: string;
  readonly lastStop: { readonly force: boolean; readonly skipOsShutdown: boolean; readonly hibernate: boolean } | null;
  /** How often RebootInstances was called. */
  readonly reboots: number;
}

const LIMIT_MS = 5_000;

export function openBackdoor(
  endpoint: string,
  region: string,
  vpcId: string,
  instanceIds: readonly string[],
): Ec2Backdoor {
  const ec2 = new EC2Client({
    endpoint,
    region,
    credentials: { accessKeyId: 'hypervisor', secretAccessKey: 'hypervisor' },
    requestHandler: { requestTimeout: LIMIT_MS, throwOnRequestTimeout: true },
  });
  const inVpc = { Filters: [{ Name: 'vpc-id', Values: [vpcId] }] };
  const door = async (path: string, body?: object): Promise<InstanceSeen> => {
    const answer = await fetch(`${endpoint}/pointsman/instances/${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    if (!answer.ok) throw new Error(`Cannot ask the emulator for ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as InstanceSeen; // `describe` in moto_aws.py
  };
  const instance = (id: string) => door(id);

  return {
    instance,
    confirm: async (id, state) => {
      await door(`${id}/state`, { state });
    },
    read: async () => {
      const [tables, interfaces, ...instances] = await Promise.all([
        ec2.send(new DescribeRouteTablesCommand(inVpc)),
        ec2.send(new DescribeNetworkInterfacesCommand(inVpc)),
        ...instanceIds.map(instance),
      ]);
      return {
        routeTables: (tables.RouteTables ?? []).map((table) => ({
          id: table.RouteTableId ?? '',
          main: (table.Associations ?? []).some((association) => association.Main),
          subnetIds: (table.Associations ?? []).flatMap(({ SubnetId }) => SubnetId ?? []),
          routes: (table.Routes ?? []).flatMap((route) =>
            route.DestinationCidrBlock === undefined
              ? [] // the sandbox has no IPv6
              : {
                  destination: route.DestinationCidrBlock,
                  target: route.NetworkInterfaceId ?? route.NatGatewayId ?? route.GatewayId ?? '',
                },
          ),
        })),
        interfaces: new Map(
          (interfaces.NetworkInterfaces ?? []).map((eni) => [
            eni.NetworkInterfaceId ?? '',
            {
              ...(eni.Attachment?.InstanceId === undefined ? {} : { instanceId: eni.Attachment.InstanceId }),
              sourceDestCheck: eni.SourceDestCheck ?? true,
            },
          ]),
        ),
        instances: new Map(instances.map(({ instanceId, state }) => [instanceId, state])),
      };
    },
  };
}
