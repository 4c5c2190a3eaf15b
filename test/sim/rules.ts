import { createLeaseKeeper } from '../../src/agent/leasekeeper.ts';
import type { Parts } from '../../src/agent/parts.ts';
import { createGroupProcess } from '../../src/agent/process.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { KubeApi, Stored } from '../../src/kube/api.ts';
import type { NodeLease } from '../../src/kube/resources.ts';
import type { World } from '../../src/reconcilers/observe.ts';
import type { Tampering } from './apiserver.ts';
import type { Machine } from './machine.ts';

/**
 * The rules of docs/protocol.md that can be switched off, each with what then happens instead. Nothing in src knows of
 * it: a part of the world stands in for the part that keeps the rule, or the line that keeps it is changed (edits.ts).
 */
export const RULES = {
  'assignment by resourceVersion': 'the server takes a status of a group on whatever version there is',
  'incarnation in condition 1': 'an agent takes every assignment for one to its own incarnation',
  'renewal conditional': 'the server takes a renewal on whatever version there is',
  'send time': 'a deadline counts from the answer to a renewal',
  'a read never extends': 'a read of the Lease extends the deadline as a renewal does',
  'look before exec': 'the shim starts without a look at deadline and incarnation',
  'the kill': 'the shim does not kill at the deadline',
  PDEATHSIG: 'a process outlives its shim',
  'the agent kills too': 'the agent does not kill at the deadline',
  'a silent shim is killed': 'a shim that does not answer, or accept an earlier deadline, is left as it is',
  'end everything': 'a new incarnation is taken without ending what ran before',
  fence: 'an aged Lease is taken for a fenced one',
  'fence conditional': 'the server takes a fence on whatever version there is',
  age: 'a Lease counts as aged at first sight',
  'Rejoined needs a holder': 'a fenced Lease counts as one that was taken anew, settled',
  'timing cut': 'shorter numbers leave before the deadlines are cut',
  'a missing Lease is no proof': 'a missing Lease counts as a fenced one',
  'EC2 read before the proof': 'what EC2 said of an instance at any time before is good enough',
  'EC2 asked to stop it': 'that EC2 says "stopped", which may be an old answer, is good enough',
  'the GET': 'an assignment is believed as the watch shows it',
  'the gap': 'a GET from before a gap in the deadline is good enough',
  'the deadline test': 'a process is started when the deadline has passed',
  'n above the highest ended': 'an epoch that has ended here may be started again',
  'ended kept': 'a node that restarts its agent does not know which epochs it has ended',
  'ended before the report': 'what has ended is written into /run a good while after it was reported',
  'the gate': 'a new holder starts as soon as it is assigned',
  'every other node': 'only one other node is asked, at the gate and by a tick',
  "the file's own number": 'a file ages by the number that the gate goes by itself',
  'age at the gate': 'a file that can be read is good enough for the gate',
  'ended only at an end': 'a node whose process has died writes that the epoch has ended',
  'a beat never there before': 'every record of one agent has the same beat',
  'no claim or epoch at or above': 'a tick does not mind what the others claim',
  'deadline from the start of the tick': 'a deadline counts from the end of a tick',
  "the gate's round after the claim": 'what was read before the claim is good enough for the gate',
  finality: 'a shim takes a later deadline after the old one has passed',
} as const;
export type Rule = keyof typeof RULES;

export function breakRequests(machine: Machine): Tampering {
  return {
    checksVersion: (plural, verb) =>
      !(machine.broken('renewal conditional') && plural === 'leases' && verb === 'replace'),
  };
}

/** Adds the two parts that are the real ones in every run, or what stands in for them. */
export function breakParts(parts: Omit<Parts, 'createLeaseKeeper' | 'createGroupProcess'>, machine: Machine): Parts {
  return {
    ...parts,
    createLeaseKeeper: (options) => keeper(options, machine),
    createGroupProcess: (options) => createGroupProcess({ ...options, clock: processClock(options.clock, machine) }),
  };
}

function processClock(clock: Clock, machine: Machine): Clock {
  return {
    ...clock,
    ...(machine.broken('the agent kills too') ? { nowMs: () => clock.nowMs() - 1e9 } : {}),
  };
}

function keeper(
  options: Parameters<typeof createLeaseKeeper>[0],
  machine: Machine,
): ReturnType<typeof createLeaseKeeper> {
  const { clock, site } = options;
  let extraMs = 0;
  let readUntilMs = Number.NEGATIVE_INFINITY;
  const replace: KubeApi['replace'] = async (r, namespace, body, o) => {
    const sentMs = clock.nowMs();
    const answer = await site.api.replace(r, namespace, body, o);
    if (machine.broken('send time')) extraMs = clock.nowMs() - sentMs;
    return answer;
  };
  const get = async <T extends Stored>(...call: Parameters<typeof site.api.get<T>>) => {
    const found = await site.api.get<T>(...call);
    const lease = found as unknown as NodeLease | undefined; // the keeper reads nothing else
    const ours = lease?.holder === site.node && lease.transitions === inner.incarnation();
    if (machine.broken('a read never extends') && ours) {
      readUntilMs = clock.nowMs() + options.timing().fenceAfterMs;
      options.onDeadline(deadline());
    }
    return found;
  };
  const deadline = () => {
    const real = inner.deadline();
    return { ...real, untilMs: Math.max(real.untilMs + extraMs, inner.incarnation() === undefined ? -1 : readUntilMs) };
  };
  const inner = createLeaseKeeper({
    ...options,
    site: { ...site, api: { ...site.api, replace, get: get as KubeApi['get'], create: site.api.create } },
    onDeadline: (moved) => options.onDeadline({ ...moved, untilMs: moved.untilMs + extraMs }),
    ...(machine.broken('timing cut') ? { cutDeadlines: async () => {} } : {}),
    ...(machine.broken('end everything')
      ? {
          prepare: async () => ({ settled: true, floor: 0 }),
          onLost: () => {
            machine.tmpfs.incarnation = undefined;
          },
        }
      : {}),
  });
  return { ...inner, deadline };
}

/** What a controller's requests may do. */
export function breakControllerRequests(broken: ReadonlySet<Rule>): Tampering {
  return {
    checksVersion: (plural, verb) => {
      if (broken.has('assignment by resourceVersion') && plural === 'failovergroups' && verb === 'patchStatus')
        return false;
      return !(broken.has('fence conditional') && plural === 'leases' && verb === 'replace');
    },
  };
}

/** What a controller sees. */
export function breakWorld(world: World, broken: ReadonlySet<Rule>, clock: Clock): World {
  const fenced = (lease: NodeLease): NodeLease => ({ ...lease, holder: '', transitions: lease.transitions + 1 });
  return {
    ...world,
    ages: {
      of: (key, resourceVersion) => {
        const age = world.ages.of(key, resourceVersion);
        return broken.has('age') && age ? { ...age, firstSeenMs: -1e9 } : age;
      },
    },
    leases: {
      list: () => world.leases.list(),
      problem: (key) => world.leases.problem(key),
      synced: () => world.leases.synced(),
      get: (key) => {
        const lease = world.leases.get(key);
        if (!lease) return broken.has('a missing Lease is no proof') && world.leases.synced() ? NO_LEASE : undefined;
        if (broken.has('Rejoined needs a holder') && lease.holder === '') {
          return { ...lease, holder: lease.metadata.name, settled: true };
        }
        const age = world.ages.of(key, lease.metadata.resourceVersion);
        const aged = age !== undefined && clock.nowMs() >= age.firstSeenMs + lease.durationSeconds * 1000;
        return broken.has('fence') && aged && lease.holder !== '' ? fenced(lease) : lease;
      },
    },
  };
}

const NO_LEASE: NodeLease = {
  metadata: {
    ...{ name: '', namespace: '', uid: '', resourceVersion: '1', generation: 0, creationTimestamp: '' },
    ...{ annotations: {}, labels: {}, finalizers: [] },
  },
  ...{
    holder: '',
    transitions: 1_000_000,
    durationSeconds: 8,
    renewTime: '',
    acquireTime: '',
    bootId: '',
    settled: false,
  },
};
