import { type AgentSeen, type GroupView, planAgent } from '../../src/decide/agent.ts';
import { planFailover } from '../../src/decide/failover.ts';
import type { GroupPlan } from '../../src/decide/plan.ts';
import { outness } from '../../src/decide/proof.ts';
import type { GroupSeen, LeaseSeen, NodeSeen, Now } from '../../src/decide/seen.ts';
import {
  assignments,
  DISK_ID,
  groupObject,
  groupRecord,
  groups,
  indexOf,
  leases,
  NAMES,
  nodeObject,
} from './records.ts';
import type { Rule } from './rules.ts';
import { type Controller, type LeaseView, type Node, of, SHOWN_GONE } from './state.ts';
import { TICK_MS, type Ticks } from './ticks.ts';

/*
 * The real decisions, asked about what somebody in a small world sees. They are pure, so each is asked once about each
 * thing that can be seen.
 */

const NOW: Now = { ms: 1_000_000, iso: '2026-11-23T12:00:00.000Z' };

export interface ControllerDecision {
  /** The group as it is to be written; 0: the finalizer goes, and the group with it. Undefined: nothing is. */
  readonly writes: number | undefined;
  /** The index of the node whose Lease is to be fenced. */
  readonly fences: number | undefined;
  readonly unsettled: boolean;
  readonly epoch: number;
  readonly tells: string;
}

export interface AgentDecision {
  readonly does: ReturnType<typeof planAgent>['do'];
  readonly epoch: number;
  readonly tells: string;
}

export class Decisions {
  readonly #rules: ReadonlySet<Rule>;
  readonly #ticks: Ticks;
  readonly #controllers = new Map<string, ControllerDecision>();
  readonly #agents = new Map<string, AgentDecision>();

  constructor(without: ReadonlySet<Rule>, ticks: Ticks) {
    this.#rules = without;
    this.#ticks = ticks;
  }

  ofController(controller: Controller): ControllerDecision {
    const { group, leases: [one, two], reports, unsettled } = controller; // biome-ignore format: one line
    const key = `${group},${one.lease},${one.age},${one.changed},${two.lease},${two.age},${two.changed},${reports[0]},${reports[1]},${unsettled}`;
    let decision = this.#controllers.get(key);
    if (decision === undefined) {
      decision = this.#askController(controller);
      this.#controllers.set(key, decision);
    }
    return decision;
  }

  ofAgent(index: number, node: Node): AgentDecision {
    const { view, confirmed, confirmedSinceGap, held, deadline, ended, settled, spawned, process, epoch } = node;
    const key = `${index},${view},${confirmed},${confirmedSinceGap},${held},${deadline > 0 ? 1 : 0},${ended},${settled},${spawned},${process},${epoch},${node.stopping},${node.ending},${node.get}`;
    let decision = this.#agents.get(key);
    if (decision === undefined) {
      decision = this.#askAgent(index, node);
      this.#agents.set(key, decision);
    }
    return decision;
  }

  #askController(controller: Controller): ControllerDecision {
    const group = groupObject(controller.group);
    const nodes = NAMES.map((name, index): NodeSeen => {
      const node = nodeObject(of(controller.reports, index));
      return { name, node, lease: this.#leaseSeen(of(controller.leases, index)), twin: undefined };
    });
    const blank: GroupSeen = {
      ...{ group, nodes, monitors: [], vips: [], failures: [], loss: undefined, moveStartMs: undefined },
      // The first start has waited for the nodes that come first: which of them is there is chance all the same.
      unassignedSinceMs: NOW.ms - 10_000,
      unsettledSinceMs: undefined,
      ...{ diskFlights: [], diskFailingSinceMs: {}, instance: undefined, readiness: [] },
    };
    const assignment = group.status?.assignment;
    const proven = assignment && outness(blank, assignment, NOW);
    const unsettled = proven !== undefined && !proven.out && proven.unsettled;
    const sinceMs = NOW.ms - Math.max(0, controller.unsettled - 1) * TICK_MS;
    const seen = { ...blank, unsettledSinceMs: unsettled ? sinceMs : undefined };
    const plan = planFailover(seen, NOW);
    const fence = plan.deeds.find(({ kind }) => kind === 'Fence');
    return {
      writes: writtenBy(controller.group, plan),
      fences: fence?.kind === 'Fence' ? indexOf(fence.node) : undefined,
      unsettled,
      epoch: plan.assignment?.epoch ?? assignment?.epoch ?? 0,
      tells: `${plan.reason}: ${plan.message}`,
    };
  }

  #leaseSeen(view: LeaseView): LeaseSeen {
    const record = leases.at(view.lease);
    const { takeover } = this.#ticks;
    const age = this.#rules.has('age') && record.held ? takeover : view.age;
    const taken = this.#rules.has('fence') && record.held && age >= takeover;
    const firstSeenMs = NOW.ms - age * TICK_MS;
    return {
      kind: 'present',
      holder: record.held && !taken ? 'self' : '',
      incarnation: record.incarnation + (taken ? 1 : 0),
      bootId: `boot-${record.boot}`,
      settled: record.settled,
      resourceVersion: '1',
      takeoverAfterMs: takeover * TICK_MS,
      firstSeenMs,
      changedMs: view.changed === 1 ? NOW.ms - view.age * TICK_MS : undefined,
    };
  }

  #askAgent(index: number, node: Node): AgentDecision {
    const plan = planAgent(this.#agentSeen(index, node), NOW);
    const epoch = 'epoch' in plan ? plan.epoch : 0;
    return { does: plan.do, epoch, tells: `${plan.reason}: ${plan.message}` };
  }

  #agentSeen(index: number, node: Node): AgentSeen {
    const view = this.#viewOf(node, node.view);
    const confirmed = this.#rules.has('GET for each epoch')
      ? { view, sentAtMs: NOW.ms - 5 }
      : node.confirmed === 0
        ? undefined
        : {
            view: this.#viewOf(node, node.confirmed === SHOWN_GONE ? 0 : node.confirmed),
            sentAtMs: NOW.ms - (node.confirmedSinceGap === 1 ? 5 : 20),
          };
    return {
      node: NAMES[index] ?? '',
      nodeProblem: undefined,
      incarnation: node.held === 0 ? undefined : node.held,
      deadline: { untilMs: NOW.ms + node.deadline * TICK_MS, unbrokenSinceMs: NOW.ms - 10 },
      view,
      confirmed,
      record: {
        ended: this.#rules.has('above the highest ended') ? 0 : node.ended,
        settled: node.settled === 1,
        spawned: node.spawned,
      },
      process: { state: processState(node), epoch: node.epoch },
      disk: { state: 'mounted', id: DISK_ID },
      hostProblem: undefined,
      recordedDiskId: DISK_ID,
      channel: undefined,
      proof: undefined,
      lockRefused: undefined,
      failures: [],
      restart: { limit: 3, windowMs: 600_000 },
      underWay: { confirm: node.get !== 0, end: node.ending !== 0 },
    };
  }

  #viewOf(node: Node, view: number): GroupView {
    if (view === 0) return { exists: false };
    const assignment = assignments.at(view) ?? undefined;
    if (assignment === undefined || !this.#rules.has('incarnation in condition 1')) return { exists: true, assignment };
    return { exists: true, assignment: { ...assignment, incarnation: node.held } };
  }
}

function processState({ process, stopping }: Node): AgentSeen['process']['state'] {
  if (process === 0) return 'idle';
  if (stopping === 1) return 'stopping';
  return process === 1 ? 'starting' : 'running';
}

/** The group after the plan, if it changes anything but words. */
function writtenBy(group: number, plan: GroupPlan): number | undefined {
  if (plan.deeds.some(({ kind }) => kind === 'RemoveFinalizer')) return 0;
  const before = groups.at(group);
  const wish = plan.deeds.some(({ kind }) => kind === 'RemoveMoveWish') ? '' : before.wish;
  const assignment = plan.assignment ?? before.assignment;
  const after = groups.numberOf(groupRecord({ ...before, wish, assignment, move: plan.move ?? before.move }));
  return after === group ? undefined : after;
}
