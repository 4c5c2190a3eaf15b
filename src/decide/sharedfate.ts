import type { DiskMonitor } from '../crds/diskmonitor.ts';
import { durationMs } from '../crds/duration.ts';
import type { Fitness } from './fitness.ts';
import { type GroupSeen, type NodeSeen, type Now, nodeSeen } from './seen.ts';
import type { Situation } from './situation.ts';

/**
 * What follows from a disk that has failed on the node that runs the group. A shared disk mostly fails on all nodes at
 * once, though no two of them notice in the same moment; then a move costs a stop and a start and mends nothing.
 */
export type Fate =
  /** It works on `to`, or nothing speaks against that. */
  | { readonly kind: 'leave'; readonly to: string }
  /** Whether the others share it will be known soon. */
  | { readonly kind: 'wait'; readonly message: string; readonly lookAgainAtMs?: number }
  /** It fails on all of them, or did a moment ago. */
  | { readonly kind: 'shared'; readonly message: string; readonly lookAgainAtMs?: number }
  /** The others cannot take the group for another reason. */
  | { readonly kind: 'nowhere' };

/**
 * A group that left a node because of its disk does not go back there because of a disk before this has passed, doubled
 * for each time that it has left it so within a day: a disk that comes and goes must not take the group with it.
 */
export const RETURN_AFTER_MS = 300_000;
const REMEMBERED_MS = 24 * 3_600_000;
/** From a probe's end to the report of it at the controller. */
const REPORTED_WITHIN_MS = 1_000;

export function fateOf(situation: Situation, monitor: DiskMonitor): Fate {
  const { seen, assignment, fitness, now } = situation;
  const others = fitness
    .filter(({ name }) => name !== assignment?.node)
    .map((other) => ({ name: other.name, disk: diskOf(situation, other, monitor) }));
  const being = (...states: OtherDisk['state'][]) => others.filter(({ disk }) => states.includes(disk.state));
  const list = (some: typeof others) => some.map(({ name, disk }) => `${name} ${disk.message}`).join(', ');

  const next = being('good', 'unprobed')[0];
  if (next?.disk.state === 'unprobed') return { kind: 'leave', to: next.name };
  if (next !== undefined) {
    // Every node probes once in an interval: what all share has shown on each of them an interval after the first.
    const sinceMs = seen.diskFailingSinceMs[monitor.metadata.name] ?? now.ms;
    const knownAtMs = sinceMs + durationMs(monitor.spec.interval) + REPORTED_WITHIN_MS;
    if (now.ms >= knownAtMs) return { kind: 'leave', to: next.name };
    return { kind: 'wait', message: `waiting for the next probe on ${next.name}`, lookAgainAtMs: knownAtMs };
  }
  const undecided = being('failing', 'unknown');
  if (undecided.length > 0) return { kind: 'wait', message: `waiting until it is known elsewhere: ${list(undecided)}` };
  const left = being('left');
  if (others.length > 0 && being('failed', 'left').length === others.length) {
    const backMs = Math.min(...left.map(({ disk }) => disk.backAtMs ?? Number.POSITIVE_INFINITY));
    return { kind: 'shared', message: list(others), ...(left.length > 0 ? { lookAgainAtMs: backMs } : {}) };
  }
  return { kind: 'nowhere' };
}

interface OtherDisk {
  /**
   * - `good`: probed there, and works. `unprobed`: nobody probes it there now, so nothing speaks against it.
   * - `failing`, `unknown`: its probes will tell.
   * - `failed`. `left`: the group has just fled from there, whatever its probes say by now.
   * - `unfit`: it cannot take the group for another reason.
   */
  readonly state: 'good' | 'unprobed' | 'failing' | 'unknown' | 'failed' | 'left' | 'unfit';
  readonly message: string;
  readonly backAtMs?: number;
}

function diskOf({ seen, now }: Situation, { name, fit, reason }: Fitness, monitor: DiskMonitor): OtherDisk {
  const report = reportOf(nodeSeen(seen, name), monitor);
  if (reason === 'DiskFailed') return { state: 'failed', message: `fails: ${report?.message ?? 'no reason known'}` };
  if (!fit) return { state: 'unfit', message: reason };
  const left = justLeft(seen, name, now);
  if (left !== undefined) return left;
  switch (report?.state) {
    case 'Failing':
      return { state: 'failing', message: `a probe has failed: ${report.message ?? 'no reason known'}` };
    case 'Unknown':
      return { state: 'unknown', message: 'its first probe is under way' };
    case 'Healthy':
      return { state: 'good', message: 'works' };
    default:
      return { state: 'unprobed', message: 'is not probed' };
  }
}

function justLeft({ diskFlights }: GroupSeen, name: string, now: Now): OtherDisk | undefined {
  const flights = diskFlights.filter(({ node, agoMs }) => node === name && agoMs < REMEMBERED_MS);
  if (flights.length === 0) return undefined;
  const agoMs = Math.min(...flights.map((flight) => flight.agoMs));
  const backAtMs = now.ms - agoMs + RETURN_AFTER_MS * 2 ** (flights.length - 1);
  if (now.ms >= backAtMs) return undefined;
  const minutes = Math.ceil((backAtMs - now.ms) / 60_000);
  const message = `was left because of its disk ${Math.round(agoMs / 1000)} s ago and is tried again in ${minutes} min`;
  return { state: 'left', message, backAtMs };
}

function reportOf(node: NodeSeen | undefined, monitor: DiskMonitor) {
  return node?.node?.status?.report?.disks.find((disk) => disk.name === monitor.metadata.name);
}
