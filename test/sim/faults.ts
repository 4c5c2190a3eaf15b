import type { Link } from './apiserver.ts';
import type { Trouble } from './cloud.ts';
import { PLOTS } from './plots.ts';
import type { Shape } from './shape.ts';
import type { World } from './world.ts';

export interface Timing {
  readonly renewEvery: string;
  readonly fenceAfter: string;
  readonly killWithin: string;
  readonly takeoverAfter: string;
}

/** As short as the sum of decide/timing.ts allows. */
export const SHORTEST: Timing = { renewEvery: '1s', fenceAfter: '5s', killWithin: '400ms', takeoverAfter: '6s' };

/** A short one, as soon as anything can be. */
export const QUICK: Timing = { renewEvery: '500ms', fenceAfter: '2s', killWithin: '400ms', takeoverAfter: '3s' };

type Requests = Pick<Link, 'lost' | 'unheard' | 'late' | 'twice' | 'slowestMs'>;

/** How often what happens in one run, per fault that is drawn; and how far apart the faults are. */
export interface Profile {
  readonly everyMs: number;
  readonly weights: Readonly<Partial<Record<FaultName, number>>>;
  /** Of every single request. */
  readonly requests: Requests;
  /** Of those of the controllers, where they are not the same. */
  readonly controllerRequests?: Requests;
  /** Of every step of an agent or a controller: a request, an answer, a file in /run. */
  readonly crashChance: number;
  /** What is wrong with EC2 all the time. */
  readonly troubles?: readonly Trouble[];
  readonly slowSpawns: number;
  /** Whether the file server keeps locks; it does unless told otherwise. They are the last belt, never the proof. */
  readonly locks?: boolean;
  /** Of every node, from the start; the seed's choice unless given. */
  readonly timing?: Timing;
  /** The seed's choice unless given. */
  readonly shape?: Shape;
  /** What these faults must leave as it is, then and after: where the groups are, or also every process. */
  readonly keeps?: 'places' | 'processes';
  /** The shortest and the longest time that something stays broken; of every length unless given. */
  readonly spellMs?: readonly [number, number];
}

export const CALM: Profile = {
  everyMs: Number.POSITIVE_INFINITY,
  weights: {},
  requests: { lost: 0, unheard: 0, late: 0, twice: 0, slowestMs: 8 },
  crashChance: 0,
  slowSpawns: 0,
  keeps: 'processes',
};

/** What must not be noticed at all where every group has a second channel: the API server is away, for any or for all. */
export const API_AWAY: Profile = {
  ...CALM,
  everyMs: 8_000,
  weights: { 'API server is away': 2, 'a way is cut': 3, 'a watch is stuck': 1, 'controller is killed': 1 },
  requests: { lost: 0.02, unheard: 0.02, late: 0.02, twice: 0.02, slowestMs: 500 },
};

/** All of them, each as strong as the seed says. */
export function profileFrom({ chance, shape, cloud }: World): Profile {
  const heartbeat = shape.groups.some((group) => group.heartbeat);
  const rough = chance.pick([0, 0.02, 0.1]);
  const weights: Partial<Record<FaultName, number>> = {};
  // Not every run has every fault: what hides behind one fault comes out where that one is missing.
  for (const name of Object.keys(FAULTS) as FaultName[]) {
    if (name in PLOTS || (CHANNEL_FAULTS.has(name) && !heartbeat)) continue;
    if (POWER_FAULTS.has(name) && !cloud) continue;
    const drawn = chance.hits(0.6) ? chance.between(0.2, 1) : undefined;
    if (drawn !== undefined && !(name in OPEN)) weights[name] = drawn;
  }
  return {
    everyMs: chance.pick([800, 2_000, 5_000]),
    weights,
    requests: {
      lost: chance.next() * rough,
      unheard: chance.next() * rough,
      late: chance.next() * rough * 0.5,
      twice: chance.next() * rough * 0.3,
      slowestMs: chance.pick([8, 100, 1_200]),
    },
    crashChance: chance.pick([0, 0, 0.002, 0.02]),
    slowSpawns: chance.pick([0, 0.05, 0.3]),
  };
}

/** Of no interest to a group without a second channel. */
const CHANNEL_FAULTS: ReadonlySet<string> = new Set(['disk is slow', 'files are unreadable']);

/** Of no interest where nobody asks EC2. */
const POWER_FAULTS: ReadonlySet<string> = new Set([
  'EC2 is in trouble',
  'an instance is protected',
  'an instance is stopped by hand',
  'an instance is started by hand',
  'an instance is hibernated',
  'an instance is terminated',
]);

/**
 * Faults that the present protocol does not stand. They are not drawn. Whoever mends one takes it out here.
 */
export const OPEN: Readonly<Partial<Record<FaultName, string>>> = {};

/** Each does one thing to the world, and says so. What it breaks for a while mends by itself. */
export const FAULTS = {
  'machine loses power': (world: World) => {
    const machine = world.chance.pick(world.machines);
    machine.crash();
    world.later(world.spell(), () => machine.boot());
  },
  'machine reboots': (world: World) => {
    const machine = world.chance.pick(world.machines);
    machine.crash();
    world.later(world.chance.between(1_000, 4_000), () => machine.boot());
  },
  'machine stands still': (world: World) => {
    const machine = world.chance.pick(world.machines);
    machine.pause();
    world.later(world.spell(), () => machine.goOn());
  },
  'agent is killed': (world: World) => {
    const machine = world.chance.pick(world.machines);
    machine.killAgent();
    world.later(world.chance.hits(0.7) ? world.chance.between(200, 2_500) : world.spell(), () => machine.startAgent());
  },
  'agent is stopped': (world: World) => {
    const machine = world.chance.pick(world.machines);
    const { agent } = machine;
    if (agent === undefined || agent.dead || agent.stopped) return;
    world.story(agent.name, 'is stopped (SIGSTOP)');
    agent.stop();
    for (const process of machine.processes) machine.noteIfAlone(process);
    world.later(world.spell(), () => {
      world.story(agent.name, 'goes on (SIGCONT)');
      agent.go();
    });
  },
  'shim is killed': (world: World) => {
    const machine = world.chance.pick(world.machines);
    const shim = world.chance.pick([undefined, ...machine.shims]);
    if (shim === undefined) return;
    world.story(machine.name, `shim ${shim.pid} is killed`);
    shim.kill();
  },
  'shim is stopped': (world: World) => {
    const machine = world.chance.pick(world.machines);
    const shims = [...machine.shims];
    const shim = shims.length > 1 ? world.chance.pick(shims) : shims[0];
    if (shim === undefined || shim.actor.stopped) return;
    world.story(machine.name, `shim ${shim.pid} is stopped (SIGSTOP)`);
    shim.actor.stop();
    for (const process of machine.processes) machine.noteIfAlone(process);
    world.later(world.spell(), () => shim.actor.go());
  },
  'process ends': (world: World) => {
    const machine = world.chance.pick(world.machines);
    for (const process of machine.processes) if (process.executed) process.end(null, 1);
  },
  'controller is killed': (world: World) => {
    const controller = world.chance.pick(world.controllers);
    controller.crash();
    world.later(world.spell(), () => controller.start());
  },
  'controller stands still': (world: World) => {
    const { actor } = world.chance.pick(world.controllers);
    if (actor.dead || actor.stopped) return;
    world.story(actor.name, 'stands still');
    actor.stop();
    world.later(world.spell(), () => {
      world.story(actor.name, 'goes on');
      actor.go();
    });
  },
  'a way is cut': (world: World) => {
    const { name, link } = world.chance.pick([...world.machines, ...world.controllers]);
    const which = world.chance.weighted({ both: 3, to: 1, back: 1 });
    world.story(name, `is cut from the API server (${which === 'both' ? 'both ways' : `${which} it`})`);
    if (which !== 'back') link.cutTo = true;
    if (which !== 'to') link.cutBack = true;
    world.later(world.spell(), () => {
      world.story(name, 'reaches the API server again');
      link.cutTo = false;
      link.cutBack = false;
    });
  },
  'a watch is stuck': (world: World) => {
    const { name, link } = world.chance.pick([...world.machines, ...world.controllers]);
    const ms = world.spell();
    world.story(name, `hears of no change for ${Math.round(ms)} ms, and does not notice`);
    link.stuckUntilMs = world.time.nowMs + ms;
  },
  'API server is away': (world: World) => {
    world.story('the API server', 'is away for everybody');
    const links = [...world.machines, ...world.controllers].map(({ link }) => link);
    for (const link of links) link.cutTo = link.cutBack = true;
    world.later(world.spell(), () => {
      world.story('the API server', 'is back');
      for (const link of links) link.cutTo = link.cutBack = false;
    });
  },
  'disk is cut': (world: World) => {
    const machine = world.chance.pick(world.machines);
    if (!machine.up || machine.diskCut) return;
    machine.cutDisk(world.chance.hits(0.4));
    world.later(world.spell(), () => machine.healDisk());
  },
  'disk is slow': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.story(machine.name, 'has to wait for the shared disk');
    machine.slowDisk = world.chance.between(0.02, 0.5);
    world.later(world.spell(), () => {
      machine.slowDisk = 0;
    });
  },
  'files are unreadable': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.story(machine.name, "cannot read the others' files on the shared disk");
    machine.unreadable = world.chance.pick([0.1, 1]);
    world.later(world.spell(), () => {
      machine.unreadable = 0;
    });
  },
  'disk is unmounted': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.story(machine.name, 'has the shared disk unmounted');
    machine.mounted = false;
    world.later(world.spell(), () => {
      machine.mounted = true;
    });
  },
  '/run is lost': (world: World) => {
    const machine = world.chance.pick(world.machines);
    if (!machine.up) return;
    world.story(machine.name, 'loses what is in /run');
    machine.tmpfs = { incarnation: undefined, groups: new Map(), accepted: new Map() };
  },
  'timing is changed': (world: World) => world.changeTiming(world.chance.pick(world.machines).name),
  'Lease is deleted': (world: World) => {
    const { name } = world.chance.pick(world.machines);
    const force = world.chance.hits(0.5);
    world.story('somebody', `deletes the Lease of ${name}${force ? ', by force' : ''}`);
    world.server.remove('leases', world.namespace, name, 'somebody', force);
  },
  'report is deleted': (world: World) => {
    const { name } = world.chance.pick(world.machines);
    // Who takes the promise away that a stopped instance is started again has to start it.
    world.edit('failovernodes', name, 'the status of', ({ status, ...rest }) => {
      const { stop } = (status ?? {}) as { stop?: unknown };
      return stop === undefined ? rest : { ...rest, status: { stop } };
    });
  },
  'status is deleted': (world: World) => {
    const group = world.chance.pick(world.groups);
    if (world.waitsForPerson(group, 'once its status is lost')) return;
    world.edit('failovergroups', group, 'the status of', ({ status: _, ...rest }) => rest);
  },
  'EC2 is in trouble': (world: World) => {
    const { cloud, chance } = world;
    if (cloud === undefined) return;
    const kind = chance.pick(['throttled', 'denied', 'lost', 'slow', 'stale'] as const);
    const verbs = chance.pick([undefined, ['stopInstance'], ['startInstance'], ['describeInstances']] as const);
    world.story('EC2', `is in trouble: ${kind}${verbs ? `, ${verbs}` : ''}`);
    const end = cloud.begin({ kind, chance: chance.pick([0.3, 1]), ...(verbs ? { verbs } : {}) });
    world.later(world.spell(), () => {
      world.story('EC2', `has done with ${kind}`);
      end();
    });
  },
  'an instance is protected': (world: World) => {
    const { name, instanceId } = world.chance.pick(world.machines);
    world.story('somebody', `protects the instance of ${name} from being stopped`);
    world.cloud?.fake.protectFromStop(instanceId, true);
    world.later(world.spell(), () => world.cloud?.fake.protectFromStop(instanceId, false));
  },
  'an instance is stopped by hand': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.cloud?.stopByHand(machine);
    world.later(world.spell(), () => world.cloud?.startByHand(machine));
  },
  'an instance is started by hand': (world: World) => world.cloud?.startByHand(world.chance.pick(world.machines)),
  'an instance is hibernated': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.cloud?.hibernateByHand(machine);
    world.later(world.spell(), () => world.cloud?.startByHand(machine));
  },
  'an instance is terminated': (world: World) => {
    // One of them, and seldom: from then on there is less that can happen.
    const { cloud, chance, machines } = world;
    if (cloud === undefined || machines.some((machine) => cloud.isDoomed(machine)) || chance.hits(0.8)) return;
    if (world.groups.some((group) => world.waitsForPerson(group, 'once a node is gone'))) return;
    cloud.terminateByHand(chance.pick(machines));
  },
  'a move is asked for': (world: World) => {
    const { name } = world.chance.pick(world.machines);
    world.askForMove(world.chance.pick(world.groups), name);
  },
  ...PLOTS,
} as const;
export type FaultName = keyof typeof FAULTS;

/** Goes on until the world says that there are no more faults. */
export function startFaults(world: World, profile: Profile): void {
  world.spellMs = profile.spellMs;
  world.disk.keepsLocks = profile.locks ?? true;
  for (const { link } of world.machines) Object.assign(link, profile.requests);
  for (const { link } of world.controllers) Object.assign(link, profile.controllerRequests ?? profile.requests);
  for (const machine of world.machines) {
    machine.crashChance = profile.crashChance;
    machine.slowSpawns = profile.slowSpawns;
  }
  for (const controller of world.controllers) controller.crashChance = profile.crashChance;
  for (const trouble of profile.troubles ?? [])
    world.later(Number.POSITIVE_INFINITY, world.cloud?.begin(trouble) ?? (() => {}));
  if (!Number.isFinite(profile.everyMs) || Object.keys(profile.weights).length === 0) return;
  const next = () => {
    world.whileFaulty(world.chance.longTail(profile.everyMs / 4, profile.everyMs * 4), () => {
      FAULTS[world.chance.weighted(profile.weights)](world);
      next();
    });
  };
  next();
}
