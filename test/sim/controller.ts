import type { Log } from '../../src/base/log.ts';
import { createQueue } from '../../src/base/queue.ts';
import { watchWorld } from '../../src/controller/world.ts';
import { createElection } from '../../src/kube/election.ts';
import { createGroupReconciler } from '../../src/reconcilers/failovergroup.ts';
import { createNodeReconciler } from '../../src/reconcilers/failovernode.ts';
import { createFencing, type Fencing } from '../../src/reconcilers/fencing.ts';
import { type ApiServer, openLink, SimKube } from './apiserver.ts';
import { type Cloud, openEc2 } from './cloud.ts';
import { NAMESPACE } from './machine.ts';
import { breakControllerRequests, breakWorld, type Rule } from './rules.ts';
import { Actor, clockOf, type Time } from './time.ts';

export interface ControllerOptions {
  readonly name: string;
  readonly time: Time;
  readonly server: ApiServer;
  /** Where a group has `policy: Instance`; without it EC2 is never asked. */
  readonly cloud: Cloud | undefined;
  readonly broken: ReadonlySet<Rule>;
  readonly story: (who: string, line: string) => void;
  readonly log: (who: Actor) => Log;
  /** It stopped campaigning, which nobody has asked it to. */
  readonly onEnded: (who: string) => void;
}

/** One replica of the controller: its real parts, put together as src/controller/main.ts does. */
export class Controller {
  readonly name: string;
  readonly link = openLink();
  actor: Actor;
  /** Every now and then it dies in the middle of a step. */
  crashChance = 0;
  readonly #o: ControllerOptions;
  readonly #rate: number;
  #starts = 0;

  constructor(options: ControllerOptions, rate: number) {
    this.#o = options;
    this.#rate = rate;
    this.name = options.name;
    this.actor = new Actor(this.name);
    this.actor.die();
  }

  crash(): void {
    if (this.actor.dead) return;
    this.#o.story(this.actor.name, 'is killed');
    this.actor.die();
  }

  start(): void {
    if (!this.actor.dead) return;
    const { time, server, cloud, broken, story, log: logOf } = this.#o;
    this.#starts += 1;
    this.actor = new Actor(`${this.name}#${this.#starts}`);
    story(this.actor.name, 'starts');
    const log = logOf(this.actor);
    const clock = clockOf(time, this.actor, { bootedAtMs: time.nowMs - 5_000, rate: this.#rate });
    const { actor } = this;
    const comesThrough = () => {
      if (!actor.dead && this.crashChance > 0 && time.chance.hits(this.crashChance)) {
        this.crash();
        time.in(time.chance.between(500, 3_000), SUPERVISOR, () => this.start());
      }
      return !actor.dead;
    };
    const api = new SimKube(server, actor, clock, this.link, breakControllerRequests(broken), comesThrough);
    const random = () => time.chance.next();
    const queue = (name: string, reconcile: Parameters<typeof createQueue>[0]['reconcile']) =>
      createQueue({ name, clock, log, random, workers: 8, reconcile });
    const election = createElection({
      ...{ api, clock, log, random, namespace: NAMESPACE, name: 'pointsman-controller', identity: this.actor.name },
    });
    const watched = watchWorld({
      ...{ api, namespace: NAMESPACE, clock, log },
      wakes: {
        group: (key) => groups.add(key),
        node: (key) => nodes.add(key),
        monitor: () => {},
        follow: () => {},
        vip: () => {},
      },
    });
    const world = broken.size === 0 ? watched : breakWorld(watched, broken, clock);
    const recorder = { event: () => {} };
    const leading = () => election.isLeader();
    const ec2 = cloud && openEc2({ cloud, actor, clock, comesThrough });
    const fencing = ec2
      ? createFencing({
          ...{ api, world, clock, log, recorder, leading, ec2: () => ec2, defaultRegion: ec2.region },
          due: (key) => power.add(key),
          wakes: { group: (key) => groups.add(key), node: (key) => nodes.add(key) },
        })
      : NO_EC2;
    const power = queue('power', fencing.reconcile);
    const groups = queue(
      'groups',
      createGroupReconciler({ api, world, clock, log, recorder, leading, fencing, sawLease: watched.sawLease }),
    );
    const nodes = queue('nodes', createNodeReconciler({ api, world, clock, recorder, leading, fencing }));
    const never = new AbortController().signal;
    void watched.run(never);
    void election
      .run(never, async (term) => {
        story(this.actor.name, 'leads');
        while (!watched.synced()) await clock.sleep(20, term);
        for (const { metadata } of world.groups.list()) groups.add(`${metadata.namespace}/${metadata.name}`);
        for (const { metadata } of world.nodes.list()) nodes.add(`${metadata.namespace}/${metadata.name}`);
        await Promise.all([groups, nodes, power].map((one) => one.run(term)));
      })
      .then(
        () => {
          this.#o.onEnded(this.actor.name);
          return 'its work is over';
        },
        (error: unknown) => String(error),
      )
      .then((why) => {
        // The process exits, and is started again.
        story(this.actor.name, `ends: ${why}`);
        this.actor.die();
        time.in(1_000, SUPERVISOR, () => this.start());
      });
  }
}

/** No group has `policy: Instance`. */
const NO_EC2: Fencing = {
  instanceOf: () => undefined,
  readinessOf: () => [],
  wish: () => {},
  attend: () => {},
  startProblem: () => undefined,
  letsGo: () => true,
  reconcile: async () => {},
};

const SUPERVISOR = new Actor('the supervisor of the controllers');
