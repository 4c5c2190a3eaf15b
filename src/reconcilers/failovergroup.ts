import type { Clock } from '../base/clock.ts';
import { RetryError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Reconciled } from '../base/queue.ts';
import {
  type FailoverGroup,
  type FailoverGroupStatus,
  MOVE_TO_ANNOTATION,
  type Move,
  RELEASE_FINALIZER,
} from '../crds/failovergroup.ts';
import type { GroupReason } from '../crds/reasons.ts';
import { planFailover } from '../decide/failover.ts';
import { groupStatus, isComplete } from '../decide/groupstatus.ts';
import { unsettledEnds } from '../decide/loststatus.ts';
import { observeNodes } from '../decide/observe.ts';
import type { Deed, GroupPlan } from '../decide/plan.ts';
import { outness } from '../decide/proof.ts';
import { type GroupSeen, groupReportOf, type Loss, type Now } from '../decide/seen.ts';
import { LONGEST_TAKEOVER_MS, timingOf } from '../decide/timing.ts';
import type { KubeApi } from '../kube/api.ts';
import { AlreadyExists, Conflict } from '../kube/errors.ts';
import { createUnheldLease, fenceLease, NODE_LABEL } from '../kube/lease.ts';
import { mergePatch } from '../kube/mergepatch.ts';
import { failoverGroups, leases } from '../kube/resources.ts';
import type { Fencing } from './fencing.ts';
import type { World } from './observe.ts';
import type { Recorder } from './recorder.ts';

export interface GroupReconcilerOptions {
  readonly api: KubeApi;
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: Recorder;
  /** Asked before every write: a pause of this process may outlive its leadership. */
  readonly leading: () => boolean;
  /** The power of the nodes' instances. */
  readonly fencing: Fencing;
  /** Told of a Lease that was read or written here, so that its age is counted from now. */
  readonly sawLease: (key: string, resourceVersion: string) => void;
}

/** A write on the path of a failover that has had no answer for so long is better made again. */
const WRITE_TIMEOUT_MS = 2_000;

/** The cache is behind our own write; its event brings the key back, and this does if the event is lost. */
const OWN_WRITE_AGAIN_MS = 500;

/** What this process remembers of a group between two looks. Losing it only costs time or a measurement. */
interface Memory {
  unassignedSinceMs?: number;
  move?: { readonly startedAt: string; readonly startMs: number };
  unsettled?: { readonly ends: string; readonly sinceMs: number };
  loss?: Loss;
  diskFailing?: { readonly epoch: number; readonly sinceMs: Readonly<Record<string, number>> };
  restarts?: { readonly epoch: number; readonly count: number };
  /** The version our own last write made. */
  written?: { readonly resourceVersion: string; readonly atMs: number };
}

/** observe → plan → promise → act → report, for one FailoverGroup. */
export function createGroupReconciler(
  options: GroupReconcilerOptions,
): (key: string, signal: AbortSignal) => Promise<Reconciled> {
  const { api, world, clock, log, recorder } = options;
  const memories = new Map<string, Memory>();

  return async function reconcile(key, signal) {
    const group = world.groups.get(key);
    if (!group) {
      memories.delete(key);
      return;
    }
    const memory = memories.get(key) ?? {};
    memories.set(key, memory);
    if (isBehind(group, memory.written, clock.nowMs())) return { afterMs: OWN_WRITE_AGAIN_MS };

    const now: Now = { ms: clock.nowMs(), iso: clock.wall().toISOString() };
    const seen = observe(group, memory, now);
    const plan = planFailover(seen, now);
    if (plan.loss) memory.loss = plan.loss;

    // A promise is stored before anything is done about it; what needs no promise is done before it is told.
    const promised = plan.assignment !== undefined;
    let current: FailoverGroup = group;
    if (promised) current = await store(current, seen, plan, now, signal);
    for (const deed of plan.deeds) current = await act(current, deed, signal);
    if (!promised && !isGone(plan)) await store(current, seen, plan, now, signal);

    tellRestarts(seen, memory);
    if (plan.refused !== undefined)
      recorder.event(current, 'FailoverGroup', {
        type: 'Warning',
        reason: 'MoveRefused',
        action: 'Move',
        note: plan.refused,
      });
    return plan.lookAgainAtMs === undefined ? undefined : { afterMs: plan.lookAgainAtMs - now.ms };
  };

  function observe(group: FailoverGroup, memory: Memory, now: Now): GroupSeen {
    const { namespace, name } = group.metadata;
    const ours = <T extends { metadata: { namespace: string }; spec: { groupRef: { name: string } } }>(one: T) =>
      one.metadata.namespace === namespace && one.spec.groupRef.name === name;
    if (group.status?.assignment) delete memory.unassignedSinceMs;
    else memory.unassignedSinceMs ??= now.ms;
    const seen: GroupSeen = {
      group,
      nodes: observeNodes(world, group),
      monitors: world.monitors.list().filter(ours),
      vips: world.vips.list().filter(ours),
      unassignedSinceMs: memory.unassignedSinceMs,
      moveStartMs: moveStartMs(group, memory, now),
      failures: failuresOf(group, now),
      diskFlights: diskFlightsOf(group, now),
      diskFailingSinceMs: {},
      unsettledSinceMs: undefined,
      loss: memory.loss,
      instance: options.fencing.instanceOf(group),
      readiness: options.fencing.readinessOf(group),
    };
    return {
      ...seen,
      unsettledSinceMs: unsettledSinceMs(seen, memory, now),
      diskFailingSinceMs: diskFailingSinceMs(seen, memory, now),
    };
  }

  async function store(
    group: FailoverGroup,
    seen: GroupSeen,
    plan: GroupPlan,
    now: Now,
    signal: AbortSignal,
  ): Promise<FailoverGroup> {
    const status = groupStatus(seen, plan, now);
    const patch = mergePatch(group.status ?? {}, status);
    if (patch === undefined) return group;
    const { namespace, name, resourceVersion } = group.metadata;
    mustLead(group);
    const stored = await api.patchStatus(
      failoverGroups,
      namespace,
      name,
      { metadata: { resourceVersion }, status: patch },
      { signal, timeoutMs: WRITE_TIMEOUT_MS },
    );
    const memory = remember(group, stored);
    if (status.move && status.move.startedAt !== group.status?.move?.startedAt) {
      memory.move = { startedAt: status.move.startedAt, startMs: now.ms - (status.move.steps.detectedMs ?? 0) };
    }
    tell(group, status, plan);
    return stored;
  }

  async function act(group: FailoverGroup, deed: Deed, signal: AbortSignal): Promise<FailoverGroup> {
    const { namespace } = group.metadata;
    const call = { signal, timeoutMs: WRITE_TIMEOUT_MS };
    mustLead(group);
    switch (deed.kind) {
      case 'AddFinalizer':
        return await patchMetadata(group, { finalizers: [...group.metadata.finalizers, RELEASE_FINALIZER] }, signal);
      case 'RemoveFinalizer':
        return await patchMetadata(
          group,
          { finalizers: group.metadata.finalizers.filter((one) => one !== RELEASE_FINALIZER) },
          signal,
        );
      case 'StopInstance': {
        const { node, instanceId, epoch } = deed;
        options.fencing.wish(group, { kind: 'stop', node, instanceId, epoch });
        return group;
      }
      case 'StartInstance':
        options.fencing.wish(group, { kind: 'start', node: deed.node });
        return group;
      case 'RemoveMoveWish':
        return await patchMetadata(group, { annotations: { [MOVE_TO_ANNOTATION]: null } }, signal);
      case 'Fence': {
        const key = `${namespace}/${deed.node}`;
        const lease = world.leases.get(key);
        // Another version than the one that aged: it was renewed, and there is nothing to fence.
        if (lease?.metadata.resourceVersion !== deed.resourceVersion) return group;
        try {
          const fenced = await fenceLease({ api, clock, namespace }, lease, call);
          options.sawLease(key, fenced.metadata.resourceVersion);
          log.warn('fenced', { group: group.metadata.name, node: deed.node, incarnation: fenced.transitions });
          recorder.event(group, 'FailoverGroup', {
            type: 'Warning',
            reason: 'Fenced',
            action: 'Fence',
            note: `The Lease of ${deed.node} was fenced: it cannot start anything before it has ended everything`,
          });
        } catch (error) {
          if (!(error instanceof Conflict)) throw error;
          const renewed = await api.get(leases, namespace, deed.node, call);
          if (renewed) options.sawLease(key, renewed.metadata.resourceVersion);
          throw new RetryError(`Cannot fence node "${deed.node}": its Lease was renewed in between`, { cause: error });
        }
        return group;
      }
      case 'CreateLease': {
        const node = world.nodes.get(`${namespace}/${deed.node}`);
        const basis = group.status?.assignment?.basis.nodes.find((one) => one.name === deed.node);
        // The node may run for as long as its spec lets it by now, which may be longer than when it was assigned.
        const asked = [basis?.takeoverAfterSeconds, node && timingOf(node.spec.timing).takeoverAfterMs / 1000];
        const durationSeconds = Math.max(...asked.map((seconds) => seconds ?? 0)) || LONGEST_TAKEOVER_MS / 1000;
        log.warn('the Lease of a node is missing; it is made anew', { node: deed.node, known: node !== undefined });
        try {
          await createUnheldLease(
            { api, clock, namespace, node: deed.node },
            { transitions: deed.incarnation, durationSeconds },
            call,
          );
        } catch (error) {
          if (!(error instanceof AlreadyExists)) throw error;
          // It is there and our list does not show it: somebody took off the label by which Leases of nodes are listed.
          const labels = { [NODE_LABEL]: deed.node };
          await api.patchMetadata(leases, namespace, deed.node, { metadata: { labels } }, call);
        }
        return group;
      }
    }
  }

  async function patchMetadata(
    group: FailoverGroup,
    change: Record<string, unknown>,
    signal: AbortSignal,
  ): Promise<FailoverGroup> {
    const { namespace, name, resourceVersion } = group.metadata;
    const stored = await api.patchMetadata(
      failoverGroups,
      namespace,
      name,
      { metadata: { resourceVersion, ...change } },
      { signal, timeoutMs: WRITE_TIMEOUT_MS },
    );
    remember(group, stored);
    return stored;
  }

  function remember(group: FailoverGroup, stored: FailoverGroup): Memory {
    const key = `${group.metadata.namespace}/${group.metadata.name}`;
    const memory = memories.get(key) ?? {};
    memory.written = { resourceVersion: stored.metadata.resourceVersion, atMs: clock.nowMs() };
    memories.set(key, memory);
    return memory;
  }

  function mustLead(group: FailoverGroup): void {
    if (!options.leading())
      throw new RetryError(`Cannot write FailoverGroup ${group.metadata.name}: this controller does not lead any more`);
  }

  /** A process that comes and goes changes no condition for long: the Event is what is left of it. */
  function tellRestarts({ group, nodes }: GroupSeen, memory: Memory): void {
    const assignment = group.status?.assignment;
    const holder = nodes.find(({ name }) => name === assignment?.node);
    const report = groupReportOf(holder, group.metadata.name);
    if (!assignment || report?.epoch !== assignment.epoch) return;
    const told = memory.restarts?.epoch === report.epoch ? memory.restarts.count : undefined;
    memory.restarts = { epoch: report.epoch, count: report.restarts };
    if (told === undefined || report.restarts <= told || report.state === 'Failed') return;
    const { limit, window } = group.spec.process.restart;
    const note = `the process ended on ${assignment.node}: ${report.lastExit ?? 'no reason known'}; it is started again in place (${report.restarts} of ${limit} in ${window})`;
    recorder.event(group, 'FailoverGroup', { type: 'Warning', reason: 'ProcessRestarted', action: 'Restart', note });
  }

  /** Events say what changed, in the words of the conditions. */
  function tell(before: FailoverGroup, status: FailoverGroupStatus, plan: GroupPlan): void {
    const { move } = status;
    if (move && move.startedAt !== before.status?.move?.startedAt) {
      const type = NORMAL.has(move.reason) ? 'Normal' : 'Warning';
      log.info('move begins', {
        group: before.metadata.name,
        epoch: status.assignment?.epoch,
        reason: move.reason,
        message: move.message,
      });
      recorder.event(before, 'FailoverGroup', { type, reason: move.reason, action: 'Move', note: move.message });
    }
    if (move && isComplete(move) && !isComplete(before.status?.move)) {
      const note = `${move.to ?? 'the node'} serves ${move.steps.readyMs} ms after the first sign; ${stepsInWords(move)}`;
      log.info('move ends', {
        group: before.metadata.name,
        epoch: move.epoch,
        reason: move.reason,
        proof: move.proof,
        steps: move.steps,
      });
      recorder.event(before, 'FailoverGroup', { type: 'Normal', reason: 'Serving', action: 'Move', note });
    }
    const was = before.status?.conditions.find(({ type }) => type === 'Ready')?.reason;
    if (plan.reason !== was && HELD.has(plan.reason)) {
      recorder.event(before, 'FailoverGroup', {
        type: 'Warning',
        reason: plan.reason,
        action: 'Hold',
        note: plan.message,
      });
    }
  }
}

const NORMAL: ReadonlySet<string> = new Set<GroupReason>([
  'Startup',
  'Requested',
  'Stopping',
  'NodeCordoned',
  'Deleting',
  'NodeRejoined',
]);

/** Told once when they begin: nothing is being done, and somebody may have to. */
const HELD: ReadonlySet<GroupReason> = new Set<GroupReason>([
  'NoFitNode',
  'AllNodesOutOfTouch',
  'NodeOutOfTouch',
  'SeenOnDisk',
  'DiskUnread',
  'ProofMissing',
  'EpochClaimed',
  'ProcessFailed',
  'ProcessStuck',
  'DiskFailed',
  'DiskFailedEverywhere',
  'WaitingToSettle',
  'WaitingForLease',
  'InstanceNotStopped',
  'StatusLost',
  'Adopted',
]);

function stepsInWords({ steps, proof }: Move): string {
  const told = Object.entries(steps).map(([step, ms]) => `${step.replace(/Ms$/, '')} ${ms} ms`);
  return `${told.join(', ')}${proof ? `; proof ${proof}` : ''}`;
}

function isGone(plan: GroupPlan): boolean {
  return plan.deeds.some(({ kind }) => kind === 'RemoveFinalizer');
}

/** How long the cache may be behind before it is believed all the same: a restored etcd counts versions anew. */
const BEHIND_AT_MOST_MS = 5_000;

/** Whether the cache has not yet seen what we wrote ourselves. */
function isBehind({ metadata }: FailoverGroup, written: Memory['written'], nowMs: number): boolean {
  if (written === undefined || nowMs - written.atMs > BEHIND_AT_MOST_MS) return false;
  return BigInt(metadata.resourceVersion) < BigInt(written.resourceVersion);
}

/** When the first sign of the stored move was seen: remembered, or by the wall clock where another controller began it. */
function moveStartMs(group: FailoverGroup, memory: Memory, now: Now): number | undefined {
  const move = group.status?.move;
  if (!move) return undefined;
  if (memory.move?.startedAt === move.startedAt) return memory.move.startMs;
  const sinceMs = Math.max(0, Date.parse(now.iso) - Date.parse(move.startedAt));
  return now.ms - sinceMs - (move.steps.detectedMs ?? 0);
}

/**
 * Where the process used up its restarts under the present spec. By the wall clock, because it outlives this process: it
 * only keeps a group from going round, and nothing that is safe rests on it.
 */
function failuresOf(group: FailoverGroup, now: Now): GroupSeen['failures'] {
  return flightsOf(group, 'ProcessFailed', now).filter(({ generation }) => generation === group.metadata.generation);
}

/** Which nodes it left because of their disk; by the wall clock, for the same reason. */
function diskFlightsOf(group: FailoverGroup, now: Now): GroupSeen['diskFlights'] {
  return flightsOf(group, 'DiskFailed', now).filter(({ node, to }) => node !== to);
}

function flightsOf({ status }: FailoverGroup, why: GroupReason, now: Now) {
  const moves = [...(status?.move ? [status.move] : []), ...(status?.history ?? [])];
  return moves.flatMap(({ from, to, reason, generation, message, startedAt }) => {
    if (reason !== why || from === undefined) return [];
    return [{ node: from, to, generation, agoMs: Math.max(0, Date.parse(now.iso) - Date.parse(startedAt)), message }];
  });
}

/** By our own sight of the holder's report, from the first failed probe on. */
function diskFailingSinceMs({ group, nodes, monitors }: GroupSeen, memory: Memory, now: Now): Record<string, number> {
  const assignment = group.status?.assignment;
  if (!assignment) return {};
  const before = memory.diskFailing?.epoch === assignment.epoch ? memory.diskFailing.sinceMs : {};
  const disks = nodes.find(({ name }) => name === assignment.node)?.node?.status?.report?.disks ?? [];
  const failing = disks.filter(({ name, state }) => {
    return (state === 'Failing' || state === 'Failed') && monitors.some(({ metadata }) => metadata.name === name);
  });
  const sinceMs = Object.fromEntries(failing.map(({ name }) => [name, before[name] ?? now.ms]));
  memory.diskFailing = { epoch: assignment.epoch, sinceMs };
  return sinceMs;
}

function unsettledSinceMs(seen: GroupSeen, memory: Memory, now: Now): number | undefined {
  const ends = unsettledNow(seen, now);
  if (ends === undefined) {
    delete memory.unsettled;
    return undefined;
  }
  if (memory.unsettled?.ends !== ends) memory.unsettled = { ends, sinceMs: now.ms };
  return memory.unsettled.sinceMs;
}

function unsettledNow(seen: GroupSeen, now: Now): string | undefined {
  const assignment = seen.group.status?.assignment;
  if (!assignment) return unsettledEnds(seen);
  const state = outness({ ...seen, unsettledSinceMs: undefined }, assignment, now);
  return state.out || !state.unsettled ? undefined : `epoch ${assignment.epoch}`;
}
