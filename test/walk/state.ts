/**
 * The world of the walks over the API server: two nodes with their agents and shims, the API server, one controller or
 * two. Everything is a whole number; times are ticks from now, so that a world that goes on for ever comes back to the
 * same states. What is written in records is the number of a real object in `records.ts`.
 */
export interface World {
  readonly server: Readonly<Server>;
  readonly nodes: readonly [Readonly<Node>, Readonly<Node>];
  readonly controllers: readonly Readonly<Controller>[];
  /** What chance and people may still do. */
  readonly left: Readonly<Budget>;
}

export interface Budget {
  /** The agent of a node is killed and comes back. */
  agentCrash: number;
  /** The same, and /run is lost. */
  runLost: number;
  reboot: number;
  /** A message is given up by its sender and may land later, or never. */
  lateMessage: number;
  /** The disk does not take the end of an epoch. */
  diskRefuses: number;
  controllerRestart: number;
  processExit: number;
  /** Somebody asks for a move, stops the group, starts it again, deletes it. */
  move: number;
  stop: number;
  start: number;
  remove: number;
}

export interface Server {
  /** 0: gone. */
  group: number;
  leases: [number, number];
  reports: [number, number];
  /** The assignment that a list shows which an API server answers from its cache: the present one or one before. */
  cached: number;
}

export interface Node {
  up: number;
  boot: number;
  agent: number;
  /** What /run says. Incarnation 0: none. `known` 0: there is no record of the group. */
  incarnation: number;
  known: number;
  ended: number;
  settled: number;
  spawned: number;
  /** The highest end in the node's own file on the disk. */
  endedOnDisk: number;
  /** The Lease that the agent holds; 0: none. `heldCurrent`: it knows the version that the server has. */
  held: number;
  heldCurrent: number;
  /** Ticks until the node's deadline; 0: it has passed. */
  deadline: number;
  /** The request about the Lease that the agent waits for, and one that it has given up. */
  request: LeaseRequest;
  late: LeaseRequest;
  /** The GET under way: 0 none, 1 sent, 2 read. */
  get: number;
  getSinceGap: number;
  getShows: number;
  /** What the last GET showed; 0: there was none. */
  confirmed: number;
  confirmedSinceGap: number;
  /** The group as the watch has it, and whether it is that of an API server whose cache is behind. */
  view: number;
  behind: number;
  /** 0 none, 1 ordered and not started yet, 2 alive. */
  process: number;
  epoch: number;
  orderedFor: number;
  /** Ticks until the shim's deadline; below 0: since it has passed. */
  shim: number;
  stopping: number;
  /** The end of an epoch that the disk was asked to take: 0 none, else the epoch. */
  ending: number;
  endingSettled: number;
}

export interface LeaseRequest {
  /** 0 none, 1 on its way, 2 done, 3 refused: and the answer is on its way. */
  state: number;
  /** The incarnation it takes; 0: it renews the one in `asks`. */
  takes: number;
  asks: number;
  settled: number;
  /** Ticks since it was sent. */
  age: number;
  /** Whether the version that it is conditional on is still the server's. */
  current: number;
}

export interface LeaseView {
  lease: number;
  current: number;
  /** Ticks since this controller first saw this version. */
  age: number;
  /** Whether it has seen it change, so that this version was new when it was seen. */
  changed: number;
}

export interface Controller {
  group: number;
  leases: readonly [LeaseView, LeaseView];
  reports: [number, number];
  /** Ticks since an unsettled end was first seen, plus one; 0: none was. */
  unsettled: number;
  /** The write under way. Kind: 0 none, 1 the group, 2 a fence. */
  write: number;
  /** Conditional on this group, it makes that one. */
  base: number;
  makes: number;
  /** The fenced node, the Lease as it is after it, and whether the version seen is still the server's. */
  fences: number;
  current: number;
}

/** The next state, while it is made. It shares with the one before it what was not asked for to be changed. */
export class Draft {
  readonly server: Server;
  readonly #nodes: [Readonly<Node>, Readonly<Node>];
  readonly #controllers: Readonly<Controller>[];
  readonly #own = new Set<object>();
  #left: Readonly<Budget>;

  constructor({ server, nodes, controllers, left }: World) {
    this.server = { ...server, leases: [...server.leases], reports: [...server.reports] };
    this.#nodes = [nodes[0], nodes[1]];
    this.#controllers = [...controllers];
    this.#left = left;
  }

  /** The node, to be changed. */
  node(index: number): Node {
    const before = of(this.#nodes, index);
    if (this.#own.has(before)) return before;
    const node = { ...before, request: { ...before.request }, late: { ...before.late } };
    this.#own.add(node);
    this.#nodes[index] = node;
    return node;
  }

  /** The node as it is. */
  now(index: number): Readonly<Node> {
    return of(this.#nodes, index);
  }

  controller(index: number): Controller {
    const before = this.#controllers[index] as Controller; // the callers count along the same list
    if (this.#own.has(before)) return before;
    const [one, two] = before.leases;
    const controller: Controller = { ...before, leases: [{ ...one }, { ...two }], reports: [...before.reports] };
    this.#own.add(controller);
    this.#controllers[index] = controller;
    return controller;
  }

  controllers(): Controller[] {
    return this.#controllers.map((_, index) => this.controller(index));
  }

  spend(chance: keyof Budget): void {
    this.#left = { ...this.#left, [chance]: this.#left[chance] - 1 };
  }

  done(): World {
    return { server: this.server, nodes: this.#nodes, controllers: this.#controllers, left: this.#left };
  }
}

export const NO_REQUEST: LeaseRequest = { state: 0, takes: 0, asks: 0, settled: 0, age: 0, current: 0 };

/** One by its index: there are two. */
export function of<T>(pair: readonly [T, T], index: number): T {
  return index === 0 ? pair[0] : pair[1];
}

/** What a GET has shown, where it has shown that there is no such group: 0 says that there was no GET. */
export const SHOWN_GONE = 0xffff;

/** Every holder of the Lease's version has an old one from now on; who wrote it is told by its answer. */
export function leaseWritten(draft: Draft, index: number): void {
  const node = draft.node(index);
  node.heldCurrent = 0;
  node.request.current = 0;
  node.late.current = 0;
  for (const controller of draft.controllers()) {
    of(controller.leases, index).current = 0;
    if (controller.write === 2 && controller.fences === index) controller.current = 0;
  }
}
