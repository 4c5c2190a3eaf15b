import {
  AllocateAddressCommand,
  AssociateRouteTableCommand,
  AttachInternetGatewayCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateInternetGatewayCommand,
  CreateNatGatewayCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  ModifyVpcAttributeCommand,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2';
import { CreateFileSystemCommand, CreateMountTargetCommand, EFSClient } from '@aws-sdk/client-efs';

/** The article's cloud, as it stands before the cluster is set up: no route to the VIP, source/dest checks on. */
export interface SeededCloud {
  readonly region: string;
  readonly vpcId: string;
  readonly vpcCidr: string;
  /** The VPC's main table, the public one: of A1, B1, and of any subnet that has no table of its own. */
  readonly mainTableId: string;
  /** Of A2. */
  readonly routeATableId: string;
  /** Of B2. */
  readonly routeBTableId: string;
  readonly subnets: Readonly<Record<SubnetName, SeededSubnet>>;
  readonly internetGatewayId: string;
  readonly natGatewayIds: readonly [string, string];
  readonly server1: SeededServer;
  readonly server2: SeededServer;
  readonly nodeSecurityGroupId: string;
  readonly efsSecurityGroupId: string;
  readonly fileSystemId: string;
  /** In A2 and in B2. */
  readonly mountTargetIds: readonly [string, string];
}

export type SubnetName = 'A1' | 'A2' | 'B1' | 'B2';

export interface SeededSubnet {
  readonly id: string;
  readonly cidr: string;
  readonly zone: string;
}

export interface SeededServer {
  readonly instanceId: string;
  readonly networkInterfaceId: string;
  readonly privateIp: string;
  readonly mac: string;
  readonly zone: string;
  readonly subnetId: string;
}

const REGION = 'us-east-1';
const VPC_CIDR = '10.0.0.0/16';
const SUBNETS = {
  A1: { cidr: '10.0.1.0/24', zone: 'us-east-1a' },
  A2: { cidr: '10.0.2.0/24', zone: 'us-east-1a' },
  B1: { cidr: '10.0.3.0/24', zone: 'us-east-1b' },
  B2: { cidr: '10.0.4.0/24', zone: 'us-east-1b' },
} as const satisfies Record<SubnetName, Omit<SeededSubnet, 'id'>>;

/**
 * moto draws every id from one generator. The same start and the same calls in the same order, one at a time, give the
 * same ids, so manifests/examples can name them.
 */
const GENERATOR_START = 42;
const SETTLE_TIMEOUT_MS = 60_000;

/** Empties the emulator at `endpoint` and builds the article's VPC in it. The ids are the same every time. */
export async function seedCloud(endpoint: string): Promise<SeededCloud> {
  await motoApi(endpoint, 'reset');
  await motoApi(endpoint, `seed?a=${GENERATOR_START}`);
  const config = {
    endpoint,
    region: REGION,
    credentials: { accessKeyId: 'testing', secretAccessKey: 'testing' },
    // A call that is made twice would draw other ids.
    maxAttempts: 1,
    requestHandler: { requestTimeout: SETTLE_TIMEOUT_MS, throwOnRequestTimeout: true },
  };
  const ec2 = new EC2Client(config);
  const efs = new EFSClient(config);
  try {
    return await build(ec2, efs);
  } finally {
    ec2.destroy();
    efs.destroy();
  }
}

async function motoApi(endpoint: string, path: string): Promise<void> {
  const answer = await fetch(`${endpoint}/moto-api/${path}`, {
    method: 'POST',
    signal: AbortSignal.timeout(SETTLE_TIMEOUT_MS),
  });
  if (!answer.ok) throw new Error(`Cannot seed the cloud: ${path} answered ${answer.status}`);
}

async function build(ec2: EC2Client, efs: EFSClient): Promise<SeededCloud> {
  const vpcId = got((await ec2.send(new CreateVpcCommand({ CidrBlock: VPC_CIDR }))).Vpc?.VpcId);
  await ec2.send(new ModifyVpcAttributeCommand({ VpcId: vpcId, EnableDnsSupport: { Value: true } }));
  await ec2.send(new ModifyVpcAttributeCommand({ VpcId: vpcId, EnableDnsHostnames: { Value: true } }));

  const subnets = {
    A1: await createSubnet(ec2, vpcId, 'A1'),
    A2: await createSubnet(ec2, vpcId, 'A2'),
    B1: await createSubnet(ec2, vpcId, 'B1'),
    B2: await createSubnet(ec2, vpcId, 'B2'),
  };

  const gateway = await ec2.send(new CreateInternetGatewayCommand({}));
  const internetGatewayId = got(gateway.InternetGateway?.InternetGatewayId);
  await ec2.send(new AttachInternetGatewayCommand({ InternetGatewayId: internetGatewayId, VpcId: vpcId }));
  const natA = await createNat(ec2, subnets.A1.id);
  const natB = await createNat(ec2, subnets.B1.id);

  const mainTableId = await findMainTable(ec2, vpcId);
  const routeATableId = await createTable(ec2, vpcId, 'Route-A');
  const routeBTableId = await createTable(ec2, vpcId, 'Route-B');
  const everywhere = { DestinationCidrBlock: '0.0.0.0/0' };
  await ec2.send(new CreateRouteCommand({ RouteTableId: mainTableId, ...everywhere, GatewayId: internetGatewayId }));
  await ec2.send(new CreateRouteCommand({ RouteTableId: routeATableId, ...everywhere, NatGatewayId: natA }));
  await ec2.send(new CreateRouteCommand({ RouteTableId: routeBTableId, ...everywhere, NatGatewayId: natB }));
  await ec2.send(new AssociateRouteTableCommand({ RouteTableId: routeATableId, SubnetId: subnets.A2.id }));
  await ec2.send(new AssociateRouteTableCommand({ RouteTableId: routeBTableId, SubnetId: subnets.B2.id }));

  const nodeSecurityGroupId = await createGroup(ec2, vpcId, 'node', 'The servers of the cluster');
  const efsSecurityGroupId = await createGroup(ec2, vpcId, 'efs', 'NFS from the servers');
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: efsSecurityGroupId,
      IpPermissions: [
        { IpProtocol: 'tcp', FromPort: 2049, ToPort: 2049, UserIdGroupPairs: [{ GroupId: nodeSecurityGroupId }] },
      ],
    }),
  );
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: nodeSecurityGroupId,
      IpPermissions: [{ IpProtocol: 'tcp', FromPort: 9000, ToPort: 9090, IpRanges: [{ CidrIp: VPC_CIDR }] }],
    }),
  );

  const server1 = await runServer(ec2, 'server1', '10.0.2.10', subnets.A2, nodeSecurityGroupId);
  const server2 = await runServer(ec2, 'server2', '10.0.4.10', subnets.B2, nodeSecurityGroupId);

  const fileSystem = await efs.send(new CreateFileSystemCommand({ CreationToken: 'pointsman', Encrypted: true }));
  const fileSystemId = got(fileSystem.FileSystemId);
  const mountA = await createMountTarget(efs, fileSystemId, subnets.A2.id, efsSecurityGroupId);
  const mountB = await createMountTarget(efs, fileSystemId, subnets.B2.id, efsSecurityGroupId);

  return {
    region: REGION,
    vpcId,
    vpcCidr: VPC_CIDR,
    mainTableId,
    routeATableId,
    routeBTableId,
    subnets,
    internetGatewayId,
    natGatewayIds: [natA, natB],
    server1,
    server2,
    nodeSecurityGroupId,
    efsSecurityGroupId,
    fileSystemId,
    mountTargetIds: [mountA, mountB],
  };
}

async function createSubnet(ec2: EC2Client, vpcId: string, name: SubnetName): Promise<SeededSubnet> {
  const { cidr, zone } = SUBNETS[name];
  const answer = await ec2.send(
    new CreateSubnetCommand({
      VpcId: vpcId,
      CidrBlock: cidr,
      AvailabilityZone: zone,
      TagSpecifications: [{ ResourceType: 'subnet', Tags: [{ Key: 'Name', Value: name }] }],
    }),
  );
  return { id: got(answer.Subnet?.SubnetId), cidr, zone };
}

async function createNat(ec2: EC2Client, subnetId: string): Promise<string> {
  const address = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
  const nat = await ec2.send(
    new CreateNatGatewayCommand({ SubnetId: subnetId, AllocationId: got(address.AllocationId) }),
  );
  return got(nat.NatGateway?.NatGatewayId);
}

async function findMainTable(ec2: EC2Client, vpcId: string): Promise<string> {
  const answer = await ec2.send(
    new DescribeRouteTablesCommand({
      Filters: [
        { Name: 'vpc-id', Values: [vpcId] },
        { Name: 'association.main', Values: ['true'] },
      ],
    }),
  );
  return got(answer.RouteTables?.[0]?.RouteTableId);
}

async function createTable(ec2: EC2Client, vpcId: string, name: string): Promise<string> {
  const answer = await ec2.send(
    new CreateRouteTableCommand({
      VpcId: vpcId,
      TagSpecifications: [{ ResourceType: 'route-table', Tags: [{ Key: 'Name', Value: name }] }],
    }),
  );
  return got(answer.RouteTable?.RouteTableId);
}

async function createGroup(ec2: EC2Client, vpcId: string, name: string, description: string): Promise<string> {
  const answer = await ec2.send(
    new CreateSecurityGroupCommand({ VpcId: vpcId, GroupName: name, Description: description }),
  );
  return got(answer.GroupId);
}

async function runServer(
  ec2: EC2Client,
  name: string,
  privateIp: string,
  subnet: SeededSubnet,
  securityGroupId: string,
): Promise<SeededServer> {
  const answer = await ec2.send(
    new RunInstancesCommand({
      // Any id does: moto does not look for it.
      ImageId: 'ami-00000000000000000',
      InstanceType: 't3.large',
      MinCount: 1,
      MaxCount: 1,
      NetworkInterfaces: [
        { DeviceIndex: 0, SubnetId: subnet.id, PrivateIpAddress: privateIp, Groups: [securityGroupId] },
      ],
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: name }] }],
    }),
  );
  const instance = answer.Instances?.[0];
  const nic = instance?.NetworkInterfaces?.[0];
  return {
    instanceId: got(instance?.InstanceId),
    networkInterfaceId: got(nic?.NetworkInterfaceId),
    privateIp: got(nic?.PrivateIpAddress),
    mac: got(nic?.MacAddress),
    zone: subnet.zone,
    subnetId: subnet.id,
  };
}

async function createMountTarget(
  efs: EFSClient,
  fileSystemId: string,
  subnetId: string,
  securityGroupId: string,
): Promise<string> {
  const answer = await efs.send(
    new CreateMountTargetCommand({
      FileSystemId: fileSystemId,
      SubnetId: subnetId,
      SecurityGroups: [securityGroupId],
    }),
  );
  return got(answer.MountTargetId);
}

/** The SDK types every field of an answer as optional. */
function got<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('Cannot seed the cloud: the emulator left a field out of its answer');
  return value;
}
