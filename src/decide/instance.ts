import type { Assignment } from '../crds/failovergroup.ts';
import type { LeaseSeen } from './seen.ts';

/** The instance behind the node of an assignment, by this controller's own questions to EC2. All times: the boot clock. */
export interface InstanceSeen {
  readonly id: string;
  readonly region: string;
  /** The last answer of DescribeInstances. Absent: there was none yet. */
  readonly read?: InstanceRead;
  /** Our own last StopInstances for this very epoch that was answered without an error. */
  readonly stop?: { readonly answeredMs: number; readonly found: InstanceState };
  /** What EC2 said to the last call that failed, if none has gone well since. */
  readonly problem?: string;
}

/** As `INSTANCE_STATES` in src/aws/ec2.ts, which the decisions do not import. */
export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

export interface InstanceRead {
  readonly state: InstanceState | 'missing';
  /** The code of `StateReason`; absent while EC2 tells none. */
  readonly reason?: string;
  /** When the question was sent: what it says is no older. */
  readonly sentMs: number;
}

/**
 * Reasons for `stopped` after which the memory of the machine is gone. An instance that was hibernated goes on where it
 * stood, and one that Spot interrupted may have been: neither is listed, nor is what we do not know.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
 */
const MEMORY_IS_GONE: ReadonlySet<string> = new Set([
  'Client.InstanceInitiatedShutdown',
  'Client.InternalError',
  'Client.UserInitiatedShutdown',
  'Client.VolumeLimitExceeded',
  'Server.InsufficientInstanceCapacity',
  'Server.InternalError',
  'Server.ScheduledStop',
]);

const HIBERNATED = 'Client.UserInitiatedHibernate';

/** The instance that the epoch rests on, whatever its FailoverNode says by now. */
export function instanceIdOf({ node, basis }: Assignment): string | undefined {
  return basis.nodes.find(({ name }) => name === node)?.instanceId;
}

/** Since when this controller knows that the node of the assignment was fenced; undefined when it was not. */
export function fencedSinceMs(lease: LeaseSeen | undefined, { incarnation }: Assignment): number | undefined {
  if (lease?.kind !== 'present' || lease.holder !== '' || lease.incarnation <= incarnation) return undefined;
  return lease.firstSeenMs;
}

/**
 * Whether what EC2 said proves that the node is out. `fencedMs`: since when this controller knows of the fence.
 *
 * `terminated` never runs again. `stopped` may be an old answer (EC2 is eventually consistent), or one after which
 * everything goes on where it stood. So StopInstances itself must have found it stopped, which is an answer of the part
 * of EC2 that changes states, then a read must say so, with a reason after which the memory is gone.
 */
export function isProvenOff(seen: InstanceSeen, fencedMs: number): boolean {
  const { read, stop } = seen;
  if (read === undefined || read.sentMs < fencedMs) return false;
  if (read.state === 'terminated') return true;
  if (read.state !== 'stopped' || !losesMemory(read)) return false;
  return stop?.found === 'stopped' && read.sentMs >= stop.answeredMs;
}

export function losesMemory({ reason }: Pick<InstanceRead, 'reason'>): boolean {
  return reason !== undefined && MEMORY_IS_GONE.has(reason);
}

export function isHibernated({ reason }: Pick<InstanceRead, 'reason'>): boolean {
  return reason === HIBERNATED;
}

/** The command by which a person gives the proof that the controller cannot get. */
export function stopCommand({ id, region }: Pick<InstanceSeen, 'id' | 'region'>): string {
  return `aws ec2 stop-instances --instance-ids ${id} --force --skip-os-shutdown --region ${region}`;
}

export function startCommand({ id, region }: Pick<InstanceSeen, 'id' | 'region'>): string {
  return `aws ec2 start-instances --instance-ids ${id} --region ${region}`;
}
