import { Hash } from './hash.ts';
import { Visited } from './visited.ts';

/** A world that is small enough to be walked whole. A state is plain data, and never changed once it is given away. */
export interface Model<State extends object> {
  readonly initial: State;
  /** Calls `emit` for everything that may happen next, always in the same order. */
  steps(state: State, emit: Emit<State>): void;
  /** What is wrong with a state, in words. */
  wrong(state: State): string | undefined;
  /** Whether the service is there, or as good as: from every state one such must be reachable without a fault. */
  served(state: State): boolean;
}

export type Emit<State> = (
  next: State,
  /** Who does what. Asked for only when the story is told. */
  tell: () => string,
  about?: About,
) => void;

export interface About {
  /** Needs a fault or a person: nothing that must be possible may depend on it. */
  readonly byChance?: boolean;
  /** What is wrong with this step, in words. */
  readonly wrong?: string | undefined;
}

export interface Walk {
  readonly states: number;
  readonly steps: number;
  /** The longest of the shortest ways to a state. */
  readonly depth: number;
  readonly violation: Violation | undefined;
  /** Whether every state was walked. */
  readonly whole: boolean;
}

export interface Violation {
  readonly message: string;
  /** The shortest story that leads there, one line for each step. */
  readonly story: readonly string[];
}

export interface Limits {
  /** Stop after so many states; the walk is then not whole. */
  readonly states?: number;
  readonly checkService?: boolean;
}

/** Breadth first, so that the first violation found is one with the fewest steps. */
export function explore<State extends object>(model: Model<State>, limits: Limits = {}): Walk {
  const { states: most = Number.POSITIVE_INFINITY, checkService = true } = limits;
  const visited = new Visited();
  const hash = new Hash(model.initial);
  const edges = new Edges();
  const served: number[] = [];
  let steps = 0;
  let depth = 0;
  let found: { readonly message: string; readonly path: readonly number[] } | undefined;

  let frontier: State[] = [];
  let firstNumber = 0;
  visited.add(...halves(hash.of(model.initial)), 0, 0);
  frontier.push(model.initial);
  const wrongAtOnce = model.wrong(model.initial);
  if (wrongAtOnce !== undefined) found = { message: wrongAtOnce, path: [] };

  while (frontier.length > 0 && found === undefined && visited.size < most) {
    const next: State[] = [];
    const nextNumber = visited.size;
    for (const [at, state] of frontier.entries()) {
      const from = firstNumber + at;
      if (checkService && model.served(state)) served.push(from);
      let index = 0;
      model.steps(state, (to, _, about) => {
        steps += 1;
        const { number, isNew } = visited.add(...halves(hash.of(to)), from, index);
        if (checkService && about?.byChance !== true) edges.add(from, number);
        if (isNew) next.push(to);
        const wrong = about?.wrong ?? (isNew ? model.wrong(to) : undefined);
        if (wrong !== undefined) found ??= { message: wrong, path: [...visited.pathTo(from), index] };
        index += 1;
      });
      if (found !== undefined) break;
    }
    frontier = next;
    firstNumber = nextNumber;
    if (next.length > 0) depth += 1;
  }
  const whole = found === undefined && frontier.length === 0;
  if (whole && checkService) {
    const stuck = edges.firstThatLeadsToNone(served, visited.size);
    if (stuck !== undefined)
      found = { message: 'from here on the service cannot come back', path: visited.pathTo(stuck) };
  }
  return {
    ...{ states: visited.size, steps, depth, whole },
    violation: found && { message: found.message, story: retell(model, found.path) },
  };
}

function halves({ low, high }: { readonly low: number; readonly high: number }): [number, number] {
  return [low, high];
}

function retell<State extends object>(model: Model<State>, path: readonly number[]): string[] {
  const story: string[] = [];
  let state = model.initial;
  for (const wanted of path) {
    let index = 0;
    let next: State | undefined;
    model.steps(state, (to, tell) => {
      if (index === wanted) {
        next = to;
        story.push(tell());
      }
      index += 1;
    });
    if (next === undefined) throw new Error(`Cannot tell the story: step ${wanted} is not there the second time`);
    state = next;
  }
  return story;
}

/** The steps that need no chance, to be followed backwards. */
class Edges {
  #pairs = new Uint32Array(1 << 16);
  #count = 0;

  add(from: number, to: number): void {
    if (this.#count + 2 > this.#pairs.length) {
      const grown = new Uint32Array(this.#pairs.length * 2);
      grown.set(this.#pairs);
      this.#pairs = grown;
    }
    this.#pairs[this.#count] = from;
    this.#pairs[this.#count + 1] = to;
    this.#count += 2;
  }

  /** The first state from which none of the good ones can be reached. */
  firstThatLeadsToNone(good: readonly number[], size: number): number | undefined {
    const pairs = this.#pairs;
    const starts = new Uint32Array(size + 1);
    for (let at = 1; at < this.#count; at += 2) increase(starts, (pairs[at] ?? 0) + 1);
    for (let at = 1; at <= size; at += 1) starts[at] = (starts[at] ?? 0) + (starts[at - 1] ?? 0);
    const filled = starts.slice();
    const sources = new Uint32Array(this.#count / 2);
    for (let at = 0; at < this.#count; at += 2) {
      const to = pairs[at + 1] ?? 0;
      sources[filled[to] ?? 0] = pairs[at] ?? 0;
      increase(filled, to);
    }
    const leads = new Uint8Array(size);
    const queue = [...good];
    for (const number of good) leads[number] = 1;
    for (let to = queue.pop(); to !== undefined; to = queue.pop()) {
      for (let at = starts[to] ?? 0; at < (starts[to + 1] ?? 0); at += 1) {
        const from = sources[at] ?? 0;
        if (leads[from] === 1) continue;
        leads[from] = 1;
        queue.push(from);
      }
    }
    const stuck = leads.indexOf(0);
    return stuck === -1 ? undefined : stuck;
  }
}

function increase(counts: Uint32Array, at: number): void {
  counts[at] = (counts[at] ?? 0) + 1;
}
