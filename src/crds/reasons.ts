/**
 * Every reason of a condition or an event, and when it is shown. Conditions, events, docs and tests share the words:
 * docs/conditions.md is this table.
 */
export const GROUP_REASONS = {
  Pending: 'The group has just been seen; nothing is known yet.',
  Serving: 'The process runs on the active node, is ready, and every route leads to it.',
  Stopped: 'The group is stopped, as spec.running asks.',
  Starting: 'A node is assigned and its process is starting.',
  RoutesPending: 'The process is ready, but not every route is known to lead to it.',
  Stopping: 'The node that has the group is ending it.',
  WaitingToSettle: 'The node has ended the process, but its disk did not take the end; it is given time.',
  WaitingForLease: 'The node does not answer; its Lease must age before it may be fenced.',
  StoppingInstance: 'EC2 is to stop the instance of the node that had the group, and to say that it is off.',
  InstanceNotStopped:
    'EC2 does not stop the instance of a lost node, or not so that it is proven; the message says what to do.',
  NodeOutOfTouch: 'The node that has the group does not renew its Lease. It may still serve.',
  SeenOnDisk:
    'The node that has the group does not renew its Lease, but others see it live on the shared disk. It serves on; nothing is moved.',
  DiskUnread:
    'The Lease of the node aged, but nobody can tell from the shared disk whether it still runs. Nothing is moved.',
  AllNodesOutOfTouch: 'No node renews its Lease: the trouble is more likely here than there. Nothing is moved.',
  NoFitNode: 'No node can take the group; the message says why for each.',
  ProcessFailed: 'The process failed more often than restart.limit allows.',
  ProcessRestarted: 'The process ended by itself and was started again in place. An Event alone.',
  NodeUnfit: 'The node that has the group says that it cannot start it.',
  DiskFailed: 'A DiskMonitor says that the shared disk fails on the active node.',
  DiskFailedEverywhere:
    'The shared disk fails on every node, or did when the group left it a moment ago: nothing is moved.',
  ProcessStuck:
    'The node has killed the process, and it does not end: it waits in the kernel, mostly for the disk. It may still write.',
  NodeLost: 'The Lease of the node that had the group aged.',
  NodeRejoined: 'The node that had the group restarted or lost what it ran, and has come back.',
  NodeEnded: 'The node that had the group ended it by itself.',
  NodeCordoned: 'spec.schedulable of the node that had the group is false.',
  NodeDeleted: 'The FailoverNode of the node that had the group is gone or going.',
  NodeRemoved: 'spec.nodes does not name the node that had the group any more.',
  ProofMissing:
    'An aged Lease does not count, because disk or second channel was changed; the message says what would.',
  EpochClaimed: 'Another record on the shared disk claims this epoch or a later one: the next epoch is above it.',
  Requested: 'Somebody asked for the move.',
  Startup: 'The group is started for the first time, or after it was stopped.',
  StatusLost: 'The status was lost; every node is asked what it runs before anything is assigned.',
  Adopted: 'The status was lost; it was made again from what the nodes report.',
  MoveRefused: 'A move that somebody asked for cannot be carried out; the message says why.',
  Fenced: 'The Lease of a lost node was fenced: it cannot start anything before it has ended everything.',
  Redundant: 'Another node could take the group.',
  NotRedundant: 'No other node could take the group now.',
  Deleting: 'The group is being deleted: its process is stopped first.',
} as const satisfies Record<string, string>;
export type GroupReason = keyof typeof GROUP_REASONS;

/** Of the condition FencingReady. */
export const FENCING_REASONS = {
  FencingReady: 'The controller may stop the instance of every node and start it again, by a dry run.',
  StopProtected: 'Stop protection of an instance is on.',
  StopRefused: 'EC2 says by a dry run that it would refuse to stop or to start an instance; the message says why.',
  FencingUnknown: 'EC2 has not been asked, or does not answer.',
} as const satisfies Record<string, string>;
export type FencingReason = keyof typeof FENCING_REASONS;

/** Why a node cannot take a group, in status.nodes of the FailoverGroup. */
export const FITNESS_REASONS = {
  Fit: 'The node can take the group.',
  Unknown: 'The Lease of the node has not been read, or not been seen to change, yet.',
  NodeMissing: 'There is no FailoverNode of that name.',
  NodeDeleted: 'The FailoverNode is being deleted.',
  Cordoned: 'spec.schedulable of the FailoverNode is false.',
  InstanceTwice: 'An older FailoverNode has the same instance.',
  AgentNeverSeen: 'The node has no Lease: its agent never ran.',
  OutOfTouch: 'The agent does not renew its Lease.',
  Fenced: 'The Lease was fenced and the agent has not come back.',
  NotReported: 'The agent has not reported yet.',
  InstanceMismatch: 'The metadata service names another instance than the FailoverNode.',
  DiskNotMounted: 'The shared disk is not mounted where the group wants it, or it is of another type.',
  OtherDisk: 'Another disk is mounted there.',
  ProcessFailed: 'The process used up restart.limit there, under the present spec and within restart.window.',
  DiskFailed: 'A DiskMonitor says that the disk fails there.',
  CommandNotAllowed: "The host's /etc/pointsman/agent.yaml does not list the command.",
  CommandMissing: 'The command is not on the host, or cannot be executed.',
  UserNotAllowed: "The host's /etc/pointsman/agent.yaml does not list the user.",
  UserUnknown: 'The host has no such user.',
  LockHeld: 'Another process holds the lock on the shared disk.',
  ProcessStuck: 'A process of the group was killed there and does not end, because it waits in the kernel.',
  NotFit: 'The agent says that it cannot run the group.',
} as const satisfies Record<string, string>;
export type FitnessReason = keyof typeof FITNESS_REASONS;

export const NODE_REASONS = {
  Pending: 'The node has just been seen; nothing is known yet.',
  InTouch: 'The agent renews its Lease and reports.',
  AgentNeverSeen: FITNESS_REASONS.AgentNeverSeen,
  OutOfTouch: FITNESS_REASONS.OutOfTouch,
  Fenced: FITNESS_REASONS.Fenced,
  NotReported: FITNESS_REASONS.NotReported,
  InstanceTwice: FITNESS_REASONS.InstanceTwice,
  InstanceMismatch: FITNESS_REASONS.InstanceMismatch,
  InstanceStopped:
    'The controller has stopped the instance, or is about to, and starts it again when no group needs it stopped.',
  InstanceStarted: 'The controller has started an instance again that it had stopped. An Event alone.',
  StartRefused: 'EC2 refuses to start the instance that the controller has stopped; the message says why.',
  Cordoned: 'The node is cordoned; its agent is in touch.',
  Unknown: 'The Lease of the node could not be read.',
  MixedChannels: 'Groups with and without a second channel share the node: a fence for one ends the other.',
} as const satisfies Record<string, string>;
export type NodeReason = keyof typeof NODE_REASONS;

export const VIP_REASONS = {
  Pending: 'The address has just been seen; nothing is known yet.',
  RoutesInPlace: 'Every route leads to the node that has the group.',
  RoutesMoving: 'Routes are being pointed at the node that has the group.',
  RouteRefused: 'AWS refuses to change a route; the message says which and why.',
  RouteBlackhole: 'A route leads to a network interface that takes no traffic.',
  RouteRepaired: 'Something else had changed a route; it was pointed back.',
  RouteCreated: 'A route was missing and was created.',
  AwsUnknown: 'AWS did not answer, so the routes are not known.',
  NoAssignment: 'No node has the group yet, so there is nowhere to lead to.',
  GroupStopped: 'The group is stopped, as its spec.running asks; the routes stay as they are.',
  GroupMissing: 'There is no FailoverGroup of that name.',
  InterfaceUnknown: 'The network interface of the node is not known.',
  SourceDestCheckOn: 'The source/destination check of an interface is on, so it drops traffic for the address.',
  SourceDestCheckOff: 'The source/destination check is off on the interfaces of all nodes.',
  Conflict: 'An older VipResource has the same address in the same route table.',
} as const satisfies Record<string, string>;
export type VipReason = keyof typeof VIP_REASONS;

export const DISK_REASONS = {
  Pending: 'The monitor has just been seen; nothing is known yet.',
  Healthy: 'The disk works on every node that is watched.',
  Failing: 'Probes fail on a node, not yet often enough to count.',
  Failed: 'The disk fails on a node.',
  Unknown: 'A node has not reported, so the disk is not known there.',
  GroupMissing: 'There is no FailoverGroup of that name.',
} as const satisfies Record<string, string>;
export type DiskReason = keyof typeof DISK_REASONS;
