import type { Clock } from '../base/clock.ts';
import type { Reconciled } from '../base/queue.ts';
import { RELEASE_FINALIZER } from '../crds/failovergroup.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import { nodeStatus } from '../decide/nodestatus.ts';
import { observeNode, observeNodes } from '../decide/observe.ts';
import { outness } from '../decide/proof.ts';
import type { GroupSeen, Now } from '../decide/seen.ts';
import type { CallOptions, KubeApi } from '../kube/api.ts';
import { LEASE_FINALIZER } from '../kube/lease.ts';
import { mergePatch } from '../kube/mergepatch.ts';
import { failoverNodes, leases } from '../kube/resources.ts';
import type { Fencing } from './fencing.ts';
import type { World } from './observe.ts';
import type { Recorder } from './recorder.ts';

export interface NodeReconcilerOptions {
  readonly api: KubeApi;
  readonly world: World;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly leading: () => boolean;
  /** The power of its instance. */
  readonly fencing: Pick<Fencing, 'attend' | 'startProblem' | 'letsGo'>;
}

const WRITE_TIMEOUT_MS = 5_000;
/** A node that falls silent sends no event: it is noticed at the next look. */
const LOOK_AGAIN_MS = 2_000;

/** Whether the node is in touch; and a node that is being deleted stays until no group needs it any more. */
export function createNodeReconciler(options: NodeReconcilerOptions) {
  const { api, world, clock, recorder, leading, fencing } = options;
  return async function reconcile(key: string, signal: AbortSignal): Promise<Reconciled> {
    const node = world.nodes.get(key);
    if (!node || !leading()) return;
    const call = { signal, timeoutMs: WRITE_TIMEOUT_MS };
    const { namespace, name, resourceVersion, finalizers, deletionTimestamp } = node.metadata;
    const now: Now = { ms: clock.nowMs(), iso: clock.wall().toISOString() };
    const seen = observeNode(world, namespace, name);

    if (deletionTimestamp === undefined && !finalizers.includes(RELEASE_FINALIZER)) {
      await api.patchMetadata(
        failoverNodes,
        namespace,
        name,
        { metadata: { resourceVersion, finalizers: [...finalizers, RELEASE_FINALIZER] } },
        call,
      );
      return;
    }
    const promised = node.status?.stop !== undefined;
    if (promised) fencing.attend(key);
    const leaving = deletionTimestamp !== undefined && finalizers.includes(RELEASE_FINALIZER);
    if (leaving && !isNeeded(node, now) && (!promised || fencing.letsGo(key))) {
      if (promised) tellLeftStopped(node);
      await letLeaseGo(namespace, name, call);
      const rest = finalizers.filter((one) => one !== RELEASE_FINALIZER);
      await api.patchMetadata(
        failoverNodes,
        namespace,
        name,
        { metadata: { resourceVersion, finalizers: rest } },
        call,
      );
      return;
    }

    const { report: _, ...stored } = node.status ?? { conditions: [] };
    const status = nodeStatus(node, seen, world.groups.list(), now, fencing.startProblem(key));
    const patch = mergePatch(stored, status);
    if (patch !== undefined) {
      await api.patchStatus(failoverNodes, namespace, name, { status: patch }, call);
      tell(node, status);
    }
    return { afterMs: LOOK_AGAIN_MS };
  };

  /** It is kept as it is, for a node of that name that comes later; but nothing keeps it from being deleted any more. */
  async function letLeaseGo(namespace: string, name: string, call: CallOptions): Promise<void> {
    const lease = await api.get(leases, namespace, name, call);
    if (!lease?.metadata.finalizers.includes(LEASE_FINALIZER)) return;
    const { resourceVersion, finalizers } = lease.metadata;
    const rest = finalizers.filter((one) => one !== LEASE_FINALIZER);
    await api.patchMetadata(leases, namespace, name, { metadata: { resourceVersion, finalizers: rest } }, call);
  }

  /** An assignment names it, and it is not proven out. */
  function isNeeded({ metadata }: FailoverNode, now: Now): boolean {
    return world.groups.list().some((group) => {
      const assignment = group.status?.assignment;
      if (group.metadata.namespace !== metadata.namespace || assignment?.node !== metadata.name) return false;
      const look: GroupSeen = {
        group,
        nodes: observeNodes(world, group),
        monitors: [],
        vips: [],
        unassignedSinceMs: undefined,
        moveStartMs: undefined,
        failures: [],
        diskFlights: [],
        diskFailingSinceMs: {},
        unsettledSinceMs: undefined,
        loss: undefined,
        instance: undefined,
        readiness: [],
      };
      return !outness(look, assignment, now).out;
    });
  }

  /** A node is not kept for ever for the sake of an instance that EC2 does not start. */
  function tellLeftStopped(node: FailoverNode): void {
    const note = `instance ${node.spec.instanceId} may still be stopped: EC2 has not started it again; ${fencing.startProblem(`${node.metadata.namespace}/${node.metadata.name}`) ?? 'it did not answer'}`;
    recorder.event(node, 'FailoverNode', { type: 'Warning', reason: 'StartRefused', action: 'Start', note });
  }

  /** What becomes of `Ready`, and that groups of both kinds are here, when it begins. */
  function tell(node: FailoverNode, status: ReturnType<typeof nodeStatus>): void {
    for (const type of ['Ready', 'MixedChannels']) {
      const was = node.status?.conditions.find((one) => one.type === type);
      const is = status.conditions.find((one) => one.type === type);
      if (!is || was?.reason === is.reason || (type === 'Ready' && was === undefined)) continue;
      recorder.event(node, 'FailoverNode', {
        type: type !== 'Ready' || is.status === 'False' ? 'Warning' : 'Normal',
        reason: is.reason,
        action: 'Watch',
        note: is.message,
      });
    }
  }
}
