import type { ConditionWish } from '../crds/conditions.ts';
import type { FencingReason } from '../crds/reasons.ts';
import type { GroupSeen } from './seen.ts';

/** Whether the instance of a node could be stopped, and started again, if that were needed now. */
export interface ReadinessSeen {
  readonly node: string;
  readonly instanceId: string;
  readonly region: string;
  /** `unasked`: this controller has only just begun. */
  readonly state: 'ready' | 'protected' | 'refused' | 'unanswered' | 'unasked';
  /** What EC2 said, where it is not ready. */
  readonly said: string;
}

/**
 * The condition `FencingReady`, of a group whose policy is Instance: what would keep its nodes from being stopped is to
 * be found before the hour in which it is needed.
 */
export function fencingReady({ group, readiness }: GroupSeen): ConditionWish[] {
  if (group.spec.fencing.policy !== 'Instance') return [];
  const of = (state: ReadinessSeen['state']) => readiness.filter((one) => one.state === state);
  const [refused, locked, unanswered, unasked] = [of('refused'), of('protected'), of('unanswered'), of('unasked')];
  if (refused.length + locked.length > 0) {
    const reason = locked.length > 0 ? 'StopProtected' : 'StopRefused';
    return [wish('False', reason, [...locked.map(unlock), ...refused.map(({ node, said }) => `${node}: ${said}`)])];
  }
  if (unanswered.length > 0)
    return [
      wish(
        'Unknown',
        'FencingUnknown',
        unanswered.map(({ node, said }) => `${node}: ${said}`),
      ),
    ];
  if (unasked.length > 0 || readiness.length === 0) {
    // A controller that has just begun to lead says nothing new before it has asked.
    const stored = group.status?.conditions.find(({ type }) => type === 'FencingReady');
    if (stored) return [{ type: 'FencingReady', ...pick(stored) }];
    return [wish('Unknown', 'FencingUnknown', ['EC2 has not been asked yet'])];
  }
  return [wish('True', 'FencingReady', [`${readiness.map(({ node }) => node).join(', ')} can be stopped and started`])];
}

function unlock({ node, instanceId, region }: ReadinessSeen): string {
  return `${node}: stop protection of ${instanceId} is on, so it cannot be stopped when it is lost; switch it off: aws ec2 modify-instance-attribute --instance-id ${instanceId} --no-disable-api-stop --region ${region}`;
}

function wish(status: ConditionWish['status'], reason: FencingReason, said: readonly string[]): ConditionWish {
  return { type: 'FencingReady', status, reason, message: said.join('; ') };
}

function pick({ status, reason, message }: ConditionWish): Omit<ConditionWish, 'type'> {
  return { status, reason, message };
}
