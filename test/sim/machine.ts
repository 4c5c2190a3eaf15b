import type { Addresses } from '../../src/agent/address.ts';
import { createNodeAgent } from '../../src/agent/loop.ts';
import type { Parts } from '../../src/agent/parts.ts';
import type { GroupMemory, RunDir } from '../../src/agent/rundir.ts';
import type { Process as OsProcess } from '../../src/agent/scan.ts';
import type { Accepted } from '../../src/agent/shim-protocol.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import type { Resource, Stored } from '../../src/kube/api.ts';
import { createReflector, type Reflector } from '../../src/kube/reflector.ts';
import { diskMonitors, failoverGroups, failoverNodes, vipResources } from '../../src/kube/resources.ts';
import { type ApiServer, openLink, SimKube } from './apiserver.ts';
import type { GroupData, SharedDisk } from './disk.ts';
import { HelperLane } from './helper.ts';
import { createDisk } from './nodedisk.ts';
import { NodeFiles } from './nodefiles.ts';
import type { Process } from './process.ts';
import { breakParts, breakRequests, type Rule } from './rules.ts';
import { Shim } from './shim.ts';
import { Actor, clockOf, type Time } from './time.ts';

export const NAMESPACE = 'sim';
export const MOUNT = '/mnt/efs';

/** When /run is written that should have been written before. */
const LONG_AFTER_MS = 15_000;

export interface MachineOptions {
  readonly name: string;
  readonly instanceId: string;
  readonly time: Time;
  readonly server: ApiServer;
  readonly disk: SharedDisk;
  readonly broken: ReadonlySet<Rule>;
  readonly story: (who: string, line: string) => void;
  readonly log: (who: Actor) => Log;
}

/** What /run holds: gone with a reboot, or by hand. */
interface Tmpfs {
  incarnation: number | undefined;
  readonly groups: Map<string, GroupMemory>;
  readonly accepted: Map<string, Accepted>;
}

/** A server of the cluster: its kernel, its /run, its shims and processes, the agent on it, and its ways out. */
export class Machine {
  readonly name: string;
  readonly instanceId: string;
  readonly time: Time;
  readonly disk: SharedDisk;
  readonly link = openLink();
  actor: Actor;
  clock: Clock;
  bootId = '';
  tmpfs: Tmpfs = { incarnation: undefined, groups: new Map(), accepted: new Map() };
  agent: Actor | undefined;
  readonly shims = new Set<Shim>();
  readonly processes = new Set<Process>();
  /** How many have ended. */
  ended = 0;
  /** Address → when its lifetime ends, in true time. */
  readonly addresses = new Map<string, number>();
  mounted = true;
  diskCut = false;
  /** While the disk is cut: whether what waits for it can be killed. */
  hangsInKernel = false;
  /** The chance of a spawn to take seconds. */
  slowSpawns = 0;
  /** Its instance has no power, or its memory lies on the disk; EC2 alone changes that. */
  #power: 'on' | 'off' | 'hibernated' = 'on';
  /** Every now and then an agent dies in the middle of a step. */
  crashChance = 0;
  readonly #o: MachineOptions;
  readonly #held: { readonly writer: Process; readonly after: number; readonly done: () => void }[] = [];
  readonly files = new NodeFiles(this);
  lanes = this.#newLanes();
  /** The chance of an access to the disk to take seconds, and of a read of another's file to fail. */
  slowDisk = 0;
  unreadable = 0;
  /** The chance of an access to have been made in time, and its answer to come seconds later. */
  lateAnswers = 0;
  /** An agent has just asked a shim to start a process; the shim has not heard it yet. */
  atNextStart = () => {};
  #whenDiskIsBack: (() => void)[] = [];
  readonly #stops: AbortController[] = [];
  #boots = 0;
  #agents = 0;
  #pids = 1000;
  /** True rate against true time, within the stated drift. */
  readonly #rate: number;
  /** A process was spawned; for the invariants. */
  onSpawn: (process: Process) => void = () => {};

  constructor(options: MachineOptions, rate: number) {
    this.#o = options;
    this.#rate = rate;
    this.name = options.name;
    this.instanceId = options.instanceId;
    this.time = options.time;
    this.disk = options.disk;
    this.actor = new Actor(this.name);
    this.actor.die();
    this.clock = clockOf(this.time, this.actor, { bootedAtMs: 0, rate });
  }

  get up(): boolean {
    return !this.actor.dead;
  }

  get reachesDisk(): boolean {
    return !this.diskCut;
  }

  /** Whether that rule is switched off in this run. */
  broken(rule: Rule): boolean {
    return this.#o.broken.has(rule);
  }

  tell(line: string): void {
    this.#o.story(this.name, line);
  }

  nextPid(): number {
    return ++this.#pids;
  }

  // --- the machine ------------------------------------------------------------------------------------------------

  boot(): void {
    if (this.up || this.#power !== 'on') return;
    this.#boots += 1;
    this.bootId = `boot-${this.name}-${this.#boots}`;
    this.actor = new Actor(this.name);
    this.clock = clockOf(this.time, this.actor, { bootedAtMs: this.time.nowMs - 1_000, rate: this.#rate });
    this.tmpfs = { incarnation: undefined, groups: new Map(), accepted: new Map() };
    this.tell('boots');
    this.disk.forget(this.name);
    this.time.in(this.time.chance.between(100, 3_000), this.actor, () => this.startAgent());
  }

  /** Power off: whatever it held is gone. */
  crash(): void {
    if (!this.up || this.#power === 'hibernated') return;
    this.tell('loses power');
    this.actor.die();
    this.agent = undefined;
    for (const process of this.processes) process.vanish();
    this.shims.clear();
    this.addresses.clear();
    this.#held.length = 0;
    this.#whenDiskIsBack = [];
    this.files.crash();
    this.lanes = this.#newLanes();
  }

  #newLanes(): { readonly disk: HelperLane; readonly channel: HelperLane } {
    return { disk: new HelperLane(this), channel: new HelperLane(this) };
  }

  pause(): void {
    if (!this.up || this.actor.stopped) return;
    this.tell('stands still, as a paused VM');
    this.actor.stop();
    this.#noteStandstill();
  }

  goOn(): void {
    if (!this.actor.stopped || this.#power === 'hibernated') return;
    this.tell('goes on');
    this.#noteStandstill();
    this.actor.go();
  }

  // --- what EC2 does to its instance ------------------------------------------------------------------------------

  powerOff(): void {
    this.#power = 'off';
    this.crash();
  }

  /** It stands still until it is started; nobody can tell where it stood. */
  hibernate(): void {
    this.pause();
    this.#power = this.up ? 'hibernated' : 'off';
  }

  /** By hand, to have nothing left of what it ran. What lies on its disk for it to go on with is thrown away. */
  reboot(): void {
    if (this.#power === 'hibernated') this.#power = 'off';
    this.crash();
    this.boot();
  }

  powerOn(): void {
    this.#power = 'on';
    if (this.up) this.goOn();
    else this.boot();
  }

  /** Whatever lives here, and whatever the kernel still holds of it. */
  #noteStandstill(): void {
    for (const process of [...this.processes, ...this.#held.map(({ writer }) => writer)]) {
      process.excuses.add('the machine stood still');
    }
  }

  // --- its disk ---------------------------------------------------------------------------------------------------

  cutDisk(hangsInKernel: boolean): void {
    this.diskCut = true;
    this.hangsInKernel = hangsInKernel;
    this.tell(`is cut from the shared disk${hangsInKernel ? '; who waits for it cannot be killed' : ''}`);
  }

  /** What the kernel still held lands now, in its order. */
  healDisk(): void {
    if (!this.diskCut) return;
    this.diskCut = false;
    this.tell('has the shared disk again');
    for (const then of this.#whenDiskIsBack.splice(0)) this.time.in(this.time.chance.between(1, 250), this.actor, then);
    this.#flush(true);
  }

  whenDiskIsBack(then: () => void): void {
    if (this.reachesDisk) then();
    else this.#whenDiskIsBack.push(then);
  }

  /** Into the kernel's hands, which outlive the writer; `done` when the disk has it. */
  write(writer: Process, after: number, done: () => void): void {
    this.#held.push({ writer, after, done });
    if (this.diskCut && this.hangsInKernel) writer.excuses.add('hangs in the kernel');
    if (!this.diskCut && this.#held.length === 1) this.#flush(false);
  }

  #flush(held: boolean): void {
    const { actor } = this;
    this.time.in(this.time.chance.longTail(0.5, held ? 200 : 20), actor, () => {
      const next = this.#held[0];
      if (next === undefined || this.diskCut) return;
      this.#held.shift();
      next.writer.data.land({ ...next, held });
      next.done();
      if (this.#held.length > 0) this.#flush(held);
    });
  }

  /** How many writes there are on the disk, with those that this machine's kernel still holds. */
  readDisk(data: GroupData, then: (landed: number) => void): void {
    const held = () => this.#held.filter(({ writer }) => writer.data === data).length;
    this.whenDiskIsBack(() => then(data.landed + held()));
  }

  whenAllHasLanded(then: () => void): void {
    if (this.#held.length === 0) then();
    else this.time.in(20, this.actor, () => this.whenAllHasLanded(then));
  }

  // --- its agent --------------------------------------------------------------------------------------------------

  startAgent(): void {
    if (!this.up || (this.agent && !this.agent.dead)) return;
    const agent = new Actor(`agent ${++this.#agents} on ${this.name}`, this.actor);
    this.agent = agent;
    this.#o.story(agent.name, 'starts');
    // A process needs a moment to boot.
    this.time.in(this.time.chance.longTail(100, 1_500), agent, () => this.#runAgent(agent));
  }

  #runAgent(actor: Actor): void {
    const { server, log } = this.#o;
    const clock = clockOf(this.time, actor, { bootedAtMs: this.#bootedAtMs(), rate: this.#rate });
    const api = new SimKube(server, actor, clock, this.link, breakRequests(this), () => this.#steps(actor));
    const agentLog = log(actor);
    const stop = new AbortController();
    this.#stops.push(stop);
    let poke = () => {};
    const watch = <T extends Stored>(resource: Resource<T>, fieldSelector?: string): Reflector<T> => {
      const reflector = createReflector({
        ...{ api, resource, namespace: NAMESPACE, fieldSelector, clock, log: agentLog, onChange: () => poke() },
      });
      void reflector.run(stop.signal);
      return reflector;
    };
    const nodes = watch(failoverNodes, `metadata.name=${this.name}`);
    const [groups, vips, monitors] = [watch(failoverGroups), watch(vipResources), watch(diskMonitors)];
    const synced = <T>(of: Reflector<T>) => (of.synced() ? of.list() : undefined);
    const agent = createNodeAgent({
      ...{ namespace: NAMESPACE, node: this.name, version: 'sim', bootId: this.bootId, policyFile: '', clock, api },
      ...{ log: agentLog, runDir: this.#runDir(actor), instance: { id: this.instanceId, mac: '' } },
      logDirectory: '/sim',
      watches: {
        node: () => nodes.list()[0],
        groups: () => synced(groups),
        vips: () => synced(vips),
        monitors: () => synced(monitors),
      },
      cgroups: undefined,
      addresses: this.#addresses(actor),
      parts: breakParts(this.#parts(actor, clock), this),
    });
    poke = () => agent.poke();
    void agent.run(stop.signal);
  }

  /** Lets go of every agent there was: node keeps a signal that is still listened to for ever. */
  dispose(): void {
    this.agent?.die();
    for (const stop of this.#stops) stop.abort();
  }

  #bootedAtMs(): number {
    return this.time.nowMs - this.clock.nowMs() / this.#rate;
  }

  killAgent(why = 'is killed'): void {
    if (!this.agent || this.agent.dead) return;
    this.#o.story(this.agent.name, why);
    this.agent.die();
    for (const process of this.processes) this.noteIfAlone(process);
  }

  /** Shim and agent both out of action: nobody kills the process at its deadline. */
  noteIfAlone(process: Process): void {
    const agentAway = this.agent === undefined || this.agent.dead || this.agent.stopped;
    if (process.shim.actor.stopped && agentAway) process.excuses.add('shim and agent were both stopped');
  }

  /**
   * Whether the agent comes through this step: what it did before has happened, what comes after has not. Its code runs
   * on to where it waits next, but nothing that it does reaches the world.
   */
  #steps(agent: Actor): boolean {
    if (!agent.dead && this.crashChance > 0 && this.time.chance.hits(this.crashChance)) {
      this.killAgent('dies in the middle of a step');
      this.time.in(this.time.chance.between(200, 3_000), this.actor, () => this.startAgent());
    }
    return !agent.dead;
  }

  #runDir(agent: Actor): RunDir {
    const change = (act: () => void) => {
      if (this.#steps(agent)) act();
      this.#steps(agent);
    };
    return {
      path: '/sim/run',
      incarnationFile: '/sim/run/incarnation',
      incarnation: () => this.tmpfs.incarnation,
      setIncarnation: (incarnation) =>
        change(() => {
          this.tmpfs.incarnation = incarnation;
        }),
      group: (name) => this.tmpfs.groups.get(name),
      setGroup: (name, memory) =>
        change(() => {
          const { groups } = this.tmpfs;
          if (this.broken('ended before the report')) {
            groups.set(name, { ...memory, ended: groups.get(name)?.ended ?? 0 });
            this.time.in(LONG_AFTER_MS, agent, () => groups.set(name, memory));
          } else groups.set(name, this.broken('ended kept') ? { ...memory, ended: 0 } : memory);
        }),
      instance: () => undefined,
      setInstance: () => {},
      socket: (group) => `/sim/run/${group}.sock`,
      accepted: (group) => group,
      groupsWithShims: () => [...this.tmpfs.accepted.keys()],
      helper: (key) => key,
    };
  }

  #addresses(agent: Actor): Addresses {
    const { time } = this;
    const soon = (act: () => void) =>
      new Promise<void>((resolve) => {
        if (agent.dead) return;
        time.in(time.chance.longTail(2, 40), this.actor, () => {
          act();
          time.in(0, agent, resolve);
        });
      });
    return {
      put: (addresses, seconds) =>
        soon(() => {
          for (const address of addresses) this.addresses.set(address, time.nowMs + seconds * 1000);
        }),
      remove: (addresses) =>
        soon(() => {
          for (const address of addresses) this.addresses.delete(address);
        }),
      present: async () => [...this.addresses.keys()],
    };
  }

  // --- what the agent's parts are here ----------------------------------------------------------------------------

  #parts(agent: Actor, clock: Clock): Omit<Parts, 'createLeaseKeeper' | 'createGroupProcess'> {
    const { time } = this;
    const { chance } = time;
    const mount = { id: 40, device: `0:${this.#boots}`, mountPoint: MOUNT, fsType: 'nfs4', source: 'efs' };
    const isAlive = ({ pid }: Pick<OsProcess, 'pid'>) => this.#find((one) => one.pid === pid).length > 0;
    const kill = (pids: readonly number[]) => {
      for (const shim of [...this.shims]) if (pids.includes(shim.pid)) shim.kill();
      for (const process of [...this.processes]) if (pids.includes(process.pid)) process.kill();
    };
    const known = (all: readonly Pick<OsProcess, 'pid'>[]) => {
      const pids = all.map(({ pid }) => pid);
      for (const process of this.processes) if (pids.includes(process.shim.pid)) pids.push(process.pid);
      return pids;
    };
    return {
      createHost: () => ({ look: () => ({ account: { uid: 1, gid: 1, home: '/' } }) }),
      createDiskProbe: () => {
        throw new Error('the simulator has no DiskMonitor yet');
      },
      openDisk: () => createDisk(this, agent, clock),
      mountAt: () => (this.mounted ? { state: 'mounted', mount } : { state: 'notMounted', message: 'not mounted' }),
      untilReady: async (_, on, signal) => {
        await on.sleep(chance.longTail(20, 400), signal);
        return true;
      },
      findMarked: async (matches) => {
        await clock.sleep(chance.longTail(2, 30));
        return { found: this.#find((one) => matches(one.mark)), unclear: [] };
      },
      readProcess: (pid) => this.#find((one) => one.pid === pid)[0],
      isAlive,
      killNow: (victims) => {
        if (!agent.dead) kill(known(victims.known));
      },
      killAll: async (victims, signal) => {
        for (let clean = 0; clean < 2; ) {
          if (agent.dead) return await new Promise(() => {});
          const pids = known(victims.known);
          const left = this.#find((one) => pids.includes(one.pid) || victims.matches(one.mark));
          kill(left.map(({ pid }) => pid));
          clean = left.length === 0 ? clean + 1 : 0;
          signal?.throwIfAborted();
          await clock.sleep(chance.longTail(5, 30));
        }
      },
      spawnShim: ({ config }) =>
        new Promise((resolve, reject) => {
          if (!this.#steps(agent)) return;
          const shim = new Shim(this, config);
          this.shims.add(shim);
          const cancel = clock.after(10_000, () => {
            shim.kill();
            reject(new Error('Cannot start a shim: it does not boot'));
          });
          const bootMs = chance.hits(this.slowSpawns) ? chance.between(500, 12_000) : chance.longTail(50, 400);
          time.in(bootMs, shim.actor, () => {
            shim.listen();
            time.in(0.2, agent, () => {
              cancel();
              resolve({ pid: shim.pid, startTicks: shim.startTicks });
            });
          });
        }),
      connectTo: (path) =>
        new Promise((resolve, reject) => {
          time.in(0.3, agent, () => {
            const shim = [...this.shims].findLast((one) => one.config.socket === path && one.listening);
            if (shim === undefined) reject(new Error('connect ECONNREFUSED'));
            else resolve(shim.connect(agent) as never); // the part of a socket that is asked for
          });
        }),
      readAccepted: (path) => this.tmpfs.accepted.get(path),
      forgetShim: ({ acceptedFile }) => {
        if (!agent.dead) this.tmpfs.accepted.delete(acceptedFile);
      },
    };
  }

  #find(matches: (one: { pid: number; mark: string }) => boolean): OsProcess[] {
    const shims = [...this.shims].map(({ pid, config }) => ({ pid, mark: config.mark }));
    const processes = [...this.processes].map(({ pid, mark }) => ({ pid, mark }));
    return [...shims, ...processes].filter(matches).map(({ pid }) => ({
      ...{ pid, state: 'S', parent: 1, group: pid, session: pid, startTicks: pid },
    }));
  }
}
