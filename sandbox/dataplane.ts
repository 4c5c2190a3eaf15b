import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../src/base/errors.ts';
import type { Log } from '../src/base/log.ts';
import type { Ec2Backdoor } from './ec2.ts';
import { applyToRouter } from './network.ts';
import { type Attachment, batchOf, type Cut, type Ec2State, planRouter, type RouterPlan } from './router-plan.ts';
import type { PlaceName } from './topology.ts';

/** Carries what EC2 says into the router. */
export interface DataPlane {
  /** Reads EC2 anew and resolves when the router does what it said. */
  refresh(): Promise<void>;
  /** Resolves when the router fits the links that are there now. */
  replan(): Promise<void>;
  setCuts(cuts: readonly Cut[]): Promise<void>;
  /** How much later than EC2's answer a change reaches the router; 0 at first. */
  setPropagationDelay(ms: number): void;
}

export interface DataPlaneOptions {
  readonly log: Log;
  readonly ec2: Ec2Backdoor;
  readonly attached: Readonly<Record<PlaceName, Attachment>>;
  /** Kept by the caller, who calls `replan` when it has changed. */
  readonly linked: ReadonlySet<PlaceName>;
}

export function makeDataPlane({ log, ec2, attached, linked }: DataPlaneOptions): DataPlane {
  let cuts: readonly Cut[] = [];
  let state: Ec2State | undefined;
  let applied: RouterPlan = new Map();
  let propagationMs = 0;
  let queue: Promise<void> = Promise.resolve();

  // One after the other: a plan is the difference to the one before.
  const apply = () => {
    const turn = queue.then(async () => {
      if (state === undefined) return;
      const plan = planRouter({ ec2: state, linked: new Set(linked), attached, cuts });
      const batch = batchOf(applied, plan);
      await applyToRouter(batch);
      applied = plan;
      if (batch.length > 0) log.info('router changed', { batch });
    });
    queue = turn.catch((error: unknown) => log.error('router not changed', { error: describeError(error) }));
    return turn;
  };

  return {
    refresh: async () => {
      const read = await ec2.read();
      if (propagationMs > 0) await delay(propagationMs);
      state = read;
      await apply();
    },
    replan: apply,
    setCuts: async (wanted) => {
      cuts = wanted;
      await apply();
    },
    setPropagationDelay: (ms) => {
      propagationMs = ms;
    },
  };
}
