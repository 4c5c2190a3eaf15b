import { BY_CHANCE, words } from './agentsteps.ts';
import type { Decisions } from './decisions.ts';
import type { About, Emit } from './explore.ts';
import { groups, leases, NAMES } from './records.ts';
import type { Rule } from './rules.ts';
import { type Controller, Draft, leaseWritten, of, type World } from './state.ts';

/** What a controller may do next: look at one record more, decide, and what its write does. */
export class ControllerSteps {
  readonly #decisions: Decisions;
  readonly #rules: ReadonlySet<Rule>;
  readonly #epochs: number;
  readonly #slow: boolean;

  constructor(decisions: Decisions, rules: ReadonlySet<Rule>, epochs: number, slow: boolean) {
    this.#slow = slow;
    this.#decisions = decisions;
    this.#rules = rules;
    this.#epochs = epochs;
  }

  /** Whether it would assign an epoch beyond those that are walked. */
  isAtHorizon(controller: Controller): boolean {
    return controller.group !== 0 && this.#decisions.ofController(controller).epoch > this.#epochs;
  }

  emit(world: World, index: number, emit: Emit<Draft>): void {
    const controller = world.controllers[index];
    if (controller === undefined) return;
    const name = world.controllers.length === 1 ? 'controller' : `controller ${index + 1}`;
    const change: Change = (told, by, about) => {
      const draft = new Draft(world);
      by(draft.controller(index), draft);
      emit(draft, () => `${name}  ${told()}`, about);
    };
    this.#look(world, controller, change);
    this.#write(world, controller, change);
    if (controller.group !== 0 && controller.write === 0) this.#decide(world, controller, change);
    if (world.left.controllerRestart > 0)
      change(
        () => 'is started again',
        (next, draft) => {
          draft.spend('controllerRestart');
          Object.assign(next, freshController(world));
        },
        BY_CHANCE,
      );
  }

  /** One whose watches are never behind, and whose writes take no time. */
  catchUp(draft: Draft, index: number): void {
    const { server } = draft;
    const controller = draft.controller(index);
    controller.group = server.group;
    controller.reports = [...server.reports];
    for (const at of NAMES.keys()) {
      const seen = of(controller.leases, at);
      if (seen.current === 0) Object.assign(seen, { lease: of(server.leases, at), current: 1, age: 0, changed: 1 });
    }
  }

  #look({ server }: World, controller: Controller, change: Change): void {
    if (controller.group !== server.group)
      change(
        () => `sees: ${words(server.group)}`,
        (next) => {
          next.group = server.group;
        },
      );
    for (const [at, name] of NAMES.entries()) {
      const seen = of(controller.leases, at);
      const lease = of(server.leases, at);
      if (seen.current === 0)
        change(
          () => `sees the Lease of ${name}${lease === seen.lease ? ' renewed' : `: ${leaseWords(lease)}`}`,
          (next) => {
            Object.assign(of(next.leases, at), { lease, current: 1, age: 0, changed: 1 });
          },
        );
      const report = of(server.reports, at);
      if (report !== of(controller.reports, at))
        change(
          () => `sees the report of ${name}`,
          (next) => {
            next.reports[at] = report;
          },
        );
    }
  }

  #decide(world: World, controller: Controller, change: Change): void {
    const decision = this.#decisions.ofController(controller);
    if (decision.unsettled !== controller.unsettled > 0) {
      change(
        () => (decision.unsettled ? `begins to wait (${decision.tells})` : 'waits for no late write any more'),
        (next) => {
          next.unsettled = decision.unsettled ? 1 : 0;
        },
      );
      return;
    }
    const { writes, fences } = decision;
    const write = { ...NO_WRITE };
    if (writes !== undefined && decision.epoch <= this.#epochs)
      Object.assign(write, { write: 1, base: controller.group, makes: writes });
    else if (fences !== undefined) {
      const { lease, current } = of(controller.leases, fences);
      Object.assign(write, { write: 2, fences, makes: lease, current });
    } else return;
    const told = () => `decides (${decision.tells})`;
    if (this.#slow) change(told, (next) => Object.assign(next, write));
    else
      change(
        () => `${told()}; ${this.#outcome(world, write)}`,
        (next, draft) => this.#apply(Object.assign(next, write), draft),
        { wrong: this.#wrong(world, write) },
      );
  }

  #write(world: World, controller: Controller, change: Change): void {
    if (controller.write === 0) return;
    change(
      () => this.#outcome(world, controller),
      (next, draft) => this.#apply(next, draft),
      { wrong: this.#wrong(world, controller) },
    );
  }

  #isTaken({ server }: Pick<World, 'server'>, { write, base, current }: Write): boolean {
    if (write === 2) return current === 1 || this.#rules.has('fence conditional');
    return server.group === base || (server.group !== 0 && this.#rules.has('assignment by resourceVersion'));
  }

  #outcome(world: World, write: Write): string {
    const what =
      write.write === 2
        ? `fences ${NAMES[write.fences]}`
        : write.makes === 0
          ? 'lets the group go'
          : `writes: ${words(write.makes)}`;
    return this.#isTaken(world, write) ? what : `${what}: a conflict`;
  }

  #wrong(world: World, write: Write): string | undefined {
    if (write.write === 2 || !this.#isTaken(world, write)) return undefined;
    if (write.makes !== 0) return epochWrong(world.server.group, write.makes);
    const alive = world.nodes.findIndex((node) => node.process === 2);
    return alive === -1 ? undefined : `the group is let go, and its process lives on ${NAMES[alive]}`;
  }

  #apply(controller: Controller, draft: Draft): void {
    if (this.#isTaken(draft, controller)) {
      const { fences, makes } = controller;
      if (controller.write === 2) {
        const before = leases.at(makes);
        const after = leases.numberOf({ ...before, held: false, incarnation: before.incarnation + 1 });
        draft.server.leases[fences] = after;
        leaseWritten(draft, fences);
        Object.assign(of(controller.leases, fences), { lease: after, current: 1, age: 0, changed: 1 });
      } else {
        draft.server.group = makes;
        controller.group = makes;
      }
    }
    Object.assign(controller, NO_WRITE);
  }
}

type Write = Pick<Controller, 'write' | 'base' | 'makes' | 'fences' | 'current'>;
const NO_WRITE: Write = { write: 0, base: 0, makes: 0, fences: 0, current: 0 };

type Change = (told: () => string, by: (controller: Controller, draft: Draft) => void, about?: About) => void;

/** One that has just listed everything, and has seen nothing change. */
export function freshController({ server }: Pick<World, 'server'>): Controller {
  const view = (index: number) => ({ lease: of(server.leases, index), current: 1, age: 0, changed: 0 });
  return {
    group: server.group,
    leases: [view(0), view(1)],
    reports: [...server.reports],
    unsettled: 0,
    ...NO_WRITE,
  };
}

function epochWrong(before: number, after: number): string | undefined {
  const [was, is] = [groups.at(before).assignment, groups.at(after).assignment];
  if (!was || !is) return undefined;
  if (is.epoch < was.epoch) return `epoch ${is.epoch} is assigned after ${was.epoch}`;
  if (is.epoch > was.epoch) return undefined;
  if (is.node !== was.node) return `epoch ${is.epoch} is given to ${is.node} and was given to ${was.node}`;
  return was.state === 'Stopping' && is.state === 'Active' ? `epoch ${is.epoch} goes back from Stopping` : undefined;
}

function leaseWords(lease: number): string {
  const { held, incarnation } = leases.at(lease);
  return `incarnation ${incarnation}, ${held ? 'held' : 'held by nobody'}`;
}
