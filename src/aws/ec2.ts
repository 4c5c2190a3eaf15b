/**
 * What we ask of EC2, in our words: the narrow edge between this project and AWS. `sdk-ec2.ts` is the real one,
 * `test/fakes/ec2.ts` the one with state that tests and the simulator share. One region each.
 *
 * Every call ends within its `timeoutMs` and rejects with an {@link import('./errors.ts').AwsError}. Ids that do not
 * exist are answers, not errors, so one of them never spoils a question about many.
 */
export interface Ec2 {
  readonly region: string;
  describeRoutes(tableIds: readonly string[], call: Call): Promise<ReadonlyMap<string, RouteTable | 'missing'>>;
  createRoute(route: RouteOrder, call: Call): Promise<void>;
  replaceRoute(route: RouteOrder, call: Call): Promise<void>;
  /** Deleting a route that is not there rejects with NoSuchRoute. */
  deleteRoute(route: Omit<RouteOrder, 'networkInterfaceId'>, call: Call): Promise<void>;
  describeInstances(ids: readonly string[], call: Call): Promise<ReadonlyMap<string, Instance | 'missing'>>;
  setSourceDestCheck(networkInterfaceId: string, on: boolean, call: Call): Promise<void>;
  describeVpc(vpcId: string, call: Call): Promise<Vpc | 'missing'>;
  /**
   * StopInstances with Force and SkipOsShutdown: the machine is taken away from its operating system. One that is
   * stopped already stays so, without an error.
   */
  stopInstance(id: string, call: Call): Promise<StopAnswer>;
  /** One that runs already runs on, without an error. Rejects with WrongState while it is still being stopped. */
  startInstance(id: string, call: Call): Promise<InstanceState>;
  /** By DryRun: resolves where the controller's role allows it, and rejects as the real call would. Changes nothing. */
  mayChangePower(id: string, change: PowerChange, call: Call): Promise<void>;
  /** Whether its attribute `disableApiStop` is on. */
  isStopProtected(id: string, call: Call): Promise<boolean>;
}

export type PowerChange = 'stop' | 'start';

export interface Call {
  /** How long the call may take, its own retries included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** On the path of a failover: one attempt over the connections kept for that; the caller retries at its own pace. */
  readonly urgent?: boolean;
}

export interface RouteOrder {
  readonly tableId: string;
  /** In CIDR notation, IPv4 or IPv6. */
  readonly destination: string;
  readonly networkInterfaceId: string;
}

export interface RouteTable {
  readonly id: string;
  readonly vpcId: string;
  readonly routes: readonly Route[];
}

export interface Route {
  /** In CIDR notation; the id of a prefix list for a route that has one instead. */
  readonly destination: string;
  /** The id of whatever it leads to; the interface, where it leads to an instance; `local`. */
  readonly target: string;
  readonly state: 'active' | 'blackhole';
}

export const INSTANCE_STATES = ['pending', 'running', 'shutting-down', 'terminated', 'stopping', 'stopped'] as const;
export type InstanceState = (typeof INSTANCE_STATES)[number];

/** The states of an instance around a stop, by the part of EC2 that changes them. */
export interface StopAnswer {
  readonly was: InstanceState;
  readonly now: InstanceState;
}

export interface Instance {
  readonly id: string;
  readonly state: InstanceState;
  /** The code of the last transition, such as `Client.UserInitiatedShutdown`; absent while none is told. */
  readonly stateReason?: string;
  readonly zone: string;
  readonly vpcId: string;
  readonly subnetId: string;
  /** Absent once it is terminated. */
  readonly primaryInterfaceId?: string;
  readonly interfaces: readonly NetworkInterface[];
}

export interface NetworkInterface {
  readonly id: string;
  readonly attached: boolean;
  readonly sourceDestCheck: boolean;
  readonly privateIp: string;
  readonly subnetId: string;
  readonly vpcId: string;
}

export interface Vpc {
  readonly id: string;
  /** IPv4 and IPv6. */
  readonly cidrs: readonly string[];
  readonly dnsSupport: boolean;
  readonly dnsHostnames: boolean;
}
