import { ChannelDecisions, type ChannelTicks } from './channeldecisions.ts';
import {
  beginRound,
  channelBegins,
  endedContent,
  endWork,
  extend,
  forgetAges,
  forgetAll,
  gone,
  hasAll,
  isOut,
  lives,
  restart,
  writes,
  writesBeat,
  writesClaim,
} from './channelnode.ts';
import type { ChannelRule } from './channelrules.ts';
import {
  BEAT,
  type ChannelBudget,
  type ChannelNode,
  type ChannelWorld,
  CLAIM,
  contentAt,
  contentWords,
  copyOf,
  END,
  FAILED,
  IDLE,
  LEFT,
  LEFT_BY_ANOTHER,
  LOOKS,
  nodeAt,
  serverName,
  TICKS,
  UNREAD,
  WRITES,
} from './channelstate.ts';
import type { About, Emit, Model } from './explore.ts';

export interface ChannelOptions {
  /** By node; the first holds epoch 1 and runs. */
  readonly ticks: readonly ChannelTicks[];
  readonly budget: Partial<ChannelBudget>;
  /** Nodes whose writes and reads take no time. */
  readonly prompt?: readonly number[];
  /** The nodes that look at the files before they hold anything; then an old round is told from a new one for good. */
  readonly watchful?: readonly number[];
  readonly without?: readonly ChannelRule[];
}

const KILL = 1;

/** One group with a second channel: every write and every read of a file by itself, in every order. */
export function channelModel(options: ChannelOptions): Model<ChannelWorld> {
  const without = new Set(options.without);
  const { ticks } = options;
  const prompt = new Set(options.prompt);
  const watchful = new Set(options.watchful);
  const decisions = new ChannelDecisions(without, ticks, watchful.size > 0);
  const fenceOf = (index: number) => ticks[index]?.fence ?? 0;
  const takeoverOf = (index: number) => ticks[index]?.takeover ?? 0;

  function steps(world: ChannelWorld, emitWorld: Emit<ChannelWorld>): void {
    if (isOver(world)) return;
    const emit: Emit<ChannelWorld> = (next, tell, about) => {
      for (const one of prompt) catchUp(next, one);
      for (const node of next.nodes) {
        if (node.passed === node.view) forgetAges(node);
        if (node.process === 0) node.hung = 0; // it starts after a round that came back
        if (isOut(node, next)) forgetAll(node);
      }
      emitWorld(next, tell, about);
    };
    for (const [index, node] of world.nodes.entries()) {
      const change: Change = (told, by, about) => {
        const next = copyOf(world);
        by(nodeAt(next, index), next);
        emit(next, () => `${serverName(index)}  ${told}`, about);
      };
      processSteps(world, index, node, change);
      diskSteps(world, index, node, change);
      agentSteps(world, index, node, change);
      apiSteps(world, index, node, change);
    }
    assign(world, emit);
    passTime(world, emit);
  }

  function processSteps({ left }: ChannelWorld, index: number, node: ChannelNode, change: Change): void {
    const { process, shim, epoch } = node;
    if (process === 1)
      change(
        shim > 0
          ? `its shim starts the process, under epoch ${epoch}`
          : 'its shim looks at the deadline, and starts nothing',
        (next) => {
          if (shim > 0) next.process = 2;
          else gone(next);
        },
      );
    if (process >= 2 && shim <= 0)
      change(`its shim kills the process of epoch ${epoch}: the deadline has passed`, gone);
    if (process === 3) change(`the process of epoch ${epoch} has stopped`, gone);
    if (process === 2 && left.exit > 0 && index === 0)
      change(
        `the process of epoch ${epoch} exits by itself`,
        (next, world) => {
          world.left.exit -= 1;
          gone(next);
        },
        BY_CHANCE,
      );
  }

  function diskSteps({ left }: ChannelWorld, index: number, node: ChannelNode, change: Change): void {
    if (node.write !== 0)
      change(`the disk has its write: ${contentWords(node.own)}`, (_, world) => lands(world, index));
    if (node.work < TICKS) return;
    for (const [other, read] of node.reads.entries()) {
      if (other === index || read.found !== UNREAD) continue;
      change(`reads the file of ${serverName(other)}`, (_, world) => reads(world, index, other));
      if (left.failedRead > 0)
        change(
          `cannot read the file of ${serverName(other)}`,
          (next, world) => {
            world.left.failedRead -= 1;
            next.reads[other] = { found: FAILED, same: 0, current: 0 };
          },
          BY_CHANCE,
        );
    }
    if (hasAll(node, index))
      change(`has the answers of its ${node.work === TICKS ? 'tick' : 'look'}`, (_, world) => answers(world, index));
    if (left.timeout > 0)
      change(
        'has waited too long for the answers, and gives up',
        (next, world) => {
          world.left.timeout -= 1;
          next.hung = 1;
          endWork(next);
        },
        BY_CHANCE,
      );
  }

  function agentSteps(world: ChannelWorld, index: number, node: ChannelNode, change: Change): void {
    if (isOut(node, world)) return;
    const { process, epoch, view, work, write, ended } = node;
    const plan = decisions.plan(world, index);
    switch (plan.do) {
      case 'confirm':
        if (node.touch === 1)
          change('is told by a GET that this is so', (next) => {
            next.confirmed = 1;
          });
        break;
      case 'claim':
        if (work === 0 && write === 0)
          change(`writes its claim of epoch ${plan.epoch}`, (next) => writesClaim(next, plan.epoch));
        break;
      case 'start':
        change(`orders its shim to start the process (${plan.message})`, (next) => {
          next.process = 1;
          next.epoch = plan.epoch;
          next.spawned = plan.epoch;
          next.shim = next.deadline;
        });
        break;
      case 'stop':
        change(`stops the process (${plan.message})`, (next) => {
          if (next.process === 1) gone(next);
          else next.process = 3;
        });
        break;
      case 'endEpoch':
        if (write === 0)
          change(`writes that epoch ${plan.epoch} has ended`, (next) => {
            next.ends = plan.epoch;
            writes(next, END, endedContent(contentAt(next.own), plan.epoch));
          });
        break;
      case 'look': // it may look at any time, below
      case 'giveUp':
      case 'nothing':
        break;
    }
    if (work !== 0) return;
    const ticks = process === 2 && epoch === view && ended < epoch;
    if (ticks && node.hung === 0) {
      if (without.has('write, then read')) change('begins a tick, and reads first', (next) => beginRound(next, TICKS));
      else if (write === 0)
        change(`begins a tick, and writes that it runs epoch ${epoch}`, (next) => {
          writesBeat(next, epoch);
        });
      return;
    }
    const waits = view === index + 1 && node.passed !== view && process === 0;
    const early = view < index + 1 && watchful.has(index);
    if (waits || early || node.hung === 1)
      change('begins to look at the files of the others', (next) => beginRound(next, LOOKS));
    const own = contentAt(node.own);
    if (options.budget.exit !== undefined && process === 0 && own.state === 'running' && write === 0 && node.ends === 0)
      change('writes that its process has died', (next) => {
        const lie = without.has('`ended` only at an end');
        writes(next, IDLE, lie ? endedContent(own, own.epoch) : { ...own, state: 'idle' });
      });
  }

  function apiSteps(world: ChannelWorld, index: number, node: ChannelNode, change: Change): void {
    const { left, assigned } = world;
    const isLast = index === world.nodes.length - 1;
    if (node.touch === 1 && left.cut > 0 && !isLast && node.view === index + 1)
      change(
        'loses the API server',
        (next, world) => {
          world.left.cut -= 1;
          next.touch = 0;
        },
        BY_CHANCE,
      );
    if (node.touch === 0 && left.back > 0)
      change(
        assigned > node.view
          ? `is back at the API server: its Lease is fenced, and epoch ${assigned} is assigned`
          : 'is back at the API server, and holds its Lease',
        (next, world) => {
          world.left.back -= 1;
          if (assigned > node.view) {
            next.touch = 2;
            next.view = assigned;
            next.confirmed = 0;
          } else {
            next.touch = 1;
            next.leaseAge = 0;
            extend(next, fenceOf(index));
          }
        },
        BY_CHANCE,
      );
    if (
      left.stop > 0 &&
      !isLast &&
      node.touch === 1 &&
      node.view === index + 1 &&
      assigned === node.view &&
      node.stopAsked === 0
    )
      change(
        'is told to stop',
        (next, world) => {
          world.left.stop -= 1;
          next.stopAsked = 1;
        },
        BY_CHANCE,
      );
    if (left.restart > 0 && node.touch !== 2 && node.view === index + 1 && !isOut(node, world))
      change(
        'its agent is killed, and another begins',
        (next, world) => {
          world.left.restart -= 1;
          restart(next);
        },
        BY_CHANCE,
      );
  }

  /** The controller: with the word that the last epoch has ended, or with a fence. */
  function assign(world: ChannelWorld, emit: Emit<ChannelWorld>): void {
    const { assigned } = world;
    if (assigned === world.nodes.length) return;
    const last = nodeAt(world, assigned - 1);
    const released = last.touch !== 0 && last.ended >= assigned;
    const aged = last.touch === 0 && last.leaseAge >= takeoverOf(assigned - 1);
    if (!released && !aged) return;
    const next = copyOf(world);
    let open = released ? 0 : 1 << assigned;
    for (let epoch = 1; epoch < assigned; epoch += 1) {
      const node = nodeAt(world, epoch - 1);
      const closed = node.touch !== 0 && node.ended >= epoch;
      if (((world.open[assigned] ?? 0) & (1 << epoch)) !== 0 && !closed) open |= 1 << epoch;
    }
    next.assigned = assigned + 1;
    next.open[assigned + 1] = open;
    for (const [index, node] of next.nodes.entries()) {
      if (node.touch === 0) continue;
      node.view = assigned + 1;
      node.confirmed = 0;
      node.stopAsked = 0;
      if (index !== assigned) continue;
      node.confirmed = 1;
      node.deadline = fenceOf(index);
    }
    const by = released
      ? `epoch ${assigned} has ended`
      : `the Lease of ${serverName(assigned - 1)} has aged and is fenced`;
    emit(next, () => `${by}: epoch ${assigned + 1} is assigned to ${serverName(assigned)}`);
  }

  /** One tick, unless somebody must be killed before. What has taken its whole time by then is given up. */
  function passTime(world: ChannelWorld, emit: Emit<ChannelWorld>): void {
    if (world.nodes.some(({ process, shim }) => process >= 2 && shim <= -KILL)) return;
    const next = copyOf(world);
    for (const [index, node] of next.nodes.entries()) {
      const steady = node.touch === 1 && node.view === index + 1;
      if (node.touch === 0) node.leaseAge = Math.min(takeoverOf(index), node.leaseAge + 1);
      if (steady) extend(node, fenceOf(index));
      else {
        node.deadline = Math.max(0, node.deadline - 1);
        if (node.process !== 0) node.shim = Math.max(-KILL, node.shim - 1);
      }
      decisions.age(node);
      if (node.work === 0) continue;
      if (node.workAge < fenceOf(index)) node.workAge += 1;
      else if (node.work === WRITES) {
        node.write = LEFT;
        endWork(node);
      } else {
        node.hung = 1;
        endWork(node);
      }
    }
    emit(next, () => 'a tick of the clock passes');
  }

  function lands(world: ChannelWorld, index: number): void {
    const node = nodeAt(world, index);
    const { write } = node;
    const news = node.file !== node.own || !without.has('a beat never there before');
    node.file = node.own;
    node.write = 0;
    if (news)
      for (const other of world.nodes) {
        const read = other.reads[index];
        const sight = other.sights[index];
        if (read !== undefined) read.current = 0;
        if (sight !== undefined) sight.current = 0;
      }
    if (write === CLAIM || write === LEFT_BY_ANOTHER) node.claimed = contentAt(node.file).claim;
    if (write === END) {
      node.ended = Math.max(node.ended, node.ends);
      node.ends = 0;
      node.confirmed = 0;
    }
    if (write === BEAT && without.has('write, then read')) {
      if (lives(node)) extendByTick(node, index);
      endWork(node);
    } else if (node.work === WRITES) beginRound(node, write === BEAT ? TICKS : LOOKS);
  }

  function reads(world: ChannelWorld, index: number, other: number): void {
    const node = nodeAt(world, index);
    const { file } = nodeAt(world, other);
    const sight = node.sights[other];
    const same = sight !== undefined && sight.found !== UNREAD && sight.current === 1 ? 1 : 0;
    node.reads[other] = { found: file, same, current: 1 };
  }

  function answers(world: ChannelWorld, index: number): void {
    const node = nodeAt(world, index);
    decisions.learn(node, index);
    node.hung = 0;
    const mayExtend = node.work === TICKS && lives(node) && decisions.obstacle(world, index) === undefined;
    if (mayExtend && without.has('write, then read') && node.write === 0) {
      writesBeat(node, node.epoch);
      return;
    }
    if (mayExtend) extendByTick(node, index);
    endWork(node);
    if (node.view === index + 1 && node.process === 0 && decisions.gate(world, index, true).state === 'passed')
      node.passed = node.view;
  }

  function extendByTick(node: ChannelNode, index: number): void {
    const fromEnd = without.has('from the start of the tick');
    extend(node, fromEnd ? fenceOf(index) : fenceOf(index) - node.workAge);
  }

  /** A node whose writes and reads take no time. */
  function catchUp(world: ChannelWorld, index: number): void {
    const node = nodeAt(world, index);
    while (node.write !== 0 || node.work >= TICKS) {
      if (node.write !== 0) lands(world, index);
      if (node.work < TICKS) continue;
      for (const other of world.nodes.keys())
        if (other !== index && node.reads[other]?.found === UNREAD) reads(world, index, other);
      answers(world, index);
    }
  }

  function served({ nodes, assigned }: ChannelWorld): boolean {
    const holder = nodes[assigned - 1];
    return holder?.process === 2 && holder.epoch === assigned;
  }

  /** The last holder serves, and nothing else lives or may start: what comes then is the same once more. */
  function isOver(world: ChannelWorld): boolean {
    if (!served(world) || world.assigned < world.nodes.length) return false;
    return world.nodes.every((node, index) => {
      return index + 1 === world.assigned || (node.process === 0 && (node.deadline === 0 || node.view !== index + 1));
    });
  }

  return { initial: channelBegins(ticks, options.budget), steps, wrong, served };
}
type Change = (told: string, by: (node: ChannelNode, world: ChannelWorld) => void, about?: About) => void;
const BY_CHANCE: About = { byChance: true };

function wrong({ nodes }: ChannelWorld): string | undefined {
  const alive = nodes.flatMap(({ process, epoch }, index) =>
    process >= 2 ? [`on ${serverName(index)} under epoch ${epoch}`] : [],
  );
  return alive.length > 1 ? `two processes live: ${alive.join(', ')}` : undefined;
}
