import type { Assignment } from '../../src/crds/failovergroup.ts';
import { type AgentPlan, type AgentSeen, planAgent } from '../../src/decide/agent.ts';
import {
  type FileRead,
  type Found,
  fallbackAgeMs,
  type Gate,
  highestIn,
  isOpen,
  judgeGate,
  othersOf,
  type Round,
  type Sight,
  type Sights,
  sightsAfter,
  tickObstacle,
} from '../../src/decide/channel.ts';
import type { ChannelRule } from './channelrules.ts';
import { type ChannelNode, type ChannelWorld, contentAt, FAILED, nodeAt, serverName, UNREAD } from './channelstate.ts';
import { TICK_MS } from './ticks.ts';

/** Durations of each node, in ticks. */
export interface ChannelTicks {
  readonly fence: number;
  readonly takeover: number;
}

const NOW_MS = 100_000_000;
/** Before all that is said in ticks; `EARLIER_MS` is before it, `LATER_MS` after. */
const ROUND_MS = 20_000_000;
const EARLIER_MS = 10_000_000;
const LATER_MS = 30_000_000;

/** The real decisions about the second channel, asked about what a node of a small world sees. */
export class ChannelDecisions {
  readonly #rules: ReadonlySet<ChannelRule>;
  readonly #ticks: readonly ChannelTicks[];
  readonly #keepsRounds: boolean;
  readonly #plans = new Map<string, AgentPlan>();
  readonly #assignments = new Map<number, Assignment>();

  constructor(rules: ReadonlySet<ChannelRule>, ticks: readonly ChannelTicks[], keepsRounds: boolean) {
    this.#rules = rules;
    this.#ticks = ticks;
    this.#keepsRounds = keepsRounds;
  }

  plan(world: ChannelWorld, index: number): AgentPlan {
    const node = nodeAt(world, index);
    const { touch, view, stopAsked, confirmed, deadline, process, epoch, ended, spawned, own, claimed, passed } = node;
    const sights = node.sights.map(({ found, stood, failed }) => `${found}/${stood}/${failed}`).join();
    const { has, afterClaim, afterGap, age } = node.round;
    const key = `${index},${touch},${view},${world.open[view]},${stopAsked},${confirmed},${deadline > 0 ? 1 : 0},${process},${epoch},${ended},${spawned},${own},${claimed},${passed},${node.ends},${sights},${has},${afterClaim},${afterGap},${age}`;
    let plan = this.#plans.get(key);
    if (plan === undefined) {
      plan = planAgent(this.#seen(world, index), { ms: NOW_MS });
      this.#plans.set(key, plan);
    }
    return plan;
  }

  /** The answer to a round: what is known of the files by now. */
  learn(node: ChannelNode, index: number): void {
    const reads = node.reads.flatMap(({ found, same }, other): FileRead[] => {
      if (other === index) return [];
      if (found === FAILED) return [{ node: serverName(other), kind: 'failed', message: 'EIO' }];
      return [this.#found(found, other, index, same === 1 ? 'seen' : 'new')];
    });
    const after = sightsAfter(this.#sights(node, index, false), { startedMs: ROUND_MS, answeredMs: NOW_MS, reads });
    for (const [other, sight] of node.sights.entries()) {
      const read = node.reads[other];
      const now = after.get(serverName(other));
      if (read === undefined || now === undefined) continue;
      sight.failed = now.failure === undefined ? 0 : 1;
      if (read.found !== FAILED) {
        sight.found = read.found;
        sight.current = read.current;
      }
      const stood = (NOW_MS - now.firstSeenMs) / TICK_MS;
      sight.stood = sight.found === UNREAD ? 0 : Math.min(stood, this.longest());
    }
    node.round = { has: 1, afterClaim: node.afterClaim, afterGap: node.afterGap, age: 0 };
  }

  /** Why the tick whose round has just come back does not extend the deadline. */
  obstacle(world: ChannelWorld, index: number): string | undefined {
    const node = nodeAt(world, index);
    const reads = [...this.#sights(node, index, true)].map(([name, { found, failure }]): FileRead => {
      if (failure !== undefined || found === undefined) return { node: name, kind: 'failed', message: failure ?? '' };
      return found;
    });
    const round: Round = { startedMs: ROUND_MS, answeredMs: NOW_MS, reads };
    return tickObstacle(round, othersOf(this.#assignment(world, node.view), serverName(index)), node.epoch);
  }

  /** `answered`: a round has just come back. */
  gate(world: ChannelWorld, index: number, answered: boolean): Gate {
    const node = nodeAt(world, index);
    if (node.passed === node.view || this.#rules.has('the gate')) return { state: 'passed' };
    const assignment = this.#assignment(world, node.view);
    let others = othersOf(assignment, serverName(index));
    if (this.#rules.has('every other node')) others = others.filter((name) => name === serverName(node.view - 2));
    const sights = new Map([...this.#sights(node, index, true)].filter(([name]) => others.includes(name)));
    const { has, afterClaim, afterGap, age } = node.round;
    const late = afterClaim === 0 && !this.#rules.has("the gate's round after the claim");
    const asked = {
      epoch: node.view,
      others,
      own: contentAt(node.own),
      claimedMs: node.claimed < node.view ? undefined : late ? LATER_MS : EARLIER_MS,
      notBeforeMs: afterGap === 1 ? EARLIER_MS : LATER_MS,
      open: isOpen(assignment),
      fallbackMs: fallbackAgeMs(assignment, this.#of(index).takeover * TICK_MS),
    };
    // Where rounds are not kept, the ages go on as if there were one in each tick, and nothing passes by them.
    const answeredMs = answered || this.#keepsRounds ? NOW_MS - age * TICK_MS : Number.NEGATIVE_INFINITY;
    return judgeGate(asked, sights, has === 1 ? { startedMs: ROUND_MS, answeredMs, reads: [] } : undefined);
  }

  /** A tick passes. A round that is over is of no use but for the ages, if none counts but when it comes back. */
  age(node: ChannelNode): void {
    if (node.round.has === 0) return;
    if (this.#keepsRounds) node.round.age = Math.min(this.longest(), node.round.age + 1);
    else
      for (const sight of node.sights)
        if (sight.found !== UNREAD) sight.stood = Math.min(this.longest(), sight.stood + 1);
  }

  longest(): number {
    return Math.max(...this.#ticks.map(({ takeover }) => takeover));
  }

  /** `judged`: as the decisions are shown it, where a rule is off. */
  #sights(node: ChannelNode, index: number, judged: boolean): Sights {
    const { has, age } = node.round;
    const sights = new Map<string, Sight>();
    if (has === 0) return sights;
    for (const [other, { found, stood, failed }] of node.sights.entries()) {
      if (other === index) continue;
      const aged = judged && this.#rules.has('age at the gate') ? this.longest() : stood + age;
      sights.set(serverName(other), {
        found: found === UNREAD ? undefined : this.#found(found, other, index, 'seen', judged ? node.view : 0),
        firstSeenMs: NOW_MS - aged * TICK_MS,
        lastReadMs: NOW_MS - age * TICK_MS,
        failure: failed === 1 ? 'EIO' : undefined,
      });
    }
    return sights;
  }

  #found(content: number, of: number, reader: number, beat: string, readersEpoch = 0): Found {
    const node = serverName(of);
    if (content === 0) return { node, kind: 'empty' };
    const { state: written, ...numbers } = contentAt(content);
    let state = written;
    const blind = readersEpoch > 0 && this.#rules.has('no claim or epoch at or above');
    const most = blind ? readersEpoch - 1 : Number.POSITIVE_INFINITY;
    const claim = Math.min(most, numbers.claim);
    const epoch = Math.min(most, numbers.epoch);
    let ended = Math.min(most, numbers.ended);
    if (state === 'idle' && readersEpoch > 0 && this.#rules.has('`idle` passes only by age')) {
      state = 'ended';
      ended = epoch;
    }
    const takeoverAfterSeconds = this.#of(this.#rules.has("the file's own number") ? reader : of).takeover;
    return { node, kind: 'record', record: { state, ended, claim, epoch, beat, takeoverAfterSeconds } };
  }

  #seen(world: ChannelWorld, index: number): AgentSeen {
    const node = nodeAt(world, index);
    const assignment = node.view === 0 ? undefined : this.#assignment(world, node.view, node.stopAsked === 1);
    const view = { exists: true, assignment } as const;
    const state = (['idle', 'starting', 'running', 'stopping'] as const)[node.process] ?? 'idle';
    return {
      node: serverName(index),
      nodeProblem: undefined,
      incarnation: node.touch === 2 ? undefined : 1,
      deadline: { untilMs: NOW_MS + node.deadline * TICK_MS, unbrokenSinceMs: NOW_MS - 10 },
      view,
      confirmed: node.confirmed === 1 ? { view, sentAtMs: NOW_MS - 5 } : undefined,
      record: { ended: node.ended, settled: true, spawned: node.spawned },
      process: { state, epoch: node.epoch },
      disk: { state: 'mounted', id: 'disk-1' },
      hostProblem: undefined,
      recordedDiskId: 'disk-1',
      channel: {
        highest: highestIn(this.#sights(node, index, true)),
        claimed: contentAt(node.own).claim,
        gate: node.view === index + 1 ? this.gate(world, index, false) : { state: 'unread' },
      },
      proof: undefined,
      lockRefused: undefined,
      failures: [],
      restart: { limit: 3, windowMs: 600_000 },
      underWay: { confirm: false, end: node.ends !== 0 },
    };
  }

  #assignment(world: ChannelWorld, epoch: number, stopping = false): Assignment {
    const open = world.open[epoch] ?? 0;
    const key = (open * 8 + epoch) * 2 + (stopping ? 1 : 0);
    const known = this.#assignments.get(key);
    if (known !== undefined) return known;
    const nodes = world.nodes.map((_, index) => {
      return { name: serverName(index), instanceId: `i-${index}`, takeoverAfterSeconds: this.#of(index).takeover };
    });
    const basis = { mountPath: '/mnt/efs', diskId: 'disk-1', heartbeat: true, nodes };
    const earlier = [1, 2, 3].filter((one) => (open & (1 << one)) !== 0);
    const assignment: Assignment = {
      ...{ node: serverName(epoch - 1), incarnation: 1, epoch, state: stopping ? 'Stopping' : 'Active' },
      basis: {
        ...basis,
        earlier: earlier.map((one) => ({ epoch: one, node: serverName(one - 1), incarnation: 1, ...basis })),
      },
    };
    this.#assignments.set(key, assignment);
    return assignment;
  }

  #of(index: number): ChannelTicks {
    const ticks = this.#ticks[index];
    if (ticks === undefined) throw new Error(`Cannot find the durations of node ${index}`);
    return ticks;
  }
}
