import 'zod/compile'; // before any schema is made: each is compiled at its first use
import type { Log, LogFields } from '../../src/base/log.ts';
import { durationMs } from '../../src/crds/duration.ts';
import type { FailoverNodeStatus } from '../../src/crds/failovernode.ts';
import { restartPauseMs } from '../../src/decide/agent.ts';
import { CLOCK_DRIFT, servedWithinMs } from '../../src/decide/timing.ts';
import { BOOT_ID_ANNOTATION, SETTLED_ANNOTATION } from '../../src/kube/resources.ts';
import { ApiServer, type Raw } from './apiserver.ts';
import { Chance } from './chance.ts';
import { Cloud, POWER } from './cloud.ts';
import { Controller } from './controller.ts';
import { SharedDisk } from './disk.ts';
import { CALM, type Profile, profileFrom, QUICK, SHORTEST, startFaults, type Timing } from './faults.ts';
import { Invariants, type Standing, type Violation } from './invariants.ts';
import { Machine, NAMESPACE } from './machine.ts';
import { forgetParsed, parseOnce } from './parsing.ts';
import type { Process } from './process.ts';
import type { Rule } from './rules.ts';
import { addressOf, hasInstance, leaseShapeFrom, type Shape, shapeFrom } from './shape.ts';
import { Actor, BusyLoop, Time, withOwnWorld } from './time.ts';

export interface RunOptions {
  readonly seed: number;
  readonly broken?: ReadonlySet<Rule>;
  /** Keeps what happens, for people. The run itself is the same with and without. */
  readonly told?: boolean;
  /** Chosen by the seed unless given. */
  readonly profile?: Profile | ((world: World) => Profile);
  /** How long the quiet start is; as long as it takes to be served, and a moment, unless given. */
  readonly quietMs?: number;
  readonly faultyMs?: number;
  /** Chosen by the seed unless given. */
  readonly shape?: Shape;
}

export interface Run {
  readonly seed: number;
  readonly violation: Violation | undefined;
  readonly story: readonly string[];
  readonly events: number;
  readonly simulatedMs: number;
  /** Epochs that came and went. */
  readonly epochs: number;
}

parseOnce();

const CONTROLLERS = 2;
const SETTLE_MS = 15_000;
const MOMENT_MS = 1_000;

/** One run from one seed: a quiet start, faults, then none; served within the bound, or it is a violation. */
export async function run(options: RunOptions): Promise<Run> {
  const chance = new Chance(options.seed);
  return await withOwnWorld(chance, () => new World(options, chance).run());
}

/** Of a group's status. */
interface Waiting {
  readonly assignment?: { readonly node: string };
  readonly conditions?: readonly { readonly reason: string }[];
}

interface Places {
  readonly epochs: readonly number[];
  readonly ended: number;
}

const TIMINGS: readonly Timing[] = [
  { renewEvery: '1s', fenceAfter: '5s', killWithin: '1s', takeoverAfter: '8s' },
  { renewEvery: '1s', fenceAfter: '4s', killWithin: '1s', takeoverAfter: '6s' },
  QUICK,
  { renewEvery: '1s', fenceAfter: '8s', killWithin: '1s', takeoverAfter: '10s' },
  SHORTEST,
];

export class World {
  readonly chance: Chance;
  readonly time: Time;
  readonly server: ApiServer;
  readonly disk: SharedDisk;
  readonly machines: readonly Machine[];
  /** Where a group has `policy: Instance`. */
  readonly cloud: Cloud | undefined;
  readonly controllers: readonly Controller[];
  readonly invariants: Invariants;
  readonly namespace = NAMESPACE;
  readonly shape: Shape;
  /** By name. */
  readonly groups: readonly string[];
  spellMs: Profile['spellMs'];
  readonly #fate = new Actor('fate');
  readonly #lines: string[] = [];
  readonly #options: RunOptions;
  #faulty = true;
  readonly #mends: (() => void)[] = [];
  /** By node and group: whether the report says that the disk has taken the last end. */
  readonly #settled = new Map<string, boolean>();

  constructor(options: RunOptions, chance: Chance) {
    this.#options = options;
    this.chance = chance;
    // Faults that are made for something have nothing to do with EC2 unless they say so.
    this.shape =
      options.shape ??
      (typeof options.profile === 'object'
        ? (options.profile.shape ?? leaseShapeFrom(options.seed))
        : shapeFrom(options.seed));
    this.groups = this.shape.groups.map(({ name }) => name);
    this.time = new Time(chance);
    this.server = new ApiServer(this.time);
    this.disk = new SharedDisk(this.time);
    const broken = options.broken ?? new Set<Rule>();
    const shared = {
      ...{ time: this.time, server: this.server, disk: this.disk, broken },
      story: this.story,
      log: (who: Actor) => (options.told ? this.#log(who) : SILENT),
    };
    const onEnded = (who: string) =>
      this.invariants.fail({ invariant: 'controller ended', message: `${who} stopped campaigning by itself` });
    const rate = () => 1 + chance.pick([-1, 0, 1]) * CLOCK_DRIFT * chance.next();
    this.machines = [...Array(this.shape.nodes).keys()].map(
      (index) => new Machine({ ...shared, name: `server${index + 1}`, instanceId: `i-0000000${index + 1}` }, rate()),
    );
    const cloud = hasInstance(this.shape) ? new Cloud(this.time, this.machines) : undefined;
    this.cloud = cloud;
    this.controllers = [...Array(CONTROLLERS).keys()].map(
      (index) => new Controller({ ...shared, cloud, name: `controller${index + 1}`, onEnded }, rate()),
    );
    this.invariants = new Invariants(this.machines, this.shape);
    for (const machine of this.machines) machine.onSpawn = (process) => this.invariants.spawned(process);
    this.invariants.standingOf = (group, node) => this.#standingOf(group, node);
    this.disk.onLost = (write, last) => this.invariants.lostWrite(write, last);
    this.server.onWrite = (plural, before, after, writer) => this.#written(plural, before, after, writer);
  }

  async run(): Promise<Run> {
    this.#declare();
    for (const machine of this.machines) machine.boot();
    for (const controller of this.controllers) controller.start();
    await this.#live();
    if (this.invariants.violation) {
      const { invariant, message } = this.invariants.violation;
      this.story('VIOLATED', `${invariant}: ${message}`);
      this.#tellState();
    }
    for (const machine of this.machines) machine.dispose();
    forgetParsed();
    return {
      seed: this.#options.seed,
      violation: this.invariants.violation,
      story: this.#lines,
      events: this.time.events,
      simulatedMs: this.time.nowMs,
      epochs: this.groups.reduce((sum, group) => sum + this.#epoch(group), 0),
    };
  }

  /** Ends early with the first violation. */
  async #live(): Promise<void> {
    const { quietMs } = this.#options;
    while (quietMs === undefined && !this.#served() && this.time.nowMs < SETTLE_MS) {
      if (!(await this.#pass(250))) return;
    }
    if (!(await this.#pass(quietMs ?? MOMENT_MS))) return;
    if (!this.#served()) this.invariants.fail({ invariant: 'not served', message: 'after a quiet start' });
    const before = this.#places();

    const { profile: given = profileFrom, faultyMs = this.chance.between(20_000, 60_000) } = this.#options;
    const profile = typeof given === 'function' ? given(this) : given;
    startFaults(this, profile);
    if (!(await this.#pass(faultyMs))) return;
    this.#expectKept(profile, before);
    this.#endFaults(profile);
    const boundMs = servedWithinMs({
      ...RECOVERY,
      heartbeat: this.shape.groups.some(({ heartbeat }) => heartbeat),
      ...(this.cloud ? { power: POWER } : {}),
    });
    let deadlineMs = this.time.nowMs + boundMs;
    let asked = false;
    while (!this.#served()) {
      if (!asked && this.time.nowMs >= deadlineMs - boundMs / 2 && this.#doAsAsked()) {
        asked = true;
        deadlineMs = this.time.nowMs + boundMs;
      }
      if (this.time.nowMs >= deadlineMs) {
        this.invariants.fail({ invariant: 'not served', message: `within ${boundMs} ms after the last fault` });
      }
      if (!(await this.#pass(250))) return;
    }
    await this.#pass(profile.keeps === undefined ? 3_000 : SETTLE_MS);
    this.#expectKept(profile, before);
  }

  /**
   * What the condition of a group with `policy: Instance` asks a person to do where no other node can take it: reboot the
   * node that ended it without the disk's word. Whether it asked for anything.
   */
  #doAsAsked(): boolean {
    const asking = this.groups.flatMap((group) => {
      const status = this.server.read('failovergroups', NAMESPACE, group)?.['status'] as Waiting | undefined;
      const waits = status?.conditions?.some(({ reason }) => reason === 'WaitingToSettle');
      return waits && this.#strict(group) ? [status?.assignment?.node] : [];
    });
    const machines = this.machines.filter(({ name }) => asking.includes(name));
    for (const machine of machines) {
      machine.reboot();
      machine.startAgent();
    }
    return machines.length > 0;
  }

  #places(): Places {
    return {
      epochs: this.groups.map((group) => this.#epoch(group)),
      ended: this.machines.reduce((sum, { ended }) => sum + ended, 0),
    };
  }

  #expectKept({ keeps }: Profile, before: Places): void {
    const now = this.#places();
    if (keeps === undefined) return;
    if (String(now.epochs) !== String(before.epochs)) {
      this.invariants.fail({ invariant: 'moved', message: `from epochs ${before.epochs} to ${now.epochs}` });
    }
    if (keeps === 'processes' && now.ended > before.ended) {
      this.invariants.fail({ invariant: 'stopped', message: `${now.ended - before.ended} processes were ended` });
    }
  }

  // --- for the faults ---------------------------------------------------------------------------------------------

  /** Mends what a fault has broken, then, or when the faults end. */
  later(ms: number, mend: () => void): void {
    let done = false;
    const once = () => {
      if (!done) mend();
      done = true;
    };
    this.#mends.push(once);
    this.time.in(ms, this.#fate, once);
  }

  whileFaulty(ms: number, act: () => void): void {
    this.time.in(ms, this.#fate, () => {
      if (this.#faulty) act();
    });
  }

  readonly story = (who: string, line: string): void => {
    if (!this.#options.told) return;
    this.#lines.push(`${(this.time.nowMs / 1000).toFixed(3).padStart(8)}  ${who.padEnd(22)} ${line}`);
  };

  edit(plural: string, name: string, what: string, to: (raw: Raw) => Record<string, unknown>): void {
    this.story('somebody', `${what.startsWith('the') ? 'deletes ' : ''}${what} ${name}`);
    if (this.server.read(plural, NAMESPACE, name)) {
      this.server.change(plural, NAMESPACE, name, undefined, to, 'somebody');
    }
  }

  /**
   * A group with `policy: Instance` whose status is lost waits until every node has come back: no word of EC2 counts, for
   * which instance would have to be off stood in the status. One that has not taken an end to the disk has to be rebooted,
   * and with one that cannot come back the group would be held for ever. docs/protocol.md, "A lost status".
   */
  waitsForPerson(group: string, when: 'once its status is lost' | 'once a node is gone'): boolean {
    const cloud = this.#strict(group) ? this.cloud : undefined;
    if (cloud === undefined) return false;
    return when === 'once a node is gone'
      ? this.#epoch(group) === 0
      : this.machines.some((machine) => cloud.isDoomed(machine));
  }

  #strict(group: string): boolean {
    return this.shape.groups.some(({ name, policy }) => name === group && policy === 'Instance');
  }

  /** How long something stays as a fault has made it. Most are short; some are longer than any limit there is. */
  spell(): number {
    const { chance, spellMs } = this;
    if (spellMs !== undefined) return chance.between(...spellMs);
    return chance.weighted({ short: 3, about: 3, long: 2 }) === 'short'
      ? chance.between(50, 1_500)
      : chance.hits(0.6)
        ? chance.between(3_000, 10_000)
        : chance.between(8_000, 25_000);
  }

  askForMove(group: string, node: string): void {
    this.edit('failovergroups', group, `asks for a move to ${node} of`, (raw) => ({
      ...raw,
      metadata: { ...raw.metadata, annotations: { 'pointsman.dev/move-to': node } },
    }));
  }

  changeTiming(node: string): void {
    this.setTiming(node, this.chance.pick(TIMINGS));
  }

  setTiming(node: string, timing: Timing): void {
    this.edit('failovernodes', node, `sets ${timing.fenceAfter}/${timing.takeoverAfter} for`, (raw) => ({
      ...raw,
      metadata: { ...raw.metadata, generation: Number(raw.metadata['generation']) + 1 },
      spec: { ...(raw['spec'] as object), timing },
    }));
  }

  // --- how it goes ------------------------------------------------------------------------------------------------

  #declare(): void {
    const { profile } = this.#options;
    const chosen = this.chance.pick(TIMINGS);
    const timing = (typeof profile === 'object' ? profile.timing : undefined) ?? chosen;
    for (const { name } of this.machines) {
      const spec = { instanceId: `i-0000000${name.slice(-1)}`, timing };
      this.server.create('failovernodes', NAMESPACE, { metadata: { name }, spec }, 'somebody');
    }
    const common = {
      nodes: this.machines.map(({ name }) => name),
      process: {
        command: ['/work/minio'],
        user: 'minio',
        restart: { limit: 100, window: '10m' },
        stop: { timeout: '3s' },
        startupProbe: { tcpSocket: { port: 9000 } },
      },
    };
    for (const { name, heartbeat, policy } of this.shape.groups) {
      const fencing = policy === undefined ? {} : { fencing: { policy } };
      const spec = { ...common, sharedDisk: { mountPath: '/mnt/efs', heartbeat }, ...fencing };
      this.server.create('failovergroups', NAMESPACE, { metadata: { name }, spec }, 'somebody');
      const vip = {
        ...{ groupRef: { name }, address: addressOf(name), vpcId: 'vpc-12345678' },
        routeTableIds: ['rtb-00000001'],
      };
      this.server.create('vipresources', NAMESPACE, { metadata: { name: `vip-${name}` }, spec: vip }, 'somebody');
    }
  }

  /** Whether all is still well. */
  async #pass(ms: number): Promise<boolean> {
    if (this.invariants.violation) return false;
    try {
      await this.time.pass(this.time.nowMs + ms, () => {
        this.invariants.check();
        return this.invariants.violation !== undefined;
      });
    } catch (error) {
      if (!(error instanceof BusyLoop)) throw error;
      this.invariants.fail({ invariant: 'busy loop', message: error.message });
    }
    return this.invariants.violation === undefined;
  }

  /** Everything mends, but what may stay broken while one machine is well. */
  #endFaults(profile: Profile): void {
    this.#faulty = false;
    this.story('fate', 'no more faults');
    for (const mend of this.#mends) mend();
    this.disk.forgetTheDead();
    // What is stuck still comes, later; it must not be waited for.
    for (const { link } of [...this.machines, ...this.controllers]) link.stuckUntilMs = 0;
    const well = this.chance.pick(this.machines.filter((machine) => !this.cloud?.isDoomed(machine)));
    const allComeBack = this.groups.some((group) => this.waitsForPerson(group, 'once a node is gone'));
    for (const machine of this.machines) {
      machine.crashChance = 0;
      machine.atNextStart = () => {};
      machine.slowSpawns = 0;
      if (allComeBack) machine.reboot();
      if (machine !== well && profile.keeps === undefined && !allComeBack && this.chance.hits(0.4)) machine.crash();
      else {
        machine.boot();
        machine.startAgent();
      }
    }
    for (const controller of this.controllers) {
      controller.crashChance = 0;
      controller.start();
    }
    for (const { link } of [...this.machines, ...this.controllers]) Object.assign(link, CALM.requests);
  }

  #epoch(group: string): number {
    const status = this.server.read('failovergroups', NAMESPACE, group)?.['status'] as
      | { assignment?: { epoch: number } }
      | undefined;
    return status?.assignment?.epoch ?? 0;
  }

  #served(): boolean {
    return this.groups.every((group) => {
      const epoch = this.#epoch(group);
      const serves = (one: Process) => one.group === group && one.epoch === epoch && one.writes;
      return this.machines.some(({ processes }) => [...processes].some(serves));
    });
  }

  #written(plural: string, before: Raw | undefined, after: Raw | undefined, writer: string): void {
    if (plural === 'failovergroups') {
      this.invariants.groupWritten(before, after);
      if (this.#options.told) this.#tellAssignment(before, after, writer);
    }
    if (plural === 'failovernodes') {
      const status = after?.['status'] as FailoverNodeStatus | undefined;
      for (const { name, settled } of status?.report?.groups ?? [])
        this.#settled.set(`${after?.metadata.name} ${name}`, settled);
    }
    if (plural === 'leases' && this.#options.told) this.#tellLease(before, after, writer);
  }

  #standingOf(group: string, node: string): Standing {
    const lease = this.server.read('leases', NAMESPACE, node);
    const annotations = (lease?.metadata['annotations'] ?? {}) as Record<string, string>;
    const spec = lease?.['spec'] as { holderIdentity?: string } | undefined;
    const settled = this.#settled.get(`${node} ${group}`);
    return {
      held: (spec?.holderIdentity ?? '') !== '',
      unsettledLease: annotations[SETTLED_ANNOTATION] === 'false' ? annotations[BOOT_ID_ANNOTATION] : undefined,
      ...(settled === undefined ? {} : { settled }),
    };
  }

  #tellAssignment(before: Raw | undefined, after: Raw | undefined, writer: string): void {
    const of = (raw: Raw | undefined) => {
      const status = raw?.['status'] as { assignment?: Record<string, unknown>; move?: { proof?: string } } | undefined;
      const { node, incarnation, epoch, state } = status?.assignment ?? {};
      return node === undefined ? 'nobody' : `${node} (incarnation ${incarnation}), epoch ${epoch}, ${state}`;
    };
    if (of(before) === of(after)) return;
    const proof = (after?.['status'] as { move?: { proof?: string } } | undefined)?.move?.proof;
    this.story(writer, `assigns ${(after ?? before)?.metadata.name}: ${of(after)}${proof ? `; proof ${proof}` : ''}`);
  }

  #tellLease(before: Raw | undefined, after: Raw | undefined, writer: string): void {
    const of = (raw: Raw | undefined) => {
      const spec = raw?.['spec'] as { holderIdentity?: string; leaseTransitions?: number } | undefined;
      return spec && `held by ${spec.holderIdentity || 'nobody'}, incarnation ${spec.leaseTransitions}`;
    };
    const name = (after ?? before)?.metadata.name;
    if (name !== 'pointsman-controller' && of(before) !== of(after))
      this.story(writer, `Lease of ${name}: ${of(after) ?? 'gone'}`);
  }

  /** What stands where it ended. */
  #tellState(): void {
    for (const plural of ['failovergroups', 'failovernodes', 'leases']) {
      for (const { metadata, spec, status } of this.server.all(plural)) {
        const { conditions, assignment, report } = (status ?? {}) as Record<string, unknown>;
        const ready = (conditions as { type: string; reason: string; message: string }[] | undefined)?.find(
          ({ type }) => type === 'Ready',
        );
        this.story(
          metadata.name,
          JSON.stringify({ ready, assignment, report, ...(plural === 'leases' ? { spec } : {}) }),
        );
      }
    }
    for (const { name, agent, up, actor, processes, tmpfs } of this.machines) {
      const state = up ? (actor.stopped ? 'stands still' : 'up') : 'down';
      const agentState = agent === undefined || agent.dead ? 'no agent' : agent.stopped ? 'agent stopped' : 'agent';
      const run = JSON.stringify({ incarnation: tmpfs.incarnation, groups: [...tmpfs.groups] });
      this.story(name, `${state}, ${agentState}, processes ${[...processes].map(({ pid }) => pid)}, /run ${run}`);
    }
  }

  #log(who: Actor): Log {
    const write = (message: string, fields: LogFields = {}) => {
      if (!who.dead) this.story(who.name, `${message} ${JSON.stringify(fields)}`);
    };
    const log: Log = { debug: () => {}, info: write, warn: write, error: write, with: () => log };
    return log;
  }
}

const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => SILENT };

/** The longest of each in this world. */
const RECOVERY = {
  takeoverAfterMs: Math.max(...TIMINGS.map(({ takeoverAfter }) => durationMs(takeoverAfter))),
  // What is under way to a watch that was stuck.
  newsMs: 25_000,
  // As src/kube/election.ts has them: the Lease of one that is gone, the pause between two looks, an attempt.
  electionMs: 5_000 + 1_200 + 1_000,
  restartPauseMs: restartPauseMs(Number.POSITIVE_INFINITY),
  startMs: 3_000,
};
