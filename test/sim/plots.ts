import { durationMs } from '../../src/crds/duration.ts';
import type { Timing } from './faults.ts';
import type { Machine } from './machine.ts';
import type { World } from './world.ts';

/**
 * Several faults, one after the other, at the moments at which they matter together. Chance brings them together as
 * well, but seldom: a plot is what a hunt for a rule is made of, and is not among the faults of every run.
 */
export const PLOTS = {
  'a cut with new timing': (world: World) => {
    const machine = world.chance.pick(world.machines);
    world.changeTiming(machine.name);
    world.whileFaulty(world.chance.between(5, 500), () => cutOff(world, machine));
  },
  'a standstill in a start': (world: World) => {
    const running = world.machines.filter(({ processes }) => [...processes].some(({ executed }) => executed));
    if (running.length === 0) return;
    const machine = world.chance.pick(running);
    for (const process of machine.processes) if (process.executed) process.end(null, 1);
    machine.atNextStart = () => {
      if (world.chance.hits(0.5)) {
        machine.killAgent();
        world.later(world.spell(), () => machine.startAgent());
      }
      machine.pause();
      world.later(world.spell(), () => machine.goOn());
    };
  },
  'the holder stands still': (world: World) => {
    const holder = holderOf(world);
    holder?.pause();
    world.later(world.spell(), () => holder?.goOn());
  },
  'the holder is cut off': (world: World) => {
    const holder = holderOf(world);
    if (holder !== undefined) cutOff(world, holder);
  },
  /** It does not hear of it: it stops when it reads the claim of its successor on the disk. */
  'a move from a node that is cut off': (world: World) => {
    const holder = holderOf(world);
    if (holder === undefined) return;
    cutOff(world, holder);
    world.whileFaulty(agedMs(world, holder), () => askToLeave(world, holder));
  },
  /** Its record asks for more time than anybody else's, and than its spec does by then. */
  'a node with longer numbers is cut off': (world: World) => {
    const { chance } = world;
    const holder = holderOf(world);
    if (holder === undefined) return;
    const before = timingOf(world, holder);
    world.setTiming(holder.name, LONGEST);
    world.whileFaulty(chance.between(1_500, 2_500), () => {
      cutOff(world, holder);
      world.setTiming(holder.name, before);
      const askedMs = durationMs(LONGEST.takeoverAfter) + chance.between(500, 1_500);
      world.whileFaulty(askedMs + chance.between(-2_500, 300), () => {
        holder.killAgent();
        world.later(world.spell(), () => holder.startAgent());
      });
      world.whileFaulty(askedMs, () => askToLeave(world, holder));
    });
  },
  /** It ticks once more in the last moment, while what the others have read of it is under way to them. */
  'a late tick of a node that is cut off': (world: World) => {
    const { chance } = world;
    const holder = holderOf(world);
    if (holder === undefined) return;
    const fenceAfterMs = durationMs(timingOf(world, holder).fenceAfter);
    cutOff(world, holder);
    world.whileFaulty(agedMs(world, holder), () => {
      const { agent } = holder;
      if (agent === undefined || agent.dead || agent.stopped) return;
      world.story(agent.name, 'is stopped (SIGSTOP)');
      agent.stop();
      world.later(fenceAfterMs * chance.between(0.75, 0.98), () => {
        world.story(agent.name, 'goes on (SIGCONT)');
        agent.go();
        // It may have been its last tick.
        if (chance.hits(0.6)) world.whileFaulty(chance.between(50, 400), () => holder.killAgent());
      });
      world.later(fenceAfterMs * 3, () => holder.startAgent());
      const late = fenceAfterMs * chance.between(0.2, 0.6);
      world.whileFaulty(fenceAfterMs * chance.between(0, 1), () => askToLeave(world, holder));
      for (const machine of world.machines)
        if (machine !== holder) answersLate(world, machine, chance.pick([0.5, 1]), late, fenceAfterMs);
    });
  },
  /** Its ticks are slow, and some of them do not come to their write. */
  'slow ticks of a node that is cut off': (world: World) => {
    const { chance } = world;
    const holder = holderOf(world);
    if (holder === undefined) return;
    cutOff(world, holder);
    world.whileFaulty(agedMs(world, holder), () => {
      world.story(holder.name, 'has to wait for the shared disk');
      holder.slowDisk = chance.between(0.2, 0.6);
      world.later(world.spell(), () => {
        holder.slowDisk = 0;
      });
      answersLate(world, holder, chance.between(0.4, 0.9), 0, 20_000);
    });
  },
  /** Its end is not on the disk, and the agent that comes next is shown the assignment as it was before. */
  'a restart behind the news': (world: World) => {
    const { chance, time } = world;
    const holder = holderOf(world);
    if (holder === undefined || !holder.reachesDisk) return;
    const before = Number(world.server.version);
    holder.cutDisk(false);
    askToLeave(world, holder);
    world.whileFaulty(SETTLE_TRIED_MS + agedMs(world, holder), () => {
      holder.killAgent();
      holder.healDisk();
      world.story(holder.name, 'is shown by every list and watch what was some seconds ago');
      holder.link.listsFrom = before;
      holder.link.stuckUntilMs = time.nowMs + world.spell();
      world.whileFaulty(chance.between(200, 1_500), () => holder.startAgent());
    });
    world.later(world.spell() + 20_000, () => {
      holder.healDisk();
      holder.link.listsFrom = undefined;
      holder.startAgent();
    });
  },
} as const;

/** How long an agent waits for the disk to take an end before it says that it does not (src/agent/group.ts). */
const SETTLE_TRIED_MS = 3_000;

const LONGEST: Timing = { renewEvery: '1s', fenceAfter: '8s', killWithin: '1s', takeoverAfter: '10s' };

/** Of the first group, as the API server has it; unless that is cut off already. */
function holderOf({ server, namespace, groups, machines }: World): Machine | undefined {
  const status = server.read('failovergroups', namespace, groups[0] ?? '')?.['status'];
  const { assignment } = (status ?? {}) as { assignment?: { node: string } }; // as its schema has it
  return machines.find(({ name, link }) => name === assignment?.node && !link.cutTo);
}

function timingOf({ server, namespace }: World, { name }: Machine): Timing {
  const spec = server.read('failovernodes', namespace, name)?.['spec'];
  return (spec as { timing: Timing }).timing; // every node is declared with one
}

function cutOff(world: World, { name, link }: Machine): void {
  world.story(name, 'is cut from the API server');
  link.cutTo = link.cutBack = true;
  world.later(world.spell(), () => {
    world.story(name, 'reaches the API server again');
    link.cutTo = link.cutBack = false;
  });
}

/** From a cut until its Lease has aged, and a moment more. */
function agedMs(world: World, machine: Machine): number {
  return durationMs(timingOf(world, machine).takeoverAfter) + world.chance.between(500, 3_000);
}

function askToLeave(world: World, { name }: Machine): void {
  const to = world.chance.pick(world.machines.filter((other) => other.name !== name)).name;
  for (const group of world.groups) world.askForMove(group, to);
}

function answersLate(world: World, machine: Machine, chance: number, fromMs: number, forMs: number): void {
  world.whileFaulty(fromMs, () => {
    world.story(machine.name, 'hears late what it has asked of the shared disk');
    machine.lateAnswers = chance;
    world.later(forMs, () => {
      machine.lateAnswers = 0;
    });
  });
}
