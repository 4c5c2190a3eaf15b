import type {
  Call,
  Ec2,
  Instance,
  InstanceState,
  NetworkInterface,
  PowerChange,
  Route,
  RouteTable,
  StopAnswer,
  Vpc,
} from '../../src/aws/ec2.ts';
import {
  type AwsError,
  Denied,
  Missing,
  NoSuchRoute,
  RouteExists,
  StopProtected,
  Throttled,
  Unanswered,
  WrongState,
} from '../../src/aws/errors.ts';
import { bootClock, type Clock } from '../../src/base/clock.ts';

export type Ec2Verb = Exclude<keyof Ec2, 'region'>;

export interface Ec2Fault {
  readonly verb: Ec2Verb;
  /**
   * `stale`, of describeRoutes and describeInstances: the answer is what stood before the last change, as EC2's may be
   * for a while.
   */
  readonly fault: 'throttled' | 'denied' | 'unanswered' | 'hang' | 'lostReply' | 'stale';
  /** Of a stale describeInstances: how old the answer is, whatever has changed how often since. */
  readonly agoMs?: number;
  /** How many calls it takes. Default: 1. */
  readonly times?: number;
  /** Only calls about this route table, interface, instance or VPC. */
  readonly about?: string;
}

export interface FakeCall {
  readonly verb: Ec2Verb;
  readonly about: readonly string[];
}

/**
 * EC2 with state and without a network: route tables, instances and VPCs that behave as EC2's do, black holes
 * included. Time is the given clock's, faults come when asked for; nothing here is random.
 */
export class FakeEc2 implements Ec2 {
  readonly region: string;
  readonly calls: FakeCall[] = [];
  /** Added to every call. */
  latencyMs = 0;
  /** How long an instance is `stopping`, and how long `pending`; at 0 it is over when the call has answered. */
  stopTakesMs = 0;
  startTakesMs = 0;
  /** The machine behind an instance has come into a state for good: its power is off, or on. */
  onPower: (id: string, state: 'stopped' | 'running' | 'terminated') => void = () => {};
  readonly #clock: Clock;
  readonly #tables = new Map<string, Table>();
  readonly #instances = new Map<string, Instance>();
  /** What stood of an instance until it changed, in the order of the changes. */
  readonly #past = new Map<string, { readonly untilMs: number; readonly instance: Instance }[]>();
  readonly #stopProtected = new Set<string>();
  readonly #vpcs = new Map<string, Vpc>();
  readonly #faults: { fault: Ec2Fault; left: number }[] = [];

  constructor(options: { region?: string; clock?: Clock } = {}) {
    this.region = options.region ?? 'us-east-1';
    this.#clock = options.clock ?? bootClock;
  }

  // What the test sets up, or what happens in the cloud.

  addVpc(vpc: Vpc): void {
    this.#vpcs.set(vpc.id, vpc);
  }

  addTable(id: string, vpcId: string): void {
    this.#tables.set(id, { vpcId, targets: new Map(), before: new Map() });
  }

  removeTable(id: string): void {
    this.#tables.delete(id);
  }

  addInstance(instance: Instance): void {
    this.#instances.set(instance.id, instance);
  }

  /** `stateReason` as EC2 names it; a terminated instance loses its interfaces. */
  setInstanceState(id: string, state: InstanceState, stateReason?: string): void {
    const before = this.#instance(id);
    const { stateReason: _, primaryInterfaceId, ...rest } = before;
    const keepsInterfaces = state !== 'terminated';
    const past = this.#past.get(id) ?? [];
    this.#past.set(id, past);
    past.push({ untilMs: this.#clock.nowMs(), instance: before });
    this.#instances.set(id, {
      ...rest,
      state,
      ...(stateReason === undefined ? {} : { stateReason }),
      ...(keepsInterfaces && primaryInterfaceId !== undefined ? { primaryInterfaceId } : {}),
      interfaces: keepsInterfaces ? before.interfaces : [],
    });
    if (state === 'stopped' || state === 'running' || state === 'terminated') this.onPower(id, state);
  }

  instanceOf(id: string): Instance {
    return this.#instance(id);
  }

  protectFromStop(id: string, on: boolean): void {
    if (on) this.#stopProtected.add(id);
    else this.#stopProtected.delete(id);
  }

  changeInterface(id: string, change: Partial<NetworkInterface>): void {
    for (const instance of this.#instances.values()) {
      const interfaces = instance.interfaces.map((nic) => (nic.id === id ? { ...nic, ...change } : nic));
      this.#instances.set(instance.id, { ...instance, interfaces });
    }
  }

  /** Somebody else points a route somewhere, or, with undefined, deletes it. */
  setRoute(tableId: string, destination: string, target: string | undefined): void {
    change(this.#table(tableId, 'set a route'), destination, target);
  }

  routeOf(tableId: string, destination: string): Route | undefined {
    return this.#routeTable(tableId)?.routes.find((route) => route.destination === destination);
  }

  fail(fault: Ec2Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 });
  }

  heal(): void {
    this.#faults.length = 0;
  }

  // EC2 itself.

  async describeRoutes(tableIds: readonly string[], call: Call): Promise<ReadonlyMap<string, RouteTable | 'missing'>> {
    return await this.#answer(
      'describeRoutes',
      tableIds,
      call,
      (stale) => new Map(tableIds.map((id) => [id, this.#routeTable(id, stale !== undefined) ?? ('missing' as const)])),
    );
  }

  async createRoute(
    route: { tableId: string; destination: string; networkInterfaceId: string },
    call: Call,
  ): Promise<void> {
    await this.#answer('createRoute', [route.tableId, route.networkInterfaceId], call, () => {
      const table = this.#table(route.tableId, 'create a route');
      this.#requireInterface(route.networkInterfaceId);
      if (table.targets.has(route.destination)) {
        throw new RouteExists(`Cannot create the route ${route.destination} in ${route.tableId}: RouteAlreadyExists`);
      }
      change(table, route.destination, route.networkInterfaceId);
    });
  }

  async replaceRoute(
    route: { tableId: string; destination: string; networkInterfaceId: string },
    call: Call,
  ): Promise<void> {
    await this.#answer('replaceRoute', [route.tableId, route.networkInterfaceId], call, () => {
      const table = this.#table(route.tableId, 'replace a route');
      if (!table.targets.has(route.destination)) {
        throw new NoSuchRoute(`Cannot replace the route ${route.destination} in ${route.tableId}: no route defined`);
      }
      this.#requireInterface(route.networkInterfaceId);
      change(table, route.destination, route.networkInterfaceId);
    });
  }

  async deleteRoute(route: { tableId: string; destination: string }, call: Call): Promise<void> {
    await this.#answer('deleteRoute', [route.tableId], call, () => {
      const table = this.#table(route.tableId, 'delete a route');
      if (!table.targets.has(route.destination)) {
        throw new NoSuchRoute(`Cannot delete the route ${route.destination} in ${route.tableId}: no route defined`);
      }
      change(table, route.destination, undefined);
    });
  }

  async describeInstances(ids: readonly string[], call: Call): Promise<ReadonlyMap<string, Instance | 'missing'>> {
    return await this.#answer('describeInstances', ids, call, (stale) => {
      const before = (id: string) => stale && this.#before(id, stale.agoMs);
      return new Map(ids.map((id) => [id, before(id) ?? this.#instances.get(id) ?? ('missing' as const)]));
    });
  }

  async setSourceDestCheck(networkInterfaceId: string, on: boolean, call: Call): Promise<void> {
    await this.#answer('setSourceDestCheck', [networkInterfaceId], call, () => {
      this.#requireInterface(networkInterfaceId);
      this.changeInterface(networkInterfaceId, { sourceDestCheck: on });
    });
  }

  async describeVpc(vpcId: string, call: Call): Promise<Vpc | 'missing'> {
    return await this.#answer('describeVpc', [vpcId], call, () => this.#vpcs.get(vpcId) ?? 'missing');
  }

  async stopInstance(id: string, call: Call): Promise<StopAnswer> {
    return await this.#answer('stopInstance', [id], call, () => {
      const { state } = this.#requireStoppable(id);
      if (state === 'stopped' || state === 'stopping') return { was: state, now: state };
      this.setInstanceState(id, 'stopping', 'Client.UserInitiatedShutdown');
      this.#settle(id, 'stopping', this.stopTakesMs, () =>
        this.setInstanceState(id, 'stopped', 'Client.UserInitiatedShutdown'),
      );
      return { was: state, now: 'stopping' };
    });
  }

  async startInstance(id: string, call: Call): Promise<InstanceState> {
    return await this.#answer('startInstance', [id], call, () => {
      const { state } = this.#requireStartable(id);
      if (state !== 'stopped') return state;
      this.setInstanceState(id, 'pending');
      this.#settle(id, 'pending', this.startTakesMs, () => this.setInstanceState(id, 'running'));
      return 'pending';
    });
  }

  async mayChangePower(id: string, change: PowerChange, call: Call): Promise<void> {
    await this.#answer('mayChangePower', [id, change], call, () => {
      if (change === 'stop') this.#requireStoppable(id);
      else this.#instance(id);
    });
  }

  async isStopProtected(id: string, call: Call): Promise<boolean> {
    return await this.#answer('isStopProtected', [id], call, () => {
      this.#instance(id);
      return this.#stopProtected.has(id);
    });
  }

  #before(id: string, agoMs: number | undefined): Instance | undefined {
    const past = this.#past.get(id) ?? [];
    if (agoMs === undefined) return past.at(-1)?.instance;
    const thenMs = this.#clock.nowMs() - agoMs;
    return past.find(({ untilMs }) => untilMs > thenMs)?.instance;
  }

  /** Unless somebody else has brought it into another state meanwhile. */
  #settle(id: string, from: InstanceState, afterMs: number, settle: () => void): void {
    if (afterMs <= 0) settle();
    else
      this.#clock.after(afterMs, () => {
        if (this.#instances.get(id)?.state === from) settle();
      });
  }

  #requireStoppable(id: string): Instance {
    const instance = this.#instance(id);
    if (this.#stopProtected.has(id))
      throw new StopProtected(
        `Cannot stop instance ${id}: OperationNotPermitted: modify its 'disableApiStop' attribute`,
      );
    if (instance.state === 'terminated' || instance.state === 'shutting-down')
      throw wrongState(id, instance, 'stopped');
    return instance;
  }

  #requireStartable(id: string): Instance {
    const instance = this.#instance(id);
    if (!['stopped', 'running', 'pending'].includes(instance.state)) throw wrongState(id, instance, 'started');
    return instance;
  }

  /** Time passes, faults strike, and only then is the state touched. */
  async #answer<T>(
    verb: Ec2Verb,
    about: readonly string[],
    call: Call,
    act: (stale: Ec2Fault | undefined) => T,
  ): Promise<T> {
    this.calls.push({ verb, about });
    const next = this.#nextFault(verb, about);
    const fault = next?.fault;
    if (fault === 'hang' || call.signal?.aborted) await this.#silence(verb, call);
    await this.#pass(verb, call);
    const error = errorOf(fault, verb);
    if (error !== undefined) throw error;
    const result = act(fault === 'stale' ? next : undefined);
    if (fault === 'lostReply') throw unanswered(verb, 'the connection was lost');
    return result;
  }

  #nextFault(verb: Ec2Verb, about: readonly string[]): Ec2Fault | undefined {
    const entry = this.#faults.find(
      ({ fault, left }) =>
        left > 0 && fault.verb === verb && (fault.about === undefined || about.includes(fault.about)),
    );
    if (entry === undefined) return undefined;
    entry.left -= 1;
    return entry.fault;
  }

  async #pass(verb: Ec2Verb, call: Call): Promise<void> {
    if (this.latencyMs <= 0) return;
    if (this.latencyMs >= call.timeoutMs) await this.#silence(verb, call);
    await this.#clock.sleep(this.latencyMs, call.signal).catch(() => {
      throw unanswered(verb, 'given up');
    });
  }

  async #silence(verb: Ec2Verb, call: Call): Promise<never> {
    await this.#clock.sleep(call.timeoutMs, call.signal).catch(() => {});
    throw unanswered(verb, `EC2 has not answered within ${call.timeoutMs} ms`);
  }

  #table(id: string, deed: string): Table {
    const table = this.#tables.get(id);
    if (table === undefined) throw new Missing(`Cannot ${deed} in ${id}: InvalidRouteTableID.NotFound`);
    return table;
  }

  #instance(id: string): Instance {
    const instance = this.#instances.get(id);
    if (instance === undefined) throw new Missing(`Cannot find instance ${id}: InvalidInstanceID.NotFound`);
    return instance;
  }

  #requireInterface(id: string): void {
    if (this.#ownerOf(id) === undefined) {
      throw new Missing(`Cannot use ${id}: InvalidNetworkInterfaceID.NotFound`);
    }
  }

  #ownerOf(networkInterfaceId: string): Instance | undefined {
    return [...this.#instances.values()].find((instance) =>
      instance.interfaces.some((nic) => nic.id === networkInterfaceId),
    );
  }

  #routeTable(id: string, stale = false): RouteTable | undefined {
    const table = this.#tables.get(id);
    if (table === undefined) return undefined;
    const routes = [...(stale ? table.before : table.targets)].map(([destination, target]): Route => {
      return { destination, target, state: this.#takesTraffic(target) ? 'active' : 'blackhole' };
    });
    return { id, vpcId: table.vpcId, routes };
  }

  #takesTraffic(target: string): boolean {
    if (!target.startsWith('eni-')) return true;
    const owner = this.#ownerOf(target);
    const attached = owner?.interfaces.some((nic) => nic.id === target && nic.attached) ?? false;
    return attached && (owner?.state === 'running' || owner?.state === 'pending');
  }
}

interface Table {
  readonly vpcId: string;
  readonly targets: Map<string, string>;
  /** What stood before the last change. */
  before: ReadonlyMap<string, string>;
}

function change(table: Table, destination: string, target: string | undefined): void {
  table.before = new Map(table.targets);
  if (target === undefined) table.targets.delete(destination);
  else table.targets.set(destination, target);
}

function errorOf(fault: Ec2Fault['fault'] | undefined, verb: Ec2Verb): AwsError | undefined {
  if (fault === 'throttled') return new Throttled(`Cannot ${verb}: RequestLimitExceeded`);
  if (fault === 'denied') return new Denied(`Cannot ${verb}: UnauthorizedOperation`, `ec2:${verb}`);
  if (fault === 'unanswered') return unanswered(verb, 'InternalError');
  return undefined;
}

function wrongState(id: string, { state }: Instance, verb: string): WrongState {
  return new WrongState(`Cannot change instance ${id}: IncorrectInstanceState: ${state}, it cannot be ${verb}`);
}

function unanswered(verb: Ec2Verb, state: string): Unanswered {
  return new Unanswered(`Cannot ${verb}: ${state}`);
}
