import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { durationMs } from '../crds/duration.ts';
import type { Assignment, FailoverGroup } from '../crds/failovergroup.ts';
import type { GroupReport } from '../crds/failovernode.ts';
import {
  type AgentPlan,
  type AgentSeen,
  type Deadline,
  failuresWithin,
  type GroupView,
  type Problem,
  planAgent,
  unfitness,
} from '../decide/agent.ts';
import type { Timing } from '../decide/timing.ts';
import type { KubeApi } from '../kube/api.ts';
import { failoverGroups } from '../kube/resources.ts';
import type { Addresses } from './address.ts';
import type { Disk } from './disk.ts';
import { createGroupAddresses } from './groupaddresses.ts';
import { createGroupChannel, type Footing } from './groupchannel.ts';
import { createGroupDisk } from './groupdisk.ts';
import type { Host } from './host.ts';
import { isSameMount, type WrittenMount } from './mounts.ts';
import type { Parts } from './parts.ts';
import type { Account } from './policy.ts';
import type { EndCause, Ended, ProcessView } from './process.ts';
import type { GroupMemory, RunDir } from './rundir.ts';
import type { RunSpec, ShimConfig } from './shim-protocol.ts';
import { describeStuck } from './stuck.ts';
import type { GroupVips } from './vips.ts';

/** One group on this node: looks, asks `planAgent`, and does what it says. */
export interface GroupAgent {
  readonly name: string;
  /** Something has changed: look and decide anew, in the next turn of the loop. */
  poke(): void;
  /** Takes over what an earlier agent left running, or ends it. */
  adopt(): Promise<void>;
  /** The Lease has been renewed. */
  deadlineMoved(deadline: Deadline): void;
  cutDeadline(untilMs: number): Promise<void>;
  /** Ends everything of it, at once, and resolves when nothing is left. */
  kill(why: string): Promise<void>;
  /** For a new incarnation, after everything has been killed: whether the disk took all that ran before. */
  settle(otherBoot: boolean): Promise<boolean>;
  /** Undefined while there is nothing to say. */
  report(): GroupReport | undefined;
  addresses(): readonly string[];
  /** The addresses that belong here now for its sake. */
  serves(): readonly string[];
  /** Whether its process lives here. */
  active(): boolean;
  /** Whether there is any reason left to look after it. */
  idle(): boolean;
  leave(): void;
}

/** What all groups of a node share. */
export interface GroupContext {
  readonly namespace: string;
  readonly node: string;
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly runDir: RunDir;
  readonly parts: Parts;
  readonly host: Host;
  readonly disk: (mountPath: string) => Disk;
  readonly addressesOn: () => Addresses | undefined;
  readonly shimConfig: (group: string) => ShimConfig;
  readonly shimLogFile: string;
  readonly nodeProblem: () => Problem | undefined;
  readonly incarnation: () => number | undefined;
  /** By the Lease. */
  readonly deadline: () => Deadline;
  readonly timing: () => Timing;
  /** By the watch. `undefined`: it knows of no such group; before it is in step, `unknown`. */
  readonly watched: (group: string) => FailoverGroup | undefined | 'unknown';
  readonly vips: (group: string) => GroupVips;
  /** The addresses that belong here for another group of this node. */
  readonly servedByOthers: (group: string) => readonly string[];
  /** The report may have changed. */
  readonly onChange: () => void;
}

/** Mounts, the host's policy and users change without an event. */
const LOOK_EVERY_MS = 2_000;
const CONFIRM_LIMIT_MS = 2_000;
const CONFIRM_RETRY_MS = 250;
/** How long a report waits for the disk to take the end. The write goes on being tried. */
const SETTLE_LIMIT_MS = 3_000;
const SETTLE_AGAIN_MS = 1_000;
const ADDRESS_LOOK_MS = 20;
const WARM_RETRY_MS = 1_000;
const FAILURES_KEPT = 128;
/** More mounts than this under one epoch, one after the other: the oldest are gone and keep it from settling. */
const MOUNTS_KEPT = 8;

const NEVER: Deadline = { untilMs: Number.NEGATIVE_INFINITY, unbrokenSinceMs: Number.POSITIVE_INFINITY };
const NOTHING_KNOWN: GroupMemory = { ended: 0, settled: true, spawned: 0 };

export function createGroupAgent(name: string, context: GroupContext): GroupAgent {
  const { clock, runDir, parts, node, namespace } = context;
  const log = context.log.with({ group: name });
  const process = parts.createGroupProcess({
    config: context.shimConfig(name),
    shimLogFile: context.shimLogFile,
    clock,
    log,
    parts,
    onChange: processChanged,
  });
  const disk = createGroupDisk({ clock, disk: context.disk, mountAt: parts.mountAt, onChange: poke });
  const addresses = createGroupAddresses({
    addresses: context.addressesOn,
    earlierLifetimeMs: () => context.timing().takeoverAfterMs,
    ...{ clock, log, onChange: context.onChange },
  });
  const channel = createGroupChannel({
    ...{ group: name, node, clock, log, disk: context.disk, timing: context.timing, footing, cutDeadline },
    onExtended: (epoch, untilMs) => {
      if (process.view().epoch === epoch) extend(untilMs);
    },
    onChange: poke,
  });

  const createdMs = clock.nowMs();
  const remembered = runDir.group(name);
  let memory = remembered ?? NOTHING_KNOWN;
  /** Nothing says what an earlier agent ran here; not before everything has been ended and the disk was asked. */
  let known = remembered !== undefined;
  let group: FailoverGroup | undefined;
  /** The later of the two channels. */
  let deadline = context.deadline();
  let confirmed: AgentSeen['confirmed'];
  let failures: number[] = [];
  let lockRefused: AgentSeen['lockRefused'];
  let plan: AgentPlan | undefined;
  let seen: AgentSeen | undefined;
  let handledEnd: Ended | undefined;
  let ready: { readonly pid: number; readonly stop: AbortController; done: boolean } | undefined;
  let startupFailed = false;
  /** Started under the lock, which does not say so yet. */
  let lockedEpoch: number | undefined;
  const underWay = { confirm: false, end: false, start: false, warm: false, settle: false };
  /** The highest end that the disks said when they were synced for a new incarnation. */
  let toldByDisk = 0;
  /** Everything was ended, and nothing has been started since: whatever the plan says, nothing is served. */
  let cleared = false;
  let wasWatched = false;
  let poked = false;
  let left = false;
  let cancelTimer = () => {};

  function poke(): void {
    if (poked || left) return;
    poked = true;
    setImmediate(() => {
      poked = false;
      if (left) return;
      try {
        pass();
      } catch (error) {
        // /run may be gone; the Lease keeper sees that and begins anew.
        log.error('cannot look after the group', { error: describeError(error) });
        cancelTimer();
        cancelTimer = clock.after(LOOK_EVERY_MS, poke);
      }
    });
  }

  function pass(): void {
    const now = { ms: clock.nowMs() };
    const observed = observe();
    cancelTimer();
    cancelTimer = clock.after(LOOK_EVERY_MS, poke);
    if (observed === undefined) {
      channel.poke();
      return;
    }
    seen = observed;
    const before = plan;
    plan = planAgent(observed, now);
    if (before?.do !== plan.do || before.reason !== plan.reason) {
      log.info('plan', { do: plan.do, reason: plan.reason, message: plan.message });
    }
    act(plan, observed);
    placeAddresses();
    keepWarm();
    channel.poke();
    const dueMs = plan.lookAgainMs === undefined ? LOOK_EVERY_MS : plan.lookAgainMs - clock.nowMs();
    cancelTimer();
    cancelTimer = clock.after(Math.max(1, Math.min(LOOK_EVERY_MS, dueMs)), poke);
    context.onChange();
  }

  /** Undefined: not enough is known to decide anything, and whatever runs goes on. */
  function observe(): AgentSeen | undefined {
    const watched = context.watched(name);
    if (watched === 'unknown') return undefined;
    // Gone from the watch: what a GET said before is no answer to that.
    if (watched === undefined && wasWatched) confirmed = undefined;
    wasWatched = watched !== undefined;
    group = newer(watched, group);
    const view: GroupView =
      watched !== undefined
        ? { exists: true, assignment: group?.status?.assignment }
        : (confirmed?.view ?? { exists: false });
    const spec = group?.spec;
    const host = spec === undefined ? undefined : context.host.look(spec);
    const onDisk = group === undefined ? undefined : disk.look(group);
    takeEndFromDisk();
    rememberReplaced(view.exists ? view.assignment : undefined);
    const move = group?.status?.move;
    return {
      node,
      nodeProblem: context.nodeProblem(),
      incarnation: context.incarnation(),
      deadline,
      view,
      confirmed,
      record: memory,
      process: processSeen(),
      disk: onDisk ?? { state: 'unknown', message: 'the group is not there' },
      hostProblem: host?.problem,
      recordedDiskId: group?.status?.diskId,
      proof:
        move?.proof === undefined || move.epoch === undefined ? undefined : { epoch: move.epoch, proof: move.proof },
      lockRefused,
      failures,
      channel: channel.seen(view.exists ? view.assignment : undefined, deadline),
      restart: {
        limit: spec?.process.restart.limit ?? 0,
        windowMs: durationMs(spec?.process.restart.window ?? '10m'),
      },
      underWay,
    };
  }

  /**
   * The word on the disk is written before the addresses are gone. An agent that died in between, or lost /run, has left
   * them there: whoever hears of the end may send clients elsewhere.
   */
  function takeEndFromDisk(): void {
    const told = disk.ended();
    if (told <= memory.ended || underWay.end || underWay.start) return;
    if (memory.spawned > told) remember({ ...memory, ended: told });
    else if (['idle', 'absent'].includes(process.view().state)) void endEpoch(told);
  }

  /** After a lost status the same epoch has another basis. What runs goes by it also after a restart of the agent. */
  function rememberReplaced(assignment: Assignment | undefined): void {
    if (assignment?.node !== node || assignment.epoch !== memory.spawned || memory.spawned <= memory.ended) return;
    if (!isDeepStrictEqual(assignment, memory.assignment)) remember({ ...memory, assignment });
  }

  function processSeen(): AgentSeen['process'] {
    const { state, epoch } = process.view();
    return underWay.start && (state === 'idle' || state === 'absent')
      ? { state: 'starting', epoch: memory.spawned }
      : { state, epoch };
  }

  function act(now: AgentPlan, observed: AgentSeen): void {
    switch (now.do) {
      case 'confirm':
        void confirm();
        break;
      case 'claim':
        channel.claim(now.epoch);
        break;
      case 'look':
        channel.look();
        break;
      case 'start':
        void start(now.epoch, now.lock, observed);
        break;
      case 'stop': {
        const stop = group?.spec.process.stop;
        process.stop(stop?.signal ?? 'SIGTERM', durationMs(stop?.timeout ?? '10s'));
        break;
      }
      case 'endEpoch':
        void endEpoch(now.epoch);
        break;
      case 'giveUp':
      case 'nothing':
        break;
    }
  }

  /** Condition 1: a GET without resourceVersion. */
  async function confirm(): Promise<void> {
    underWay.confirm = true;
    const sentAtMs = clock.nowMs();
    try {
      const limits = { signal: context.signal, timeoutMs: CONFIRM_LIMIT_MS };
      const found = await context.api.get(failoverGroups, namespace, name, limits);
      if (found !== undefined) group = newer(found, group);
      confirmed = {
        view: found === undefined ? { exists: false } : { exists: true, assignment: found.status?.assignment },
        sentAtMs,
      };
    } catch (error) {
      if (left || context.signal.aborted) return;
      log.warn('cannot read the group', { error: describeError(error) });
      await clock.sleep(CONFIRM_RETRY_MS, context.signal).catch(() => {});
    }
    underWay.confirm = false;
    poke();
  }

  async function start(epoch: number, lock: boolean, observed: AgentSeen): Promise<void> {
    const { incarnation } = observed;
    const run = group === undefined ? undefined : runSpec(group, lock);
    const on = disk.mounted();
    if (run === undefined || incarnation === undefined || on === undefined) return;
    underWay.start = true;
    cleared = false;
    startupFailed = false;
    try {
      // Written before the first spawn: from now on something may have been.
      const written = writtenWith(on);
      const assignment = assignmentOf(observed);
      if (memory.spawned < epoch || written !== memory.written) {
        remember({ ...memory, spawned: epoch, written, assignment });
      }
      lockedEpoch = lock ? epoch : undefined;
      await process.start({ epoch, incarnation, deadlineMs: deadline.untilMs, run });
    } catch (error) {
      failed(clock.nowMs());
      log.warn('cannot start', { error: describeError(error) });
    }
    underWay.start = false;
    poke();
  }

  function runSpec({ spec }: FailoverGroup, lock: boolean): RunSpec | undefined {
    const host = context.host.look(spec);
    if (host.problem !== undefined) return undefined;
    const { mountPath } = spec.sharedDisk;
    const file = context.disk(mountPath).lockFile(name);
    return {
      command: spec.process.command,
      uid: host.account.uid,
      gid: host.account.gid,
      workingDirectory: spec.process.workingDirectory,
      env: environmentOf(spec.process, host.account),
      lock: lock ? file : undefined,
    };
  }

  function processChanged(): void {
    const view = process.view();
    if (view.last !== undefined && view.last !== handledEnd) {
      handledEnd = view.last;
      ended(view.last);
    }
    followReadiness(view);
    poke();
    context.onChange();
  }

  function ended(end: Ended): void {
    log.info('the process has ended', { epoch: end.epoch, cause: end.cause, message: end.message });
    if (end.cause === 'Exited' || end.cause === 'NotStarted' || end.cause === 'Lost' || startupFailed) {
      failed(end.atMs);
    } else if (end.cause === 'LockHeld') {
      lockRefused = { epoch: end.epoch, holder: 'unknown', atMs: end.atMs };
      void nameHolder(end.epoch);
    }
    startupFailed = false;
  }

  function failed(atMs: number): void {
    failures = [...failures, atMs].slice(-FAILURES_KEPT);
  }

  async function nameHolder(epoch: number): Promise<void> {
    const mountPath = group?.spec.sharedDisk.mountPath;
    if (mountPath === undefined) return;
    const holder = await context
      .disk(mountPath)
      .lockHolder(name, SETTLE_LIMIT_MS)
      .catch(() => undefined);
    if (holder === undefined || lockRefused?.epoch !== epoch) return;
    lockRefused = { ...lockRefused, holder };
    poke();
  }

  /** Says in the lock file who holds it, for whoever is refused. Best effort, and never on the way of the start. */
  async function signLock(epoch: number): Promise<void> {
    lockedEpoch = undefined;
    const text = `${node}, epoch ${epoch}\n`;
    await mountedDisk()
      ?.signLock(name, text, SETTLE_LIMIT_MS)
      .catch((error) => log.warn('cannot sign the lock', { error: describeError(error) }));
  }

  /** Ready at once where there is no probe, else when it passes. */
  function followReadiness({ state, pid }: ProcessView): void {
    const runs = state === 'running' && pid !== undefined;
    if (runs && lockedEpoch !== undefined) void signLock(lockedEpoch);
    if (ready !== undefined && (!runs || ready.pid !== pid)) {
      ready.stop.abort();
      ready = undefined;
    }
    if (!runs || ready !== undefined || group === undefined) return;
    const probe = group.spec.process.startupProbe;
    const mine = { pid, stop: new AbortController(), done: probe === undefined };
    ready = mine;
    if (probe === undefined) return;
    parts.untilReady(probe, clock, mine.stop.signal).then(
      (passed) => {
        if (ready !== mine) return;
        if (passed) mine.done = true;
        else {
          startupFailed = true;
          log.warn('the process did not pass its startup probe');
          const { signal, timeout } = group?.spec.process.stop ?? { signal: 'SIGTERM', timeout: '10s' };
          process.stop(signal, durationMs(timeout));
        }
        context.onChange();
      },
      () => {}, // it ended meanwhile
    );
  }

  /** Nothing of it lives: the addresses, the disk, /run, the report, in this order. */
  async function endEpoch(epoch: number): Promise<void> {
    underWay.end = true;
    placeAddresses();
    // An epoch under which nothing was ever spawned has written nothing.
    const ran = memory.spawned > memory.ended;
    const [settled] = await Promise.all([ran ? takesEnd(epoch, SETTLE_LIMIT_MS) : memory.settled, addresses.settled()]);
    if (!ran) void writeEnd(epoch);
    try {
      const written = settled ? undefined : memory.written;
      const endedAtMs = ran ? clock.nowMs() : memory.endedAtMs;
      remember({ ...memory, ended: Math.max(memory.ended, epoch), settled, written, endedAtMs });
      failures = [];
      lockRefused = undefined;
      confirmed = undefined;
      if (!settled) void settleLater();
    } catch (error) {
      log.error('cannot write down the end of the epoch', { epoch, error: describeError(error) });
      await clock.sleep(SETTLE_AGAIN_MS, context.signal).catch(() => {});
    }
    underWay.end = false;
    poke();
    context.onChange();
  }

  /** Whether the disk took the end of `epoch`: everything synced where it was written, and the word of it. */
  async function takesEnd(epoch: number, limitMs: number): Promise<boolean> {
    const untilMs = clock.nowMs() + limitMs;
    const leftMs = () => Math.max(1, untilMs - clock.nowMs());
    try {
      const mounts = stillMounted(memory.written);
      for (const on of mounts) await context.disk(on.path).sync(leftMs(), on);
      const newest = mounts.at(-1);
      if (newest !== undefined) await channel.end(epoch, newest, leftMs());
      return newest !== undefined;
    } catch (error) {
      log.warn('the disk does not take the end of the epoch', { epoch, error: describeError(error) });
      return false;
    }
  }

  /**
   * Where something may have writes under way once it is started there too. Undefined: not known. What an unsettled end
   * has left behind counts no longer than it does for the controller (docs/protocol.md, "Released").
   */
  function writtenWith(on: WrittenMount): WrittenMount[] | undefined {
    const waitedMs = clock.nowMs() - (memory.endedAtMs ?? createdMs);
    const over = memory.spawned <= memory.ended && (memory.settled || waitedMs >= context.timing().takeoverAfterMs);
    if (over) return [on];
    const { written } = memory;
    if (written === undefined || written.some((one) => one.path === on.path && isSameMount(one, on))) return written;
    return [...written, on].slice(-MOUNTS_KEPT);
  }

  /** Throws where one of them is another mount by now: what was written there cannot be synced by that path any more. */
  function stillMounted(written: readonly WrittenMount[] | undefined): readonly WrittenMount[] {
    if (written === undefined) throw new Error('Cannot sync what was written: it is not known on which mount');
    for (const { path, fsType, ...mount } of written) {
      const found = parts.mountAt(path, [fsType]);
      if (found.state === 'mounted' && isSameMount(found.mount, mount)) continue;
      const why = found.state === 'mounted' ? 'another file system is mounted there by now' : found.message;
      throw new Error(`Cannot sync what was written at ${path}: ${why}`);
    }
    return written;
  }

  /** For whoever reads the disk; nothing waits for it. */
  async function writeEnd(epoch: number): Promise<void> {
    const found = groupNow();
    if (found === undefined || disk.look(found).state !== 'mounted') return;
    const on = disk.mounted();
    if (on === undefined) return;
    await channel
      .end(epoch, on, SETTLE_LIMIT_MS)
      .catch((error) => log.warn('cannot write the end to the disk', { epoch, error: describeError(error) }));
  }

  async function settleLater(): Promise<void> {
    if (underWay.settle || memory.written === undefined) return;
    underWay.settle = true;
    while (!left && !context.signal.aborted && !memory.settled) {
      await clock.sleep(SETTLE_AGAIN_MS, context.signal).catch(() => {});
      const epoch = memory.ended;
      // Once a new epoch runs, a sync would say nothing about the old one's writes alone, and need not.
      if (left || memory.spawned > epoch || !(await takesEnd(epoch, SETTLE_LIMIT_MS * 3))) continue;
      // Started meanwhile: what it writes is under way from now on.
      if (memory.ended === epoch && memory.spawned <= epoch) remember({ ...memory, settled: true, written: undefined });
    }
    underWay.settle = false;
    context.onChange();
  }

  async function settle(otherBoot: boolean): Promise<boolean> {
    const unknown = !known && memory.spawned === 0;
    known = true;
    if (!unknown) remember(memory); // /run may have been lost under us
    if (!unknown && memory.settled && memory.spawned <= memory.ended) return true;
    const written = unknown ? presentMount() : memory.written;
    const settled = await syncs(written);
    // /run does not say what ran here before, and the disk does not take it: something may still be under way, unless the
    // kernel that held it is gone.
    if (!settled && unknown && !otherBoot) {
      remember({ ...memory, settled: false, written });
      void settleLater();
    }
    return settled;
  }

  async function syncs(written: readonly WrittenMount[] | undefined): Promise<boolean> {
    try {
      for (const on of stillMounted(written)) {
        await context.disk(on.path).sync(SETTLE_LIMIT_MS, on);
        const own = await context
          .disk(on.path)
          .own(name, SETTLE_LIMIT_MS)
          .catch(() => undefined);
        toldByDisk = Math.max(toldByDisk, own?.ended ?? 0);
      }
      return true;
    } catch (error) {
      log.warn('the disk does not take what ran before', { error: describeError(error) });
      return false;
    }
  }

  /** Where the group writes by its assignment, which is all there is to go by without a memory. */
  function presentMount(): WrittenMount[] | undefined {
    const found = groupNow();
    if (found === undefined) return undefined;
    const { spec, status } = found;
    const here = status?.assignment?.node === node ? status.assignment.basis : undefined;
    const path = here?.mountPath ?? spec.sharedDisk.mountPath;
    const at = parts.mountAt(path, spec.sharedDisk.fsTypes);
    if (at.state !== 'mounted') return undefined;
    const { id, device, fsType } = at.mount;
    return [{ path, id, device, fsType, diskId: here?.diskId ?? status?.diskId }];
  }

  function groupNow(): FailoverGroup | undefined {
    const watched = context.watched(name);
    return group ?? (watched === 'unknown' ? undefined : watched);
  }

  function mountedDisk(): Disk | undefined {
    const found = groupNow();
    if (found === undefined || disk.look(found).state !== 'mounted') return undefined;
    return context.disk(found.spec.sharedDisk.mountPath);
  }

  function remember(next: GroupMemory): void {
    runDir.setGroup(name, next);
    memory = next;
  }

  /** By whichever channel; never earlier than it was. */
  function extend(untilMs: number): void {
    const now = clock.nowMs();
    if (untilMs <= now || untilMs <= deadline.untilMs) return;
    deadline = { untilMs, unbrokenSinceMs: deadline.untilMs > now ? deadline.unbrokenSinceMs : now };
    void process.setDeadline(untilMs);
    if (plan?.serving) placeAddresses();
    else keepEarlierAddresses();
    // A gap may have closed, and what waited for the Lease may start.
    if (plan?.reason !== 'Running') poke();
  }

  async function cutDeadline(untilMs: number): Promise<void> {
    if (deadline.untilMs > untilMs) {
      deadline = { ...deadline, untilMs };
      keepEarlierAddresses();
    }
    await process.cutDeadline(untilMs);
  }

  /** The second channel is in force by the assignment, on the disk that this names. */
  function footing(): Footing | undefined {
    // Before the API server has been heard, what runs goes by what it was started by.
    const assignment = seen === undefined ? memory.assignment : assignmentOf(seen);
    if (assignment?.basis.heartbeat !== true) return undefined;
    const { basis } = assignment;
    const diskId = basis.diskId ?? seen?.recordedDiskId;
    // The mount of the spec may be another by now than the one that the process runs on.
    const on = [disk.mounted(), ...(memory.written ?? []).toReversed()].find(
      (mount) => mount?.path === basis.mountPath && (diskId === undefined || mount.diskId === diskId),
    );
    return on === undefined ? undefined : { assignment, on, process: processSeen() };
  }

  function placeAddresses(): void {
    const { all, held } = context.vips(name);
    const serving = plan?.serving === true && !underWay.end && !cleared;
    // Nothing was renewed by this agent yet. What an earlier one left there serves the process that it left running, and
    // goes by itself at the deadline it was put there with.
    if (deadline.untilMs === Number.NEGATIVE_INFINITY && process.view().state === 'running') return;
    // The list of VIPs may come later than the group.
    const ours = all === undefined ? (memory.addresses ?? []) : held;
    const here = serving && deadline.untilMs > clock.nowMs() ? ours : [];
    addresses.want(here, all, deadline.untilMs, context.servedByOthers(name));
    rememberAddresses(here);
  }

  /**
   * The API server has not been heard: what an earlier agent put there goes on for as long as the process that it left
   * running may. Nothing else is put there, and nothing is taken away.
   */
  function keepEarlierAddresses(): void {
    const { state, epoch } = process.view();
    const { addresses: earlier = [], spawned, ended } = memory;
    if (plan !== undefined || cleared || earlier.length === 0 || deadline.untilMs <= clock.nowMs()) return;
    if (state === 'running' && epoch === spawned && epoch > ended) addresses.want(earlier, undefined, deadline.untilMs);
  }

  /** For an agent that comes back while the API server is away. Best effort: they go by themselves at the deadline. */
  function rememberAddresses(here: readonly string[]): void {
    // Where nothing was started yet they serve no process, and a record would say that it is known what ran here.
    if (memory.spawned === 0 || here.join() === (memory.addresses ?? []).join()) return;
    try {
      remember({ ...memory, addresses: [...here] });
    } catch (error) {
      log.warn('cannot write down the addresses', { error: describeError(error) });
    }
  }

  /** Whoever sees a new incarnation may send clients elsewhere. Where the interface is not known, none was put there. */
  async function addressesOff(): Promise<void> {
    if (context.addressesOn() === undefined) return;
    const untilMs = clock.nowMs() + context.timing().takeoverAfterMs;
    while (context.vips(name).all === undefined && clock.nowMs() < untilMs)
      await clock.sleep(ADDRESS_LOOK_MS, context.signal);
    placeAddresses();
    await addresses.settled();
  }

  /** A shim and a disk helper in readiness wherever the group might come. */
  function keepWarm(): void {
    if (group === undefined || context.incarnation() === undefined || underWay.warm) return;
    if (disk.look(group).state === 'mounted') context.disk(group.spec.sharedDisk.mountPath).warm();
    if (process.view().state !== 'absent' || underWay.start) return;
    underWay.warm = true;
    process
      .warm()
      .catch(async (error) => {
        log.warn('cannot keep a shim ready', { error: describeError(error) });
        await clock.sleep(WARM_RETRY_MS, context.signal).catch(() => {});
      })
      .finally(() => {
        underWay.warm = false;
      });
  }

  function report(): GroupReport | undefined {
    if (seen === undefined || plan === undefined || group === undefined) return undefined;
    const view = process.view();
    const unfit = stuckProblem(view) ?? unfitness({ ...seen, record: memory, lockRefused });
    const alive = view.state === 'starting' || view.state === 'running' || view.state === 'stopping';
    const message = unfit?.message ?? (plan.do === 'giveUp' ? plan.message : undefined);
    return {
      name,
      ended: memory.ended,
      settled: memory.settled,
      epoch: currentEpoch(seen),
      state: stateWord(view),
      ready: view.state === 'running' && ready?.done === true,
      ...(alive && view.pid !== undefined ? { pid: view.pid } : {}),
      restarts: restarts(),
      ...(view.last === undefined ? {} : { lastExit: view.last.message.slice(0, 1024) }),
      fit: unfit === undefined,
      ...(unfit === undefined ? {} : { reason: unfit.reason }),
      ...(message === undefined ? {} : { message: message.slice(0, 1024) }),
      ...(seen.disk.state === 'mounted' && seen.disk.id !== undefined ? { diskId: seen.disk.id } : {}),
      ...channel.report(assignmentOf(seen)),
      ...heartbeatOf(memory),
      ...(group.status?.rollCall === undefined ? {} : { rollCall: group.status.rollCall }),
    };
  }

  function restarts(): number {
    const windowMs = seen?.restart.windowMs ?? 0;
    return failuresWithin(failures, windowMs, { ms: clock.nowMs() }).length;
  }

  /** The epoch this node is in and has not ended. */
  function currentEpoch({ view, incarnation }: AgentSeen): number {
    if (memory.spawned > memory.ended) return memory.spawned;
    const assignment = view.exists ? view.assignment : undefined;
    if (assignment?.node !== node || assignment.incarnation !== incarnation) return 0;
    return assignment.epoch > memory.ended ? assignment.epoch : 0;
  }

  function stateWord({ state }: ProcessView): GroupReport['state'] {
    switch (state) {
      case 'starting':
        return 'Starting';
      case 'running':
        return 'Running';
      case 'stopping':
      case 'ending':
        return 'Stopping';
      default:
        if (plan?.do === 'giveUp') return 'Failed';
        return plan?.do === 'start' || plan?.reason === 'RestartPause' ? 'Starting' : 'Stopped';
    }
  }

  return {
    name,
    poke,
    adopt: async () => {
      await process.adopt();
      const { last, epoch } = process.view();
      handledEnd = last;
      // It runs, and /run has lost the word of it.
      if (epoch > memory.spawned) remember({ ...memory, spawned: epoch, written: undefined });
      if (!memory.settled) void settleLater();
    },
    deadlineMoved: ({ untilMs }) => {
      extend(untilMs);
      channel.renewed();
    },
    cutDeadline,
    kill: (why: string, cause: EndCause = 'Killed') => {
      deadline = NEVER;
      // A start may still wait for its shim. That is refused, but until then it looks alive.
      cleared = true;
      return process.kill(why, cause);
    },
    settle: async (otherBoot) => {
      // Whatever the disk or /run say: the addresses are waited for.
      const [settled] = await Promise.allSettled([settle(otherBoot), otherBoot ? undefined : addressesOff()]);
      if (settled.status === 'rejected') throw settled.reason;
      if (toldByDisk > memory.ended) remember({ ...memory, ended: toldByDisk });
      return settled.value;
    },
    report,
    addresses: () => addresses.present(),
    serves: () => addresses.wanted(),
    active: () => ['starting', 'running'].includes(process.view().state),
    idle: () => ['idle', 'absent'].includes(process.view().state) && memory.spawned <= memory.ended && !underWay.end,
    leave: () => {
      left = true;
      cancelTimer();
      ready?.stop.abort();
      channel.leave();
      process.leave();
    },
  };
}

/** It has been killed and lives: this node has not ended the group, and cannot. */
function stuckProblem({ stuck }: ProcessView): Problem | undefined {
  if (stuck === undefined || stuck.length === 0) return undefined;
  return { reason: 'ProcessStuck', message: describeStuck(stuck) };
}

function assignmentOf({ view }: AgentSeen): Assignment | undefined {
  return view.exists ? view.assignment : undefined;
}

/** Of what is spawned and not ended, also while nobody is assigned: by that its process lives on when it is cut off. */
function heartbeatOf({ spawned, ended, assignment }: GroupMemory): Pick<GroupReport, 'heartbeat'> {
  if (spawned <= ended || assignment?.epoch !== spawned) return {};
  return { heartbeat: assignment.basis.heartbeat };
}

/** Of two views of a group the newer; by epoch where they are of one object, since a version need not be a number. */
function newer(a: FailoverGroup | undefined, b: FailoverGroup | undefined): FailoverGroup | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.metadata.uid !== b.metadata.uid) return a;
  const [first, second] = [BigInt(a.metadata.resourceVersion || 0), BigInt(b.metadata.resourceVersion || 0)];
  return first >= second ? a : b;
}

function environmentOf(
  { user, env }: FailoverGroup['spec']['process'],
  { home }: Account,
): Readonly<Record<string, string>> {
  const given = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  return { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: home, USER: user, LOGNAME: user, SHELL: '/bin/sh', ...given };
}
