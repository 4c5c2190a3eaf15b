import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { DiskMonitor } from '../crds/diskmonitor.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import { type FailoverNode, type NodeReport, timingSchema } from '../crds/failovernode.ts';
import type { VipResource } from '../crds/vipresource.ts';
import type { Problem } from '../decide/agent.ts';
import { type Timing, timingOf, timingProblem } from '../decide/timing.ts';
import type { KubeApi } from '../kube/api.ts';
import { failoverGroups } from '../kube/resources.ts';
import type { Addresses } from './address.ts';
import { cgroupOf, cgroupsIn } from './cgroup.ts';
import type { Disk } from './disk.ts';
import { fileNameOf } from './files.ts';
import { createGroupAgent, type GroupAgent, type GroupContext } from './group.ts';
import type { Prepared } from './leasekeeper.ts';
import { groupOfMark, markOf } from './mark.ts';
import type { Instance } from './metadata.ts';
import { type Parts, realParts } from './parts.ts';
import type { DiskProbe } from './probe.ts';
import { createReporter } from './report.ts';
import type { RunDir } from './rundir.ts';
import { createSharedHelpers } from './sharedhelpers.ts';
import { vipsOf } from './vips.ts';

/** All of one node: its Lease, its groups, its disks' monitors, and the report on them. */
export interface NodeAgent {
  /** Until the signal aborts; the processes are then left to the next agent. */
  run(signal: AbortSignal): Promise<void>;
  /** Something that the API server keeps has changed. */
  poke(): void;
}

/** What the agent sees of the API server. `undefined` before the first list. */
export interface Watches {
  readonly node: () => FailoverNode | undefined;
  readonly groups: () => readonly FailoverGroup[] | undefined;
  readonly vips: () => readonly VipResource[] | undefined;
  readonly monitors: () => readonly DiskMonitor[] | undefined;
}

export interface NodeAgentOptions {
  readonly namespace: string;
  readonly node: string;
  readonly version: string;
  readonly bootId: string;
  readonly instance: Instance;
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly runDir: RunDir;
  readonly logDirectory: string;
  readonly policyFile: string;
  /** Where the groups get their cgroups, if anywhere. */
  readonly cgroups: string | undefined;
  readonly addresses: Addresses | undefined;
  /** The real ones unless told otherwise. */
  readonly parts?: Parts;
  readonly clock: Clock;
  readonly log: Log;
}

const LIST_LIMIT_MS = 3_000;
const SYNC_LOOK_MS = 10;
/** A list that is empty when it comes into step makes no event. */
const LOOK_EVERY_MS = 2_000;

export function createNodeAgent(options: NodeAgentOptions): NodeAgent {
  const { namespace, node, runDir, clock, log, watches, api, parts = realParts } = options;
  const groups = new Map<string, GroupAgent>();
  const probes = new Map<string, { path: string; probe: DiskProbe }>();
  const disks = new Map<string, Disk>();
  const ending = new AbortController();
  const ownMark = markOf(namespace, node);
  const probeHelpers = createSharedHelpers({
    script: 'probe-child',
    recordFile: (path) => runDir.helper(`probe ${path}`),
    clock,
  });
  let started = false;
  let poked = false;
  let cancelLook = () => {};
  let renewing: AbortController | undefined;
  let timing: Timing | undefined;

  const reporter = createReporter({
    ...{ api, namespace, node, clock, log, signal: ending.signal },
    compose,
    stored: watches.node,
  });
  const keeper = parts.createLeaseKeeper({
    site: { api, clock, namespace, node },
    bootId: options.bootId,
    clock,
    log,
    timing: () => timing ?? DEFAULT_TIMING,
    remembered: () => runDir.incarnation(),
    prepare,
    cutDeadlines: async (untilMs) => {
      await Promise.all([...groups.values()].map((group) => group.cutDeadline(untilMs)));
    },
    onTaken: (incarnation) => runDir.setIncarnation(incarnation),
    onDeadline: (deadline) => {
      for (const group of groups.values()) group.deadlineMoved(deadline);
      reporter.poke();
    },
    onLost: () => {
      runDir.setIncarnation(undefined);
      for (const group of groups.values()) void kill(group, 'this node has lost its Lease');
    },
  });
  const context: GroupContext = {
    ...{ namespace, node, api, clock, log, runDir, parts, nodeProblem },
    signal: ending.signal,
    host: parts.createHost({ policyFile: options.policyFile, clock, onChange: poke }),
    disk,
    addressesOn: () => options.addresses,
    shimConfig: (group) => ({
      socket: runDir.socket(group),
      acceptedFile: runDir.accepted(group),
      incarnationFile: runDir.incarnationFile,
      mark: markOf(namespace, node, group),
      logFile: join(options.logDirectory, `${fileNameOf(`${namespace}.${group}`)}.log`),
      cgroup: options.cgroups === undefined ? undefined : cgroupOf(options.cgroups, group),
    }),
    shimLogFile: join(options.logDirectory, 'shim.log'),
    incarnation: () => keeper.incarnation(),
    deadline: () => keeper.deadline(),
    timing: () => timing ?? DEFAULT_TIMING,
    watched: (name) => {
      const all = watches.groups();
      return all === undefined ? 'unknown' : all.find((group) => group.metadata.name === name);
    },
    vips: (group) => vipsOf(watches.vips(), group),
    servedByOthers: (name) => [...groups.values()].flatMap((group) => (group.name === name ? [] : group.serves())),
    onChange: () => reporter.poke(),
  };

  async function run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => ending.abort(signal.reason), { once: true });
    await adoptAll();
    while (watches.node() === undefined && !ending.signal.aborted) await clock.sleep(SYNC_LOOK_MS);
    started = true;
    look();
    await keepLease();
    cancelLook();
    for (const group of groups.values()) group.leave();
    for (const { probe } of probes.values()) probe.close();
    for (const opened of disks.values()) opened.close();
  }

  /** While this is the node's own instance. Somebody may give the node another, whose agent then has the Lease. */
  async function keepLease(): Promise<void> {
    while (!ending.signal.aborted) {
      if (mismatch() === undefined) {
        renewing = new AbortController();
        await keeper.run(AbortSignal.any([ending.signal, renewing.signal]));
      } else await clock.sleep(LOOK_EVERY_MS, ending.signal).catch(() => {});
    }
  }

  /** What an earlier agent left running under the incarnation that /run remembers; anything else that is ours ends. */
  async function adoptAll(): Promise<void> {
    if (runDir.incarnation() === undefined) return; // then a new one is taken, which ends everything
    const adopt = (names: readonly string[]) =>
      Promise.all(names.map((name) => attempt(name, 'adopt', () => groupAgent(name).adopt())));
    const names = runDir.groupsWithShims();
    const adoptions = await adopt(names);
    const adopted = new Set(names.filter((_, at) => adoptions[at]));
    // What no shim answers for ends as its group: that starts nothing before, and no other group waits for it.
    const strays = new Set<string>();
    await parts.findMarked((mark) => {
      const group = groupOfMark(mark, ownMark);
      if (group !== undefined && !adopted.has(group)) strays.add(group);
      return false;
    });
    await adopt([...strays]);
  }

  /** In the next turn of the loop: a watch tells of changes one by one, and says only afterwards that it is in step. */
  function poke(): void {
    if (poked) return;
    poked = true;
    setImmediate(() => {
      poked = false;
      look();
    });
  }

  function look(): void {
    if (!started || ending.signal.aborted) return;
    cancelLook();
    cancelLook = clock.after(LOOK_EVERY_MS, poke);
    const own = watches.node();
    if (own !== undefined) takeTiming(own);
    if (mismatch() !== undefined) renewing?.abort();
    keepGroups();
    keepProbes();
    for (const group of groups.values()) group.poke();
    reporter.poke();
  }

  /** A spec that breaks the sum was not admitted; should one be there all the same, the timing before it stays. */
  function takeTiming(own: FailoverNode): void {
    const next = timingOf(own.spec.timing);
    const problem = timingProblem(next);
    if (problem !== undefined) {
      log.error('the timing of the FailoverNode is not safe', { problem });
      return;
    }
    const changed = JSON.stringify(next) !== JSON.stringify(timing);
    timing = next;
    if (changed) keeper.timingChanged();
  }

  function keepGroups(): void {
    for (const { metadata, spec, status } of watches.groups() ?? []) {
      const ours = spec.nodes.includes(node) || status?.assignment?.node === node || status?.rollCall !== undefined;
      if (ours) void attempt(metadata.name, 'look after', () => groupAgent(metadata.name));
    }
    for (const [name, group] of groups) {
      const found = watches.groups()?.find((each) => each.metadata.name === name);
      const called = found?.status?.rollCall !== undefined;
      const ours = called || found?.spec.nodes.includes(node) || found?.status?.assignment?.node === node;
      if (watches.groups() === undefined || ours || !group.idle()) continue;
      groups.delete(name);
      void kill(group, 'the group is none of this node any more').finally(() => group.leave());
    }
  }

  function groupAgent(name: string): GroupAgent {
    let group = groups.get(name);
    if (group === undefined) {
      group = createGroupAgent(name, context);
      groups.set(name, group);
    }
    return group;
  }

  function kill(group: GroupAgent, why: string): Promise<boolean> {
    return attempt(group.name, 'end', () => group.kill(why));
  }

  /** What goes wrong with one group is said, is `false`, and keeps nothing from the others. */
  async function attempt(group: string, what: string, act: () => unknown): Promise<boolean> {
    try {
      return (await act()) !== false;
    } catch (error) {
      log.error(`cannot ${what} the group`, { group, error: describeError(error) });
      return false;
    }
  }

  function keepProbes(): void {
    const monitors = watches.monitors();
    if (monitors === undefined) return;
    const here = monitors.filter(({ spec }) => groups.has(spec.groupRef.name));
    for (const { metadata, spec } of here) {
      const known = probes.get(metadata.name);
      if (known?.path === spec.path) known.probe.update(spec);
      else {
        known?.probe.close();
        probes.set(metadata.name, { path: spec.path, probe: openProbe(metadata.name, spec) });
      }
    }
    for (const [name, { probe }] of probes) {
      if (here.some(({ metadata }) => metadata.name === name)) continue;
      probe.close();
      probes.delete(name);
    }
  }

  function openProbe(name: string, spec: DiskMonitor['spec']): DiskProbe {
    const { groupRef, path } = spec;
    return parts.createDiskProbe({
      name,
      spec,
      helper: probeHelpers.open(path),
      clock,
      place: () => {
        const found = watches.groups()?.find(({ metadata }) => metadata.name === groupRef.name);
        const shared = found?.spec.sharedDisk;
        if (shared === undefined || !path.startsWith(`${shared.mountPath}/`)) return { mountPath: undefined };
        const mount = parts.mountAt(shared.mountPath, shared.fsTypes);
        if (mount.state !== 'mounted') return { obstacle: mount.message };
        return { mountPath: shared.mountPath, diskId: found?.status?.diskId };
      },
      active: () => groups.get(groupRef.name)?.active() === true,
      onChange: () => reporter.poke(),
    });
  }

  function disk(mountPath: string): Disk {
    let opened = disks.get(mountPath);
    if (opened === undefined) {
      const [forDisk, channel] = [runDir.helper(`disk ${mountPath}`), runDir.helper(`channel ${mountPath}`)];
      opened = parts.openDisk({ mountPath, namespace, node, recordFiles: { disk: forDisk, channel }, clock });
      disks.set(mountPath, opened);
    }
    return opened;
  }

  /** For a new incarnation: everything this node ever started is ended first, found by its marks, not by memory. */
  async function prepare(found: { readonly bootId: string } | undefined, signal: AbortSignal): Promise<Prepared> {
    log.info('ending everything, for a new incarnation');
    const [listed] = await Promise.all([
      api.list(failoverGroups, namespace, { signal, timeoutMs: LIST_LIMIT_MS }),
      ...[...groups.values()].map((group) => kill(group, 'a new incarnation begins')),
    ]);
    // Also of a group that could not be ended by itself: without this, no new incarnation.
    const ours = (mark: string) => mark === ownMark || mark.startsWith(`${ownMark}/`);
    await parts.killAll(everything(ours, options.cgroups === undefined ? [] : cgroupsIn(options.cgroups)), signal);
    const mine = listed.items.filter(({ spec, status }) => {
      return spec.nodes.includes(node) || status?.assignment?.node === node;
    });
    // Nothing of another boot is under way any more: the kernel that held it is gone.
    const otherBoot = found !== undefined && found.bootId !== '' && found.bootId !== options.bootId;
    const settled = await Promise.all(
      mine.map(({ metadata: { name } }) => attempt(name, 'settle', () => groupAgent(name).settle(otherBoot))),
    );
    const assigned = mine.flatMap(({ status }) =>
      status?.assignment?.node === node ? [status.assignment.incarnation] : [],
    );
    const floor = Math.max(0, watches.node()?.status?.report?.incarnation ?? 0, ...assigned);
    return { settled: otherBoot || settled.every(Boolean), floor };
  }

  function mismatch(): Problem | undefined {
    const expected = watches.node()?.spec.instanceId;
    if (expected === undefined || expected === options.instance.id) return undefined;
    const message = `Cannot run anything as node "${node}": this is instance ${options.instance.id}, its FailoverNode names ${expected}; start the agent with the node's own name`;
    return { reason: 'InstanceMismatch', message };
  }

  function nodeProblem(): Problem | undefined {
    return mismatch();
  }

  function compose(): NodeReport | undefined {
    const problem = mismatch();
    const incarnation = keeper.incarnation();
    if (!started || (incarnation === undefined && problem === undefined)) return undefined;
    const stored = watches.node()?.status?.report;
    // The node itself may be running elsewhere: what it says of its groups is not ours to take back.
    if (problem !== undefined && stored !== undefined && stored.instanceId !== options.instance.id) return undefined;
    const known = watches.groups();
    const reports = [...groups.values()].flatMap((group) => group.report() ?? []);
    // A report without a group would take back what was said of it.
    const exist = [...groups.keys()].filter((name) => known?.some(({ metadata }) => metadata.name === name));
    if (known === undefined || exist.some((name) => !reports.some((report) => report.name === name))) return undefined;
    return {
      incarnation: incarnation ?? 0,
      bootId: options.bootId,
      instanceId: options.instance.id,
      agentVersion: options.version,
      ...(problem ?? {}),
      addresses: [...new Set([...groups.values()].flatMap((group) => group.addresses()))].sort(),
      groups: reports.sort((a, b) => (a.name < b.name ? -1 : 1)),
      disks: [...probes.values()].map(({ probe }) => probe.report()).sort((a, b) => (a.name < b.name ? -1 : 1)),
    };
  }

  return { run, poke };
}

/** Until the FailoverNode has been seen; nothing is renewed before it has. */
const DEFAULT_TIMING: Timing = timingOf(timingSchema.parse({}));

function everything(matches: (mark: string) => boolean, cgroups: readonly string[]) {
  return { matches, cgroups, known: [], sinceTicks: 0, cgroupHoldsAll: false };
}
