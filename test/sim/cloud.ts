import type { Call, Ec2, InstanceState } from '../../src/aws/ec2.ts';
import { Unanswered, WrongState } from '../../src/aws/errors.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { Power } from '../../src/decide/timing.ts';
import { type Ec2Fault, type Ec2Verb, FakeEc2 } from '../fakes/ec2.ts';
import type { Machine } from './machine.ts';
import { Actor, clockOf, type Time } from './time.ts';

/** What EC2 does to some of the calls, until it is well again. */
export interface Trouble {
  /** `lost`: no answer; the call may have come through. `slow`: on the way back. */
  readonly kind: 'throttled' | 'denied' | 'lost' | 'slow' | 'stale';
  /** All of them unless given. */
  readonly verbs?: readonly Ec2Verb[];
  readonly chance: number;
}

/** The longest of each in this world. EC2 takes longer, which makes no difference but time. */
export const POWER: Power = {
  stopMs: 12_000,
  startMs: 4_000,
  // The machine, its agent, a Lease that is taken, and seen to change.
  bootMs: 8_000,
  // As src/reconcilers/fencing.ts has them.
  askMs: 8_000 + 4_000,
  roundMs: 1_000,
  startAfterMs: 10_000,
  refusedMs: 30_000,
};
const QUICKEST_STOP_MS = 200;
const SLOW_ANSWER_MS = 9_000;
/** How old a stale answer is. EC2 promises no bound. */
const STALEST_MS = 30_000;
const HAND_AGAIN_MS = 500;

/** EC2 for everybody, and what people do there by hand. The machines have their power from it. */
export class Cloud {
  readonly time: Time;
  readonly fake: FakeEc2;
  readonly actor = new Actor('EC2');
  readonly #machines: readonly Machine[];
  readonly #troubles = new Set<Trouble>();

  constructor(time: Time, machines: readonly Machine[]) {
    this.time = time;
    this.#machines = machines;
    this.fake = new FakeEc2({ clock: clockOf(time, this.actor, { bootedAtMs: 0, rate: 1 }) });
    for (const { instanceId } of machines) {
      const place = { zone: 'us-east-1a', vpcId: 'vpc-12345678', subnetId: 'subnet-1' };
      this.fake.addInstance({ id: instanceId, state: 'running', ...place, interfaces: [] });
    }
    this.fake.onPower = (id, state) => this.#power(id, state);
    this.#newSpeed();
  }

  stateOf({ instanceId }: Machine): InstanceState {
    return this.fake.instanceOf(instanceId).state;
  }

  /** Terminated, or about to be. */
  isDoomed(machine: Machine): boolean {
    return ['shutting-down', 'terminated'].includes(this.stateOf(machine));
  }

  /** How one call fares. Drawn when it arrives. */
  faultOf(verb: Ec2Verb): Trouble['kind'] | undefined {
    const { chance } = this.time;
    for (const { kind, verbs, chance: often } of this.#troubles)
      if ((kind === 'stale') <= (verb === 'describeInstances') && (verbs?.includes(verb) ?? true) && chance.hits(often))
        return kind;
    return undefined;
  }

  begin(trouble: Trouble): () => void {
    this.#troubles.add(trouble);
    return () => this.#troubles.delete(trouble);
  }

  // --- by hand ----------------------------------------------------------------------------------------------------

  /** Like the controller's stop, but nobody has promised to start it again. */
  stopByHand(machine: Machine): void {
    if (this.stateOf(machine) !== 'running') return;
    machine.tell('is stopped by somebody, in EC2');
    void this.fake.stopInstance(machine.instanceId, BY_HAND).catch(() => {});
  }

  hibernateByHand(machine: Machine): void {
    if (this.stateOf(machine) !== 'running' || !machine.up) return;
    machine.tell('is being hibernated by somebody, in EC2');
    this.fake.setInstanceState(machine.instanceId, 'stopping', HIBERNATED);
    this.time.in(this.time.chance.between(500, 5_000), this.actor, () => {
      if (this.stateOf(machine) === 'stopping') this.fake.setInstanceState(machine.instanceId, 'stopped', HIBERNATED);
    });
  }

  terminateByHand(machine: Machine): void {
    machine.tell('is terminated by somebody, in EC2');
    this.fake.setInstanceState(machine.instanceId, 'shutting-down', 'Client.UserInitiatedShutdown');
    this.time.in(this.time.chance.between(500, POWER.stopMs), this.actor, () => {
      this.fake.setInstanceState(machine.instanceId, 'terminated', 'Client.UserInitiatedShutdown');
    });
  }

  /** Again and again until it runs: whoever wants it to has seen it `stopping`. */
  startByHand(machine: Machine): void {
    const state = this.stateOf(machine);
    if (['running', 'pending', 'terminated'].includes(state)) return;
    this.fake.startInstance(machine.instanceId, BY_HAND).catch((error: unknown) => {
      if (!(error instanceof WrongState)) throw error;
      this.time.in(HAND_AGAIN_MS, this.actor, () => this.startByHand(machine));
    });
  }

  /** It takes its time, each time another. */
  #newSpeed(): void {
    const { chance } = this.time;
    this.fake.stopTakesMs = chance.longTail(QUICKEST_STOP_MS, POWER.stopMs);
    this.fake.startTakesMs = chance.between(QUICKEST_STOP_MS, POWER.startMs);
  }

  #power(id: string, state: 'stopped' | 'running' | 'terminated'): void {
    this.#newSpeed();
    const machine = this.#machines.find(({ instanceId }) => instanceId === id);
    if (machine === undefined) return;
    if (state === 'running') machine.powerOn();
    else if (state === 'stopped' && this.fake.instanceOf(id).stateReason === HIBERNATED) machine.hibernate();
    else machine.powerOff();
  }
}

const HIBERNATED = 'Client.UserInitiatedHibernate';
const BY_HAND: Call = { timeoutMs: 60_000 };

export interface Ec2Link {
  readonly cloud: Cloud;
  readonly actor: Actor;
  readonly clock: Clock;
  /** As for a request to the API server: it may die before each call and each answer. */
  readonly comesThrough: () => boolean;
}

/** EC2 as one controller comes to it: a call that was sent is done, whatever becomes of who sent it. */
export function openEc2({ cloud, actor, clock, comesThrough }: Ec2Link): Ec2 {
  const { time, fake } = cloud;
  const { chance } = time;
  const ask = <T>(verb: Ec2Verb, { timeoutMs, signal }: Call, act: () => Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      if (!comesThrough()) return;
      const giveUp = () => settle(() => reject(new Unanswered(`Cannot ${verb}: no answer within ${timeoutMs} ms`)));
      const cancel = clock.after(timeoutMs, giveUp);
      const settle = (finish: () => void) => {
        cancel();
        signal?.removeEventListener('abort', giveUp);
        finish();
      };
      if (signal?.aborted) return giveUp();
      signal?.addEventListener('abort', giveUp, { once: true });
      time.in(chance.longTail(2, 80), cloud.actor, () => {
        const fault = cloud.faultOf(verb);
        if (fault === 'lost' && chance.hits(0.5)) return;
        const backMs = fault === 'slow' ? chance.between(500, SLOW_ANSWER_MS) : chance.longTail(2, 80);
        const answer = (finish: () => void) => {
          if (fault !== 'lost') time.in(backMs, actor, () => comesThrough() && settle(finish));
        };
        const of: Ec2Fault['fault'] | undefined = fault === 'lost' || fault === 'slow' ? undefined : fault;
        if (of !== undefined) fake.fail({ verb, fault: of, agoMs: chance.between(0, STALEST_MS) });
        act().then(
          (value) => answer(() => resolve(value)),
          (error: unknown) => answer(() => reject(error)),
        );
        fake.heal();
      });
    });
  const routes = () => Promise.reject(new Error('the simulator has no route tables'));
  return {
    ...{ region: fake.region, describeRoutes: routes, createRoute: routes, replaceRoute: routes, deleteRoute: routes },
    ...{ setSourceDestCheck: routes, describeVpc: routes },
    describeInstances: (ids, call) => ask('describeInstances', call, () => fake.describeInstances(ids, IN_EC2)),
    stopInstance: (id, call) => ask('stopInstance', call, () => fake.stopInstance(id, IN_EC2)),
    startInstance: (id, call) => ask('startInstance', call, () => fake.startInstance(id, IN_EC2)),
    mayChangePower: (id, change, call) => ask('mayChangePower', call, () => fake.mayChangePower(id, change, IN_EC2)),
    isStopProtected: (id, call) => ask('isStopProtected', call, () => fake.isStopProtected(id, IN_EC2)),
  };
}

/** Nobody in EC2 minds that the caller has given up. */
const IN_EC2: Call = { timeoutMs: 60_000 };
