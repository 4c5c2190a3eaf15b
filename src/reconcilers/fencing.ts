import type { Ec2 } from '../aws/ec2.ts';
import { WrongState } from '../aws/errors.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, PersonNeededError, RetryError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Reconciled } from '../base/queue.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { ReadinessSeen } from '../decide/fencingready.ts';
import { type InstanceRead, type InstanceSeen, type InstanceState, startCommand } from '../decide/instance.ts';
import { isTheirs, startStep, stopStep } from '../decide/power.ts';
import type { KubeApi } from '../kube/api.ts';
import { Conflict } from '../kube/errors.ts';
import { failoverGroups, failoverNodes } from '../kube/resources.ts';
import type { World } from './observe.ts';
import type { Recorder } from './recorder.ts';

export interface FencingOptions {
  readonly api: KubeApi;
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: Recorder;
  readonly leading: () => boolean;
  readonly ec2: (region: string) => Ec2;
  readonly defaultRegion: string;
  /** Makes a key due in the queue that calls {@link Fencing.reconcile}. */
  readonly due: (key: string) => void;
  /** Something was learned: the group, or the node, is to look again. */
  readonly wakes: { group(key: string): void; node(key: string): void };
  /** How often EC2 is asked whether it would stop an instance. Default: 5 min, and 30 s where it would not. */
  readonly readyEveryMs?: number;
}

/**
 * The power of the nodes' instances. Nobody waits for EC2 here but the queue of its own: the groups say what they need
 * at each of their looks, and see at the next what came of it.
 */
export interface Fencing {
  /** What is known about the instance for this epoch of a group, and no more. */
  instanceOf(group: FailoverGroup): InstanceSeen | undefined;
  readinessOf(group: FailoverGroup): readonly ReadinessSeen[];
  /** Holds until the next look of the group, or for {@link WISH_HOLDS_MS}. */
  wish(group: FailoverGroup, wish: Wish): void;
  /** The node bears a mark: it may be time to start its instance. */
  attend(nodeKey: string): void;
  /** Why the instance is not started again, where EC2 refuses it. */
  startProblem(nodeKey: string): string | undefined;
  /** Whether a node that is being deleted need not wait for its instance to be started any more. */
  letsGo(nodeKey: string): boolean;
  reconcile(key: string, signal: AbortSignal): Promise<Reconciled>;
}

export type Wish =
  | { readonly kind: 'stop'; readonly node: string; readonly instanceId: string; readonly epoch: number }
  | { readonly kind: 'start'; readonly node: string };

const KUBE_TIMEOUT_MS = 2_000;
const EC2_TIMEOUT_MS = 4_000;
const READY_TIMEOUT_MS = 10_000;

const WISH_HOLDS_MS = 10_000;
/** A group must not have needed it stopped for so long: a look that was cut short starts nothing. */
const START_AFTER_MS = 10_000;
/** Between two rounds of questions about one instance; doubled while EC2 does not answer, up to the longest. */
const ROUND_EVERY_MS = 1_000;
const ROUND_EVERY_AT_MOST_MS = 8_000;
const SILENCES_TOLD = 3;
/** It takes EC2 half a minute. */
const START_LOOK_EVERY_MS = 2_000;
const TAKE_BACK_TRIES = 5;
const STOP_REFUSED_AGAIN_MS = 5_000;
const START_REFUSED_AGAIN_MS = 30_000;
const READY_EVERY_MS = 300_000;
const READY_AGAIN_MS = 30_000;
/** A node that is being deleted is not kept for longer than this by an EC2 that does not answer. */
const LET_GO_AFTER_MS = 60_000;

interface Wished {
  readonly wish: Wish;
  /** Since when it has been so without a break, and when it was last said. */
  readonly sinceMs: number;
  readonly saidMs: number;
}

/** What this process knows of an instance. Losing it costs a question. */
interface Memory {
  read?: InstanceRead;
  stop?: { readonly sentMs: number; readonly answeredMs: number; readonly found: InstanceState };
  problem?: string;
  startProblem?: string;
  /** Calls without an answer, in a row. */
  silences: number;
  notBeforeMs: number;
}

export function createFencing(options: FencingOptions): Fencing {
  const { api, world, clock, log, recorder, leading } = options;
  /** By node, then by group. */
  const wishes = new Map<string, Map<string, Wished>>();
  const memories = new Map<string, Memory>();
  const readiness = new Map<string, ReadinessSeen & { readonly dueMs: number }>();
  /** By the uid of a node: since when nothing but its instance has kept it. */
  const deletedSinceMs = new Map<string, number>();

  return {
    instanceOf(group) {
      const assignment = group.status?.assignment;
      if (!assignment) return undefined;
      const said = wishes.get(`${group.metadata.namespace}/${assignment.node}`)?.get(keyOf(group));
      if (said?.wish.kind !== 'stop' || said.wish.epoch !== assignment.epoch) return undefined;
      const { instanceId: id, node } = said.wish;
      const { read, stop, problem } = memoryOf(id);
      return {
        id,
        region: regionOf(world.nodes.get(`${group.metadata.namespace}/${node}`)),
        ...(read && read.sentMs >= said.sinceMs ? { read } : {}),
        ...(stop && stop.sentMs >= said.sinceMs ? { stop } : {}),
        ...(problem === undefined ? {} : { problem }),
      };
    },

    readinessOf(group) {
      if (group.spec.fencing.policy !== 'Instance') return [];
      const nodes = nodesOf(group);
      const nowMs = clock.nowMs();
      if (nodes.some((node) => (readiness.get(node.spec.instanceId)?.dueMs ?? 0) <= nowMs))
        options.due(`ready/${keyOf(group)}`);
      return nodes.map(readinessOfNode);
    },

    wish(group, wish) {
      const nodeKey = `${group.metadata.namespace}/${wish.node}`;
      const ofNode = wishes.get(nodeKey) ?? new Map<string, Wished>();
      wishes.set(nodeKey, ofNode);
      const before = ofNode.get(keyOf(group));
      const nowMs = clock.nowMs();
      const goesOn = before && isSame(before.wish, wish) && nowMs - before.saidMs <= WISH_HOLDS_MS;
      ofNode.set(keyOf(group), { wish, sinceMs: goesOn ? before.sinceMs : nowMs, saidMs: nowMs });
      options.due(`power/${nodeKey}`);
    },

    attend: (nodeKey) => options.due(`power/${nodeKey}`),

    startProblem(nodeKey) {
      const mark = world.nodes.get(nodeKey)?.status?.stop;
      return mark && memories.get(mark.instanceId)?.startProblem;
    },

    letsGo(nodeKey) {
      const node = world.nodes.get(nodeKey);
      const mark = node?.status?.stop;
      if (!node || !mark || memoryOf(mark.instanceId).startProblem !== undefined) return true;
      const sinceMs = deletedSinceMs.get(node.metadata.uid) ?? clock.nowMs();
      deletedSinceMs.set(node.metadata.uid, sinceMs);
      return clock.nowMs() - sinceMs > LET_GO_AFTER_MS;
    },

    async reconcile(key, signal) {
      if (!leading()) return;
      const slash = key.indexOf('/');
      const of = key.slice(slash + 1);
      return key.slice(0, slash) === 'ready' ? await askReadiness(of, signal) : await changePower(of, signal);
    },
  };

  async function changePower(nodeKey: string, signal: AbortSignal): Promise<Reconciled> {
    const node = world.nodes.get(nodeKey);
    if (!node) {
      wishes.delete(nodeKey);
      return;
    }
    const { namespace, name } = node.metadata;
    const orders = ordersFor(nodeKey);
    const [order] = orders;
    const instanceId = order?.wish.instanceId ?? node.status?.stop?.instanceId;
    if (instanceId === undefined) return;
    const memory = memoryOf(instanceId);
    const waitMs = memory.notBeforeMs - clock.nowMs();
    if (waitMs > 0) return { afterMs: waitMs };
    memory.notBeforeMs = clock.nowMs() + ROUND_EVERY_MS;

    // What a cache says may be old, and nothing that EC2 does is conditional on what stands here: so both are read now.
    const call = { signal, timeoutMs: KUBE_TIMEOUT_MS };
    const needed = async () => {
      const asked = orders.map(async ({ groupKey, wish }) => await isNeeded(namespace, groupKey, wish, call));
      return (await Promise.all(asked)).includes(true);
    };
    const [fresh, confirmed] = await Promise.all([api.get(failoverNodes, namespace, name, call), needed()]);
    if (!fresh) return;
    if (confirmed) {
      const pauseMs = await stop(fresh, { orders, id: instanceId, needed }, memory, signal);
      memory.notBeforeMs = clock.nowMs() + pauseMs;
      return { afterMs: pauseMs };
    }
    if (fresh.status?.stop && orders.length === 0 && mayStart(fresh)) return await start(fresh, memory, signal);
    return fresh.status?.stop ? { afterMs: ROUND_EVERY_MS } : undefined;
  }

  /** As the API server says now: the group is to be proven out of this node, and by this policy. */
  async function isNeeded(
    namespace: string,
    groupKey: string,
    wish: Extract<Wish, { kind: 'stop' }>,
    call: { readonly signal: AbortSignal; readonly timeoutMs: number },
  ): Promise<boolean> {
    const group = await api.get(failoverGroups, namespace, groupKey.slice(namespace.length + 1), call);
    const assignment = group?.status?.assignment;
    return (
      group?.spec.fencing.policy === 'Instance' &&
      assignment?.state === 'Stopping' &&
      assignment.epoch === wish.epoch &&
      assignment.node === wish.node
    );
  }

  /** One round. Answers how long to pause before the next. */
  async function stop(
    node: FailoverNode,
    { orders, id, needed }: Stop,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<number> {
    const ec2 = options.ec2(regionOf(node));
    const sinceMs = Math.max(...orders.map((order) => order.sinceMs));
    const [first] = orders;
    let refused = false;
    try {
      if (memory.read === undefined || memory.read.sentMs < sinceMs) await read(ec2, id, memory, signal);
      const found = memory.stop && memory.stop.sentMs >= sinceMs ? memory.stop.found : undefined;
      const step = memory.read ? stopStep(memory.read, node.status?.stop?.instanceId === id, found) : 'wait';
      const promised = step === 'mark' && first ? await mark(node, first, signal) : undefined;
      const runs = memory.read?.state === 'running' || memory.read?.state === 'pending';
      if (promised && first && runs) tellStop(node, first);
      // Once more, after all that could be slow: the node may have ended its epoch, and been assigned the next.
      if (step !== 'wait' && (await needed())) {
        mustLead();
        const sentMs = clock.nowMs();
        const { was, now } = await ec2.stopInstance(id, { timeoutMs: EC2_TIMEOUT_MS, signal, urgent: true });
        memory.stop = { sentMs, answeredMs: clock.nowMs(), found: now };
        log.warn('instance is being stopped', { node: node.metadata.name, instanceId: id, was, now });
        if (promised && isTheirs({ was })) await takeBack(promised, signal);
        else if (promised && first && !runs) tellStop(node, first);
      } else if (promised) await takeBack(promised, signal);
      delete memory.problem;
      memory.silences = 0;
    } catch (error) {
      note(memory, error);
      refused = error instanceof PersonNeededError;
      log.warn(describeError(error), { node: node.metadata.name, instanceId: id });
    }
    // Also after a refusal: somebody else may have stopped it.
    await read(ec2, id, memory, signal).catch((error: unknown) => note(memory, error));
    for (const { groupKey } of orders) options.wakes.group(groupKey);
    return refused ? STOP_REFUSED_AGAIN_MS : paceMs(memory);
  }

  /** Nobody needs it to be off. The mark goes when EC2 says that it runs. */
  async function start(node: FailoverNode, memory: Memory, signal: AbortSignal): Promise<Reconciled> {
    const promise = node.status?.stop;
    if (!promise) return;
    const { instanceId: id } = promise;
    const ec2 = options.ec2(regionOf(node));
    const nodeKey = keyOf(node);
    try {
      await read(ec2, id, memory, signal);
      const step = memory.read ? startStep(memory.read) : 'wait';
      if (step === 'start') {
        mustLead();
        const state = await ec2.startInstance(id, { timeoutMs: EC2_TIMEOUT_MS, signal, urgent: true });
        delete memory.startProblem;
        if (state === 'running') await unmark(node, signal);
        else tellStart(node, id, memory);
        if (state === 'running') return;
      }
      if (step === 'forget') {
        await unmark(node, signal);
        return;
      }
      memory.silences = 0;
      return { afterMs: START_LOOK_EVERY_MS };
    } catch (error) {
      log.warn(describeError(error), { node: node.metadata.name, instanceId: id });
      if (!(error instanceof PersonNeededError)) {
        memory.silences += 1;
        return { afterMs: paceMs(memory) };
      }
      const said = `${describeError(error)}; it is tried again; to do it by hand: ${startCommand({ id, region: regionOf(node) })}`;
      if (memory.startProblem === undefined)
        recorder.event(node, 'FailoverNode', { type: 'Warning', reason: 'StartRefused', action: 'Start', note: said });
      memory.startProblem = said;
      memory.notBeforeMs = clock.nowMs() + START_REFUSED_AGAIN_MS;
      options.wakes.node(nodeKey);
      return { afterMs: START_REFUSED_AGAIN_MS };
    }
  }

  async function read(ec2: Ec2, id: string, memory: Memory, signal: AbortSignal): Promise<void> {
    const sentMs = clock.nowMs();
    const found = (await ec2.describeInstances([id], { timeoutMs: EC2_TIMEOUT_MS, signal, urgent: true })).get(id);
    const instance = found ?? 'missing';
    memory.read =
      instance === 'missing'
        ? { state: 'missing', sentMs }
        : {
            state: instance.state,
            sentMs,
            ...(instance.stateReason === undefined ? {} : { reason: instance.stateReason }),
          };
  }

  /** Before the stop: whoever finds the mark starts the instance again, whatever becomes of the answer or of us. */
  async function mark(node: FailoverNode, { groupKey, wish }: Order, signal: AbortSignal): Promise<FailoverNode> {
    const { instanceId, epoch } = wish;
    const group = groupKey.slice(node.metadata.namespace.length + 1);
    return await setMark(node, { instanceId, group, epoch, since: clock.wall().toISOString() }, signal);
  }

  async function setMark(node: FailoverNode, stop: StopMark | null, signal: AbortSignal): Promise<FailoverNode> {
    const { namespace, name, resourceVersion } = node.metadata;
    mustLead();
    return await api.patchStatus(
      failoverNodes,
      namespace,
      name,
      { metadata: { resourceVersion }, status: { stop } },
      { signal, timeoutMs: KUBE_TIMEOUT_MS },
    );
  }

  /** Whoever tells of the mark in the node's conditions may have written in between. */
  async function takeBack({ metadata: { namespace, name }, status }: FailoverNode, signal: AbortSignal): Promise<void> {
    for (let left = TAKE_BACK_TRIES; ; left -= 1) {
      const fresh = await api.get(failoverNodes, namespace, name, { signal, timeoutMs: KUBE_TIMEOUT_MS });
      if (!fresh || fresh.status?.stop?.since !== status?.stop?.since) return;
      try {
        await setMark(fresh, null, signal);
        return;
      } catch (error) {
        if (!(error instanceof Conflict) || left <= 1) throw error;
      }
    }
  }

  function tellStop(node: FailoverNode, { groupKey, wish }: Order): void {
    const group = groupKey.slice(node.metadata.namespace.length + 1);
    const note = `instance ${wish.instanceId} is stopped for group ${group}, whose epoch ${wish.epoch} is to be proven out`;
    recorder.event(node, 'FailoverNode', { type: 'Warning', reason: 'InstanceStopped', action: 'Stop', note });
  }

  async function unmark(node: FailoverNode, signal: AbortSignal): Promise<void> {
    await setMark(node, null, signal);
    const { stop: promise } = node.status ?? {};
    if (promise) memories.delete(promise.instanceId);
    deletedSinceMs.delete(node.metadata.uid);
    options.wakes.node(keyOf(node));
  }

  function tellStart(node: FailoverNode, id: string, memory: Memory): void {
    if (memory.read?.state !== 'stopped') return;
    log.info('instance is being started again', { node: node.metadata.name, instanceId: id });
    const note = `instance ${id} is started again: no group needs it stopped any more`;
    recorder.event(node, 'FailoverNode', { type: 'Normal', reason: 'InstanceStarted', action: 'Start', note });
  }

  async function askReadiness(groupKey: string, signal: AbortSignal): Promise<Reconciled> {
    const group = world.groups.get(groupKey);
    if (group?.spec.fencing.policy !== 'Instance') return;
    const nowMs = clock.nowMs();
    const nodes = nodesOf(group);
    const due = nodes.filter(({ spec }) => (readiness.get(spec.instanceId)?.dueMs ?? 0) <= nowMs);
    const answers = await Promise.all(due.map(async (node) => await wouldObey(node, signal)));
    for (const answer of answers) {
      const pauseMs = answer.state === 'ready' ? READY_EVERY_MS : READY_AGAIN_MS;
      const dueMs = clock.nowMs() + (options.readyEveryMs ?? pauseMs);
      readiness.set(answer.instanceId, { ...answer, dueMs });
    }
    if (answers.length > 0) options.wakes.group(groupKey);
    const next = nodes.map(({ spec }) => readiness.get(spec.instanceId)?.dueMs ?? nowMs);
    return { afterMs: Math.max(ROUND_EVERY_MS, Math.min(...next) - clock.nowMs()) };
  }

  async function wouldObey(node: FailoverNode, signal: AbortSignal): Promise<ReadinessSeen> {
    const { instanceId } = node.spec;
    const ec2 = options.ec2(regionOf(node));
    const call = { timeoutMs: READY_TIMEOUT_MS, signal };
    const seen = { node: node.metadata.name, instanceId, region: regionOf(node) };
    const [locked, ...powers] = await Promise.allSettled([
      ec2.isStopProtected(instanceId, call),
      ec2.mayChangePower(instanceId, 'stop', call),
      ec2.mayChangePower(instanceId, 'start', call),
    ]);
    if (locked.status === 'fulfilled' && locked.value) return { ...seen, state: 'protected', said: '' };
    const errors = [locked, ...powers].flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
    const problems = errors.filter((error) => !(error instanceof WrongState));
    if (problems.length === 0) return { ...seen, state: 'ready', said: '' };
    const refused = problems.filter((error) => error instanceof PersonNeededError);
    const told = refused.length > 0 ? refused : problems;
    const said = [...new Set(told.map(describeError))].join('; ');
    return { ...seen, state: refused.length > 0 ? 'refused' : 'unanswered', said };
  }

  function readinessOfNode(node: FailoverNode): ReadinessSeen {
    const { instanceId } = node.spec;
    const unasked = { instanceId, region: regionOf(node), state: 'unasked' as const, said: '' };
    return { ...(readiness.get(instanceId) ?? unasked), node: node.metadata.name };
  }

  function ordersFor(nodeKey: string): Order[] {
    const nowMs = clock.nowMs();
    return [...(wishes.get(nodeKey) ?? [])].flatMap(([groupKey, { wish, sinceMs, saidMs }]) =>
      wish.kind === 'stop' && nowMs - saidMs <= WISH_HOLDS_MS ? [{ groupKey, wish, sinceMs }] : [],
    );
  }

  function mayStart({ metadata }: FailoverNode): boolean {
    if (!world.groups.synced()) return false;
    const nowMs = clock.nowMs();
    const ofNode = wishes.get(`${metadata.namespace}/${metadata.name}`);
    return world.groups
      .list()
      .filter((group) => group.metadata.namespace === metadata.namespace)
      .filter(({ status }) => status?.assignment?.node === metadata.name)
      .every((group) => {
        const said = ofNode?.get(keyOf(group));
        if (said?.wish.kind !== 'start' || nowMs - said.saidMs > WISH_HOLDS_MS) return false;
        return nowMs - said.sinceMs >= START_AFTER_MS;
      });
  }

  function nodesOf(group: FailoverGroup): FailoverNode[] {
    const nodes = group.spec.nodes.map((name) => world.nodes.get(`${group.metadata.namespace}/${name}`));
    return nodes.filter((node) => node !== undefined);
  }

  function regionOf(node: FailoverNode | undefined): string {
    return node?.spec.region ?? options.defaultRegion;
  }

  function memoryOf(instanceId: string): Memory {
    const memory = memories.get(instanceId) ?? { silences: 0, notBeforeMs: 0 };
    memories.set(instanceId, memory);
    return memory;
  }

  /** One call that is throttled or lost is nothing to tell anybody. */
  function note(memory: Memory, error: unknown): void {
    const refused = error instanceof PersonNeededError;
    if (!refused) memory.silences += 1;
    if (refused || memory.silences >= SILENCES_TOLD) memory.problem = describeError(error);
  }

  function paceMs({ silences }: Memory): number {
    return Math.min(ROUND_EVERY_AT_MOST_MS, ROUND_EVERY_MS * 2 ** silences);
  }

  function mustLead(): void {
    if (!leading()) throw new RetryError('Cannot change an instance: this controller does not lead any more');
  }
}

type StopMark = NonNullable<NonNullable<FailoverNode['status']>['stop']>;

interface Order {
  readonly groupKey: string;
  readonly wish: Extract<Wish, { kind: 'stop' }>;
  readonly sinceMs: number;
}

/** An instance to be stopped, for whom, and whether that still holds by the API server's word. */
interface Stop {
  readonly orders: readonly Order[];
  readonly id: string;
  readonly needed: () => Promise<boolean>;
}

function isSame(one: Wish, other: Wish): boolean {
  if (one.kind === 'start' || other.kind === 'start') return one.kind === other.kind && one.node === other.node;
  return one.instanceId === other.instanceId && one.epoch === other.epoch;
}

function keyOf({ metadata }: { readonly metadata: { readonly namespace: string; readonly name: string } }): string {
  return `${metadata.namespace}/${metadata.name}`;
}
