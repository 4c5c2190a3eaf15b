import type { Condition } from '../crds/conditions.ts';
import { MOVE_TO_ANNOTATION } from '../crds/failovergroup.ts';
import type { ObjectMeta } from '../crds/kind.ts';
import type { DiskReason } from '../crds/reasons.ts';
import { type Cluster, CONTROLLER_LEASE, CONTROLLER_NAMESPACE } from './cluster.ts';
import { ageWords } from './words.ts';

/** Why something is not well, in the words of the conditions. */
export interface Problem {
  /** `failovergroup/failover`, as kubectl takes it. */
  readonly object: string;
  readonly namespace: string;
  /** `notReady`: the service, or what it stands on, is not as wished. `warning`: it is, and less is left in reserve. */
  readonly severity: 'notReady' | 'warning';
  readonly reason: string;
  readonly message: string;
}

/** Conditions that tell of trouble though `Ready` may be True, and the status that does. */
const TELLING: Readonly<Record<string, Condition['status'][]>> = {
  Degraded: ['True'],
  FencingReady: ['False', 'Unknown'],
  MixedChannels: ['True'],
};

/** Everything that keeps `status` from exit code 0, and everything that somebody should know; the worst first. */
export function problemsOf(cluster: Cluster, nowMs: number): Problem[] {
  const kinds: readonly (readonly [string, readonly Conditioned[]])[] = [
    ['failovergroup', cluster.groups],
    ['failovernode', cluster.nodes],
    ['vipresource', cluster.vips],
    ['diskmonitor', cluster.monitors],
  ];
  const found = kinds.flatMap(([kind, objects]) => objects.flatMap((object) => ofObject(kind, object)));
  for (const { kind, key, message } of cluster.unreadable) {
    const [namespace = '', name = ''] = key.split('/');
    found.push({ object: `${kind}/${name}`, namespace, severity: 'notReady', reason: 'Unreadable', message });
  }
  found.push(...controllerSilent(cluster, nowMs));
  return found.sort((a, b) => RANK[a.severity] - RANK[b.severity]);
}

const RANK = { notReady: 0, warning: 1 };

interface Conditioned {
  readonly metadata: ObjectMeta;
  readonly status?: { readonly observedGeneration?: number | undefined; readonly conditions: Condition[] } | undefined;
}

function ofObject(kind: string, { metadata, status }: Conditioned): Problem[] {
  const { namespace, name, generation } = metadata;
  const at = { object: `${kind}/${name}`, namespace };
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  const problems: Problem[] = [];
  if (ready === undefined) {
    const message = 'no controller has looked at it yet; is one running?';
    problems.push({ ...at, severity: 'notReady', reason: 'Pending', message });
  } else if (ready.status !== 'True') {
    problems.push({ ...at, severity: 'notReady', reason: ready.reason, message: ready.message });
  } else if (ready.reason === ('Failing' satisfies DiskReason)) {
    problems.push({ ...at, severity: 'warning', reason: ready.reason, message: ready.message });
  }
  if (ready !== undefined && (status?.observedGeneration ?? generation) < generation) {
    const message = 'the spec was changed and no controller has looked at it since; is one running?';
    problems.push({ ...at, severity: 'notReady', reason: 'Unobserved', message });
  }
  for (const { type, status: is, reason, message } of status?.conditions ?? []) {
    if (TELLING[type]?.includes(is)) problems.push({ ...at, severity: 'warning', reason, message });
  }
  const wish = metadata.annotations[MOVE_TO_ANNOTATION];
  if (kind === 'failovergroup' && wish !== undefined) {
    const message = `a move to "${wish}" was asked for and has not been taken up yet`;
    problems.push({ ...at, severity: 'warning', reason: 'Requested', message });
  }
  return problems;
}

/** Six times its duration: an election is long over then, and clocks that differ by seconds raise no alarm. */
const SILENT_AFTER_MS = 30_000;

/** Without a controller every status is what it was, however well that reads. */
export function controllerSilent({ controller }: Cluster, nowMs: number): Problem[] {
  if (controller === undefined) return [];
  const at = { object: `lease/${CONTROLLER_LEASE}`, namespace: CONTROLLER_NAMESPACE, severity: 'warning' } as const;
  const follows = 'while none leads nothing is moved, and every status here is an old one; look at the controller';
  const reason = 'ControllerSilent';
  if (controller.holder === '') return [{ ...at, reason, message: `no controller leads: ${follows}` }];
  const silentMs = nowMs - Date.parse(controller.renewTime);
  if (!(silentMs > SILENT_AFTER_MS)) return [];
  const message = `no controller has renewed its Lease for ${ageWords(silentMs)}, by this machine's clock: ${follows}`;
  return [{ ...at, reason, message }];
}
