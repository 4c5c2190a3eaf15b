import type { AgentDecision, Decisions } from './decisions.ts';
import type { About, Emit } from './explore.ts';
import { assignments, groups, leases, NAMES, reports, shown } from './records.ts';
import type { Rule } from './rules.ts';
import { Draft, leaseWritten, NO_REQUEST, type Node, of, SHOWN_GONE, type World } from './state.ts';
import type { Ticks } from './ticks.ts';

/** What may happen on one node next: its agent, its shim, its process, and its messages. */
export class AgentSteps {
  readonly #decisions: Decisions;
  readonly #rules: ReadonlySet<Rule>;
  readonly #ticks: Ticks;

  constructor(decisions: Decisions, rules: ReadonlySet<Rule>, ticks: Ticks) {
    this.#decisions = decisions;
    this.#rules = rules;
    this.#ticks = ticks;
  }

  emit(world: World, index: number, emit: Emit<Draft>): void {
    const node = of(world.nodes, index);
    const change = (told: string, by: (node: Node, draft: Draft) => void, about?: About) => {
      const draft = new Draft(world);
      by(draft.node(index), draft);
      emit(draft, () => `${NAMES[index]}  ${told}`, about);
    };
    this.#process(world, index, node, change);
    this.#messages(world, index, node, change);
    if (node.agent === 0) return;
    this.#lease(world, index, node, change);
    this.#watch(world, node, change);
    const ownFile = node.endedOnDisk > node.ended && node.known === 1;
    if (ownFile)
      change(`reads in its own file on the disk that it has ended epoch ${node.endedOnDisk}`, (next) => {
        next.ended = next.endedOnDisk;
      });
    this.#end(node, change);
    this.#act(world, index, node, change);
    this.#report(world, index, node, change);
  }

  #process(world: World, index: number, node: Node, change: Change): void {
    const { process, shim, epoch } = node;
    if (process === 1) {
      const looks = !this.#rules.has('look before exec');
      const allowed = shim > 0 && node.incarnation === node.orderedFor;
      if (allowed || !looks) {
        const again = reports.at(of(world.server.reports, index)).ended >= epoch;
        const wrong = again ? `epoch ${epoch} runs again on ${NAMES[index]}, which has reported its end` : undefined;
        change(
          `its shim starts the process, under epoch ${epoch}`,
          (next) => {
            next.process = 2;
          },
          { wrong },
        );
      } else change('its shim looks at deadline and incarnation, and starts nothing', (next) => gone(next));
    }
    if (process === 2 && shim <= 0 && !this.#rules.has('the kill'))
      change(`its shim kills the process of epoch ${epoch}: the deadline has passed`, (next) => gone(next));
    if (process === 2 && node.stopping === 1) change(`the process of epoch ${epoch} has stopped`, (next) => gone(next));
    if (process === 2 && node.stopping === 0 && world.left.processExit > 0)
      change(
        `the process of epoch ${epoch} exits by itself`,
        (next, draft) => {
          draft.spend('processExit');
          gone(next);
        },
        BY_CHANCE,
      );
  }

  /** The server and the network, for this node's messages. */
  #messages(world: World, index: number, node: Node, change: Change): void {
    const { request, late } = node;
    if (request.state === 1)
      change(`its ${wordOf(request)} reaches the server${this.#lands(request) ? '' : ': a conflict'}`, (next, draft) =>
        this.#land(draft, index, next.request),
      );
    if (late.state === 1)
      change(
        `its ${wordOf(late)}, long given up, reaches the server${this.#lands(late) ? '' : ': a conflict'}`,
        (next, draft) => {
          this.#land(draft, index, next.late);
          next.late = { ...NO_REQUEST };
        },
      );
    if (node.get === 1)
      change(`its GET is answered: ${words(world.server.group)}`, (next, draft) => answerGet(next, draft));
    if (node.agent === 1 && request.state !== 0 && world.left.lateMessage > 0) {
      change(
        `gives up its ${wordOf(request)}, which has had no answer`,
        (next, draft) => {
          draft.spend('lateMessage');
          if (request.state === 1) next.late = { ...request, age: 0 };
          next.request = { ...NO_REQUEST };
        },
        BY_CHANCE,
      );
    }
  }

  #lands(request: Node['request']): boolean {
    return request.current === 1 || (request.takes === 0 && this.#rules.has('renewal conditional'));
  }

  #land(draft: Draft, index: number, request: Node['request']): void {
    if (!this.#lands(request)) {
      request.state = 3;
      return;
    }
    const node = draft.node(index);
    const before = leases.at(draft.server.leases[index] ?? 0);
    const incarnation = request.takes === 0 ? request.asks : request.takes;
    const after =
      request.takes === 0
        ? { ...before, held: true, incarnation }
        : { held: true, incarnation, boot: node.boot, settled: request.settled === 1 };
    draft.server.leases[index] = leases.numberOf(after);
    leaseWritten(draft, index);
    request.state = 2;
    request.current = 1;
  }

  #lease(world: World, index: number, node: Node, change: Change): void {
    const { request, held } = node;
    if (request.state > 1) this.#leaseAnswer(world, index, node, change);
    if (request.state !== 0) return;
    if (held !== 0 && node.incarnation === held) {
      if (node.deadline < this.#ticks.fence)
        change('sends a renewal of its Lease', (next) => {
          next.request = { ...NO_REQUEST, state: 1, asks: held, current: node.heldCurrent };
        });
      return;
    }
    const server = leases.at(of(world.server.leases, index));
    if (held === 0 && server.held && server.boot === node.boot && server.incarnation === node.incarnation) {
      change(`finds its Lease as incarnation ${node.incarnation} and goes on with it`, (next) => {
        next.held = node.incarnation;
        next.heldCurrent = 1;
      });
      return;
    }
    const mayTake = node.process === 0 || this.#rules.has('end everything');
    if (!mayTake) {
      change(
        `ends everything that runs, for a new incarnation${held === 0 ? '' : ': /run has lost its own'}`,
        (next) => {
          lose(next);
          gone(next);
        },
      );
      return;
    }
    this.#take(world, index, node, change);
  }

  #take(world: World, index: number, node: Node, change: Change): void {
    const server = leases.at(of(world.server.leases, index));
    const { assignment } = world.server.group === 0 ? { assignment: null } : groups.at(world.server.group);
    const mine = assignment && assignment.node === NAMES[index] ? assignment.incarnation : 0;
    const report = reports.at(of(world.server.reports, index));
    const incarnation = Math.max(server.incarnation, report.incarnation, mine) + 1;
    const clean = node.known === 1 && node.settled === 1 && node.spawned <= node.ended;
    const take = (settled: boolean) => (next: Node, draft: Draft) => {
      lose(next);
      if (node.known === 0 && settled) next.ended = Math.max(next.ended, next.endedOnDisk);
      next.known = 1;
      next.request = { ...NO_REQUEST, state: 1, takes: incarnation, settled: settled ? 1 : 0, current: 1 };
      if (!settled) draft.spend('diskRefuses');
    };
    change(`asks for its Lease, as incarnation ${incarnation}`, take(true));
    if (!clean && world.left.diskRefuses > 0)
      change(
        `asks for its Lease, as incarnation ${incarnation}; its disk has not taken what ran before`,
        take(false),
        BY_CHANCE,
      );
  }

  #leaseAnswer(world: World, index: number, node: Node, change: Change): void {
    const { request } = node;
    const done = request.takes === 0 ? 'that its Lease is renewed' : `that it holds incarnation ${request.takes}`;
    const refused =
      request.takes !== 0 ? 'was refused the Lease' : 'was refused the renewal, and reads that its Lease is';
    const reads = request.takes !== 0 ? '' : this.#isStillIts(world, index, node) ? ' its own' : ' lost';
    change(request.state === 2 ? `learns ${done}` : `${refused}${reads}`, (_, draft) => this.#learn(draft, index));
  }

  #isStillIts({ server }: Pick<World, 'server'>, index: number, { held, request }: Node): boolean {
    const lease = leases.at(of(server.leases, index));
    return request.takes === 0 && lease.held && lease.incarnation === held;
  }

  /** What the answer about the Lease changes. */
  #learn(draft: Draft, index: number): void {
    const node = draft.node(index);
    const { request } = node;
    node.request = { ...NO_REQUEST };
    if (request.state === 2) {
      if (request.takes !== 0) {
        node.held = request.takes;
        node.incarnation = request.takes;
      }
      node.heldCurrent = request.current;
      this.#extend(node, this.#rules.has('send time') ? this.#ticks.fence : this.#ticks.fence - request.age);
    } else if (this.#isStillIts(draft, index, { ...node, request })) {
      node.heldCurrent = 1;
      if (this.#rules.has('a read never extends')) this.#extend(node, this.#ticks.fence);
    } else lose(node);
  }

  /** A node whose messages take no time, and whose watch is never behind: all that is on its way has arrived. */
  catchUp(draft: Draft, index: number): void {
    if (draft.now(index).agent === 0) return;
    for (;;) {
      const node = draft.now(index);
      if (node.request.state === 1) this.#land(draft, index, draft.node(index).request);
      else if (node.request.state > 1) this.#learn(draft, index);
      else if (node.get === 1) answerGet(draft.node(index), draft);
      else if (node.get === 2) takeGet(draft.node(index));
      else if (isNews(node, watched(node, draft))) seeGroup(draft.node(index), watched(node, draft));
      else break;
    }
    const report = reportOf(index, draft.now(index));
    if (report !== undefined) draft.server.reports[index] = report;
  }

  /** A node that renews its Lease in every tick, whatever happens. */
  renewAtOnce(draft: Draft, index: number): void {
    const { held, incarnation, agent } = draft.now(index);
    if (agent === 0 || held === 0 || held !== incarnation) return;
    const node = draft.node(index);
    node.request = { ...NO_REQUEST, state: 1, asks: held, current: node.heldCurrent };
    this.#land(draft, index, node.request);
    this.#learn(draft, index);
  }

  #extend(node: Node, left: number): void {
    if (left <= 0) return;
    if (node.deadline === 0) {
      node.confirmedSinceGap = 0;
      node.getSinceGap = 0;
    }
    node.deadline = left;
    // A deadline once missed is final for the process.
    if (node.process !== 0 && node.shim > 0) node.shim = left;
  }

  #watch({ server }: World, node: Node, change: Change): void {
    const now = watched(node, { server });
    if (isNews(node, now)) change(`sees by its watch: ${shownWords(now)}`, (next) => seeGroup(next, now));
    if (node.get === 2) change('has the answer to its GET', takeGet);
  }

  #end(node: Node, change: Change): void {
    const { ending } = node;
    if (ending === 0) return;
    change(
      this.#rules.has('/run before the report')
        ? `has ended epoch ${ending}, which /run is not told`
        : `writes into /run that it has ended epoch ${ending}`,
      (next) => {
        if (!this.#rules.has('/run before the report')) next.ended = Math.max(next.ended, ending);
        next.settled = node.endingSettled;
        next.ending = 0;
        next.endingSettled = 0;
        next.confirmed = 0;
        next.confirmedSinceGap = 0;
      },
    );
  }

  #act(world: World, index: number, node: Node, change: Change): void {
    const decision = this.#decisions.ofAgent(index, node);
    switch (decision.does) {
      case 'confirm':
        change(`sends a GET for the group`, (next) => {
          next.get = 1;
          next.getSinceGap = 1;
        });
        break;
      case 'start':
        if (node.incarnation === 0) break; // by then its Lease is lost
        change(`orders its shim to start the process (${decision.tells})`, (next) => {
          next.known = 1;
          next.spawned = Math.max(node.spawned, decision.epoch);
          next.process = 1;
          next.epoch = decision.epoch;
          next.orderedFor = node.held;
          next.shim = node.deadline;
        });
        break;
      case 'stop':
        if (node.process === 2)
          change(`stops the process (${decision.tells})`, (next) => {
            next.stopping = 1;
          });
        break;
      case 'endEpoch':
        this.#beginEnd(world, node, decision, change);
        break;
      case 'claim': // there is no second channel in these worlds
      case 'look':
      case 'giveUp':
      case 'nothing':
        break;
    }
  }

  #beginEnd(world: World, node: Node, { epoch }: AgentDecision, change: Change): void {
    const ran = node.spawned > node.ended;
    const end = (settled: number, written: boolean) => (next: Node, draft: Draft) => {
      next.ending = epoch;
      next.endingSettled = settled;
      if (written) next.endedOnDisk = Math.max(next.endedOnDisk, epoch);
      if (ran && settled === 0) draft.spend('diskRefuses');
    };
    if (!ran) change(`ends epoch ${epoch}, under which it has started nothing`, end(node.settled, false));
    else {
      change(`syncs its disk and writes there that epoch ${epoch} has ended`, end(1, true));
      if (world.left.diskRefuses > 0)
        change(`ends epoch ${epoch}; its disk does not take it`, end(0, false), BY_CHANCE);
    }
  }

  #report(world: World, index: number, node: Node, change: Change): void {
    const report = reportOf(index, node);
    if (report === undefined || report === of(world.server.reports, index)) return;
    const { ended, settled, epoch, running } = reports.at(report);
    const what = `ended ${ended}${settled ? '' : ' (unsettled)'}, in epoch ${epoch}${running ? ', running' : ''}`;
    change(`reports: ${what}`, (_, draft) => {
      draft.server.reports[index] = report;
    });
  }
}

type Change = (told: string, by: (node: Node, draft: Draft) => void, about?: About) => void;

export const BY_CHANCE = { byChance: true };

export function gone(node: Node): void {
  node.process = 0;
  node.epoch = 0;
  node.orderedFor = 0;
  node.shim = 0;
  node.stopping = 0;
}

/** No Lease: nothing starts, and everything that runs is to be ended. */
function lose(node: Node): void {
  node.held = 0;
  node.heldCurrent = 0;
  node.deadline = 0;
  node.incarnation = 0;
}

function answerGet(node: Node, { server }: Draft): void {
  node.get = 2;
  node.getShows = server.group === 0 ? SHOWN_GONE : shown(server.group);
}

function takeGet(node: Node): void {
  node.confirmed = node.getShows;
  node.confirmedSinceGap = node.getSinceGap;
  if (node.getShows !== SHOWN_GONE && node.view !== 0) node.view = newer(node.view, node.getShows);
  node.get = 0;
  node.getSinceGap = 0;
  node.getShows = 0;
}

function watched({ behind }: Readonly<Node>, { server }: Pick<World, 'server'>): number {
  return behind === 1 ? server.cached : shown(server.group);
}

/** A watch goes forward only. */
function isNews({ view }: Readonly<Node>, cached: number): boolean {
  if (view === cached || view === 0) return false;
  return cached === 0 || newer(view, cached) === cached;
}

function seeGroup(node: Node, view: number): void {
  // Gone from the watch: what a GET said before is no answer to that.
  if (view === 0) {
    node.confirmed = 0;
    node.confirmedSinceGap = 0;
  }
  node.view = view;
}

/** What the agent has to say, when it may. */
function reportOf(index: number, node: Node): number | undefined {
  if (node.held === 0 || node.view === 0) return undefined;
  return reports.numberOf({
    ...{ node: index, incarnation: node.held, boot: node.boot, ended: node.ended, settled: node.settled === 1 },
    ...{ epoch: currentEpoch(index, node), running: node.process === 2 && node.stopping === 0 },
  });
}

/** As the agent reports it. */
function currentEpoch(index: number, { view, held, spawned, ended }: Node): number {
  if (spawned > ended) return spawned;
  const assignment = view === 0 ? undefined : assignments.at(view);
  if (assignment?.node !== NAMES[index] || assignment?.incarnation !== held) return 0;
  return assignment.epoch > ended ? assignment.epoch : 0;
}

/** Of two views of the group: numbers are given as records are first made, which is not their order. */
function newer(one: number, other: number): number {
  const rank = (view: number) => {
    const assignment = assignments.at(view);
    return (assignment?.epoch ?? 0) * 2 + (assignment?.state === 'Stopping' ? 1 : 0);
  };
  return rank(other) >= rank(one) ? other : one;
}

export function words(group: number): string {
  if (group === 0) return shownWords(0);
  const { running, deleting, wish } = groups.at(group);
  const asked = `${deleting ? ', to be deleted' : ''}${running ? '' : ', to be stopped'}${wish === '' ? '' : `, wished for on ${wish}`}`;
  return `${shownWords(shown(group))}${asked}`;
}

function shownWords(view: number): string {
  if (view === 0) return 'there is no such group';
  const assignment = assignments.at(view);
  if (!assignment) return 'not assigned';
  const { node, incarnation, epoch, state } = assignment;
  return `epoch ${epoch} is ${node}'s, incarnation ${incarnation}, ${state}`;
}

function wordOf({ takes }: Node['request']): string {
  return takes === 0 ? 'renewal' : `request for incarnation ${takes}`;
}
