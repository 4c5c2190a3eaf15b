import { AgentSteps, BY_CHANCE, gone } from './agentsteps.ts';
import { ControllerSteps, freshController } from './controllersteps.ts';
import { Decisions } from './decisions.ts';
import type { Emit, Model } from './explore.ts';
import { type GroupRecord, groupRecord, groups, indexOf, leases, NAMES, reports, shown } from './records.ts';
import type { Rule } from './rules.ts';
import { type Budget, Draft, NO_REQUEST, type Node, of, type Server, type World } from './state.ts';
import { TICKS, type Ticks } from './ticks.ts';

export interface WorldOptions {
  /** `serving`: epoch 1 runs on server1. `new`: nothing has been assigned yet. */
  readonly begins: 'new' | 'serving';
  /** Epochs that are walked: one above is never assigned. */
  readonly epochs: number;
  readonly controllers: number;
  readonly budget: Partial<Budget>;
  /** Whose messages and watches may take any time, and come between any two steps of others. By index, the nodes. */
  readonly slow: readonly (number | 'controllers' | 'cache')[];
  /** Nodes that renew their Leases in every tick. */
  readonly steady?: readonly number[];
  readonly without?: readonly Rule[];
}

/** One group on two nodes, by the channel over the API server alone. */
export function worldModel(options: WorldOptions): Model<World> {
  const without = new Set(options.without);
  const ticks: Ticks = without.has('the sum') ? { ...TICKS, takeover: 2 } : TICKS;
  const slow = new Set(options.slow);
  const steady = new Set(options.steady);
  const decisions = new Decisions(without, ticks);
  const agents = new AgentSteps(decisions, without, ticks);
  const controllers = new ControllerSteps(decisions, without, options.epochs, slow.has('controllers'));

  function steps(world: World, emitWorld: Emit<World>): void {
    if (isAtHorizon(world)) return;
    const emit: Emit<Draft> = (draft, tell, about) => {
      for (const index of NAMES.keys()) if (!slow.has(index)) agents.catchUp(draft, index);
      if (!slow.has('controllers')) for (const index of world.controllers.keys()) controllers.catchUp(draft, index);
      if (!slow.has('cache')) draft.server.cached = shown(draft.server.group);
      emitWorld(draft.done(), tell, about);
    };
    for (const index of NAMES.keys()) agents.emit(world, index, emit);
    for (const index of world.controllers.keys()) controllers.emit(world, index, emit);
    passTime(world, emit);
    for (const index of NAMES.keys()) crash(world, index, emit);
    people(world, emit);
    if (world.server.cached !== shown(world.server.group)) {
      const draft = new Draft(world);
      draft.server.cached = shown(world.server.group);
      emit(draft, () => "the API server's cache catches up");
    }
  }

  /** One tick, unless somebody must be killed before. */
  function passTime(world: World, emit: Emit<Draft>): void {
    const due = ({ process, shim }: Readonly<Node>) => process === 2 && shim <= -ticks.kill;
    if (!without.has('the kill') && world.nodes.some(due)) return;
    const draft = new Draft(world);
    for (const index of NAMES.keys()) {
      const node = draft.node(index);
      if (steady.has(index)) agents.renewAtOnce(draft, index);
      const left = steady.has(index) && node.held !== 0 ? 0 : 1;
      node.deadline = Math.max(0, node.deadline - left);
      if (node.process !== 0) node.shim = Math.max(-ticks.kill, node.shim - left);
      if (node.request.state !== 0) node.request.age = Math.min(ticks.fence, node.request.age + 1);
    }
    for (const controller of draft.controllers()) {
      for (const lease of controller.leases) lease.age = Math.min(ticks.takeover, lease.age + 1);
      if (controller.unsettled > 0) controller.unsettled = Math.min(ticks.takeover + 1, controller.unsettled + 1);
    }
    emit(draft, () => 'a tick passes');
  }

  /** What comes then is the same once more, with higher numbers. */
  function isAtHorizon(world: World): boolean {
    return world.controllers.some((one) => controllers.isAtHorizon(one));
  }

  function served(world: World): boolean {
    if (world.server.group === 0) return true;
    if (isAtHorizon(world)) return true;
    const { running, deleting, assignment } = groups.at(world.server.group);
    if (deleting) return false;
    if (!running) return world.nodes.every(({ process }) => process === 0);
    if (!assignment) return false;
    const node = of(world.nodes, indexOf(assignment.node));
    return node.process === 2 && node.epoch === assignment.epoch && node.stopping === 0;
  }

  return { initial: initial(options), steps, wrong, served };
}

function wrong({ nodes: [one, two], server }: World): string | undefined {
  if (one.process === 2 && two.process === 2)
    return `two processes live: on server1 under epoch ${one.epoch}, on server2 under epoch ${two.epoch}`;
  if (server.group === 0 && (one.process === 2 || two.process === 2)) return 'a process of a group that is gone lives';
  return undefined;
}

function crash(world: World, index: number, emit: Emit<Draft>): void {
  const node = of(world.nodes, index);
  const change = (told: string, by: (node: Node, draft: Draft) => void, byChance: boolean) => {
    const draft = new Draft(world);
    by(draft.node(index), draft);
    emit(draft, () => `${NAMES[index]}  ${told}`, byChance ? BY_CHANCE : {});
  };
  if (node.up === 0)
    change(
      'is booted',
      (next) => {
        next.up = 1;
      },
      false,
    );
  if (node.up === 1 && node.agent === 0)
    change(
      'its agent is started',
      (next) => {
        next.agent = 1;
        next.view = world.server.cached;
        next.behind = world.server.cached === shown(world.server.group) ? 0 : 1;
      },
      false,
    );
  const { left } = world;
  if (node.agent === 1 && left.agentCrash > 0)
    change(
      'its agent is killed',
      (next, draft) => {
        draft.spend('agentCrash');
        endAgent(next);
      },
      true,
    );
  if (node.agent === 1 && left.runLost > 0)
    change(
      'its agent is killed, and /run is lost',
      (next, draft) => {
        draft.spend('runLost');
        endAgent(next);
        forget(next);
      },
      true,
    );
  if (node.up === 1 && left.reboot > 0)
    change(
      'loses its power',
      (next, draft) => {
        draft.spend('reboot');
        endAgent(next);
        forget(next);
        gone(next);
        next.up = 0;
        next.boot += 1;
      },
      true,
    );
}

/** What it had sent may arrive all the same, as of one that has given up waiting. */
function endAgent(node: Node): void {
  if (node.request.state === 1) node.late = { ...node.request, age: 0 };
  node.request = { ...NO_REQUEST };
  Object.assign(node, {
    agent: 0,
    held: 0,
    heldCurrent: 0,
    deadline: 0,
    view: 0,
    behind: 0,
    confirmed: 0,
    confirmedSinceGap: 0,
  });
  Object.assign(node, { get: 0, getSinceGap: 0, getShows: 0, ending: 0, endingSettled: 0, stopping: 0 });
}

function forget(node: Node): void {
  Object.assign(node, { incarnation: 0, known: 0, ended: 0, settled: 1, spawned: 0 });
}

function people(world: World, emit: Emit<Draft>): void {
  const { group } = world.server;
  if (group === 0) return;
  const record = groups.at(group);
  const { left } = world;
  const ask = (told: string, spends: keyof Budget, change: Partial<GroupRecord>) => {
    const draft = new Draft(world);
    draft.spend(spends);
    draft.server.group = groups.numberOf({ ...record, ...change });
    emit(draft, () => `somebody  ${told}`, BY_CHANCE);
  };
  if (left.move > 0 && record.wish === '') {
    const to = record.assignment?.node === NAMES[0] ? NAMES[1] : NAMES[0];
    ask(`asks for a move to ${to}`, 'move', { wish: to });
  }
  if (left.stop > 0 && record.running) ask('sets running to false', 'stop', { running: false });
  if (left.start > 0 && !record.running) ask('sets running to true', 'start', { running: true });
  if (left.remove > 0 && !record.deleting) ask('deletes the group', 'remove', { deleting: true });
}

const NO_BUDGET: Budget = {
  ...{ agentCrash: 0, runLost: 0, reboot: 0, lateMessage: 0, diskRefuses: 0, controllerRestart: 0, processExit: 0 },
  ...{ move: 0, stop: 0, start: 0, remove: 0 },
};

/** Both nodes hold incarnation 1 and have just renewed it. */
function initial({ begins, controllers, budget }: WorldOptions): World {
  const serving = begins === 'serving';
  const assignment = serving ? EPOCH_1 : null;
  const group = groups.numberOf(groupRecord({ running: true, deleting: false, wish: '', assignment, move: null }));
  const lease = leases.numberOf({ held: true, incarnation: 1, boot: 1, settled: true });
  const report = (node: number, epoch: number) =>
    reports.numberOf({ node, incarnation: 1, boot: 1, ended: 0, settled: true, epoch, running: epoch > 0 });
  const server: Server = {
    group,
    leases: [lease, lease],
    reports: [report(0, serving ? 1 : 0), report(1, 0)],
    cached: shown(group),
  };
  const node = (runs: boolean): Node => ({
    ...{
      up: 1,
      boot: 1,
      agent: 1,
      incarnation: 1,
      known: 1,
      ended: 0,
      settled: 1,
      spawned: runs ? 1 : 0,
      endedOnDisk: 0,
    },
    ...{ held: 1, heldCurrent: 1, deadline: TICKS.fence, request: { ...NO_REQUEST }, late: { ...NO_REQUEST } },
    ...{
      get: 0,
      getSinceGap: 0,
      getShows: 0,
      confirmed: runs ? shown(group) : 0,
      confirmedSinceGap: runs ? 1 : 0,
      view: shown(group),
      behind: 0,
    },
    ...{
      process: runs ? 2 : 0,
      epoch: runs ? 1 : 0,
      orderedFor: runs ? 1 : 0,
      shim: runs ? TICKS.fence : 0,
      stopping: 0,
    },
    ...{ ending: 0, endingSettled: 0 },
  });
  return {
    server,
    nodes: [node(serving), node(false)],
    controllers: Array.from({ length: controllers }, () => freshController({ server })),
    left: { ...NO_BUDGET, ...budget },
  };
}

const EPOCH_1: GroupRecord['assignment'] = {
  ...{ node: NAMES[0], incarnation: 1, bootId: 'boot-1', epoch: 1, state: 'Active' },
  basis: {
    ...{ mountPath: '/mnt/efs', diskId: 'disk-1', heartbeat: false, earlier: [] },
    nodes: NAMES.map((name, index) => ({ name, instanceId: `i-0000000${index + 1}`, takeoverAfterSeconds: 3 })),
  },
};
