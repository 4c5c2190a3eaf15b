import type { ConditionWish } from '../crds/conditions.ts';
import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { FailoverNode, FailoverNodeStatus } from '../crds/failovernode.ts';
import { NODE_REASONS, type NodeReason } from '../crds/reasons.ts';
import { mergeConditions } from './conditions.ts';
import { isInTouch } from './fitness.ts';
import type { NodeSeen, Now } from './seen.ts';

/** The part of a FailoverNode's status that is the controller's: everything but the report. `groups` are all there are. */
export function nodeStatus(
  node: FailoverNode,
  seen: NodeSeen,
  groups: readonly FailoverGroup[],
  now: Now,
  startProblem?: string,
): Omit<FailoverNodeStatus, 'report'> {
  const { generation } = node.metadata;
  const { reason, message, status } = judge(node, seen, now, startProblem);
  const wishes: ConditionWish[] = [{ type: 'Ready', status, reason, message }];
  if (reason === 'InstanceTwice' || reason === 'InstanceMismatch' || reason === 'StartRefused')
    wishes.push({ type: 'Stalled', status: 'True', reason, message });
  else if (status !== 'True') wishes.push({ type: 'Reconciling', status: 'True', reason, message });
  const mixed = mixedChannels(node, groups);
  if (mixed !== undefined)
    wishes.push({
      type: 'MixedChannels',
      status: 'True',
      reason: 'MixedChannels' satisfies NodeReason,
      message: mixed,
    });
  return {
    observedGeneration: generation,
    // The promise is made and kept elsewhere, src/reconcilers/fencing.ts; here it is only not to be lost.
    ...(node.status?.stop === undefined ? {} : { stop: node.status.stop }),
    conditions: mergeConditions(node.status?.conditions ?? [], wishes, generation, now.iso),
  };
}

/**
 * There is one fence for a whole node: one without a second channel has it fenced when its Lease has aged, and then the
 * other ends as well when the node comes back, though it was seen to live on the disk.
 */
function mixedChannels({ metadata }: FailoverNode, groups: readonly FailoverGroup[]): string | undefined {
  const here = groups.filter(({ metadata: { namespace }, spec, status }) => {
    const named = spec.nodes.includes(metadata.name) || status?.assignment?.node === metadata.name;
    return namespace === metadata.namespace && named;
  });
  const names = (heartbeat: boolean) => {
    return here.filter(({ spec }) => spec.sharedDisk.heartbeat === heartbeat).map((group) => group.metadata.name);
  };
  const [withOne, without] = [names(true), names(false)];
  if (withOne.length === 0 || without.length === 0) return undefined;
  return `${metadata.name} is a node of groups with a second channel (${withOne.join(', ')}) and without (${without.join(', ')}): when its Lease ages it is fenced for the latter, which ends the former too; set sharedDisk.heartbeat alike, or give them different nodes`;
}

function judge(
  node: FailoverNode,
  seen: NodeSeen,
  now: Now,
  startProblem: string | undefined,
): { reason: NodeReason; message: string; status: ConditionWish['status'] } {
  const { name } = node.metadata;
  const { lease, twin } = seen;
  const report = node.status?.report;
  const no = (reason: NodeReason, message: string) => ({ reason, message, status: 'False' as const });
  if (twin !== undefined)
    return no(
      'InstanceTwice',
      `FailoverNode "${twin}" has the same instance ${node.spec.instanceId}: delete one of the two`,
    );
  // Such an agent takes no Lease, so its report is all there is.
  if (report?.reason === 'InstanceMismatch')
    return no('InstanceMismatch', report.message ?? NODE_REASONS.InstanceMismatch);
  const promise = node.status?.stop;
  if (promise && startProblem !== undefined) return no('StartRefused', startProblem);
  if (promise && !isInTouch(seen, now))
    return no(
      'InstanceStopped',
      `its instance ${promise.instanceId} is stopped, or about to be, for epoch ${promise.epoch} of group ${promise.group}; it is started again when no group needs it stopped`,
    );
  if (lease.kind === 'unknown') return { reason: 'Unknown', message: NODE_REASONS.Unknown, status: 'Unknown' };
  if (lease.kind === 'missing')
    return no('AgentNeverSeen', `${name} has no Lease: start the agent on instance ${node.spec.instanceId}`);
  if (lease.holder === '')
    return no(
      'Fenced',
      `the Lease of ${name} was fenced and its agent has not come back: look at the agent, the server and its network`,
    );
  if (!isInTouch(seen, now)) {
    // This controller may only just have begun to look.
    if (lease.changedMs === undefined && now.ms < lease.firstSeenMs + lease.takeoverAfterMs)
      return { reason: 'Pending', message: NODE_REASONS.Pending, status: 'Unknown' };
    return no(
      'OutOfTouch',
      `the agent of ${name} does not renew its Lease: look at the agent, the server and its network`,
    );
  }
  if (report === undefined || report.incarnation !== lease.incarnation)
    return no('NotReported', `the agent of ${name} has not reported yet`);
  if (report.reason !== undefined) return no('NotReported', report.message ?? report.reason);
  if (!node.spec.schedulable)
    return {
      reason: 'Cordoned',
      message: `${name} is cordoned: no group comes here; set spec.schedulable to true to let them`,
      status: 'True',
    };
  return { reason: 'InTouch', message: `the agent of ${name} renews its Lease and reports`, status: 'True' };
}
