import { z } from 'zod';
import { conditions, observedGeneration } from './conditions.ts';
import { durationField } from './duration.ts';
import { celRules, type KindDefinition, type KubeObject } from './kind.ts';

/** The sum is explained in `decide/timing.ts`, which computes the same; a test holds the two together. */
const SUM_HOLDS =
  'duration(self.takeoverAfter).getMilliseconds() * 1000 >= (duration(self.fenceAfter).getMilliseconds() + duration(self.killWithin).getMilliseconds()) * 1002 + 500000';

export const timingSchema = z
  .object({
    renewEvery: durationField('How often the agent renews its Lease.').default('1s'),
    fenceAfter: durationField('How long after its last successful renewal a node ends what it runs.').default('5s'),
    killWithin: durationField('How long the end itself may take: from the deadline until no process is left.').default(
      '1s',
    ),
    takeoverAfter: durationField(
      'How long a Lease must be seen unchanged before the node may be fenced. In whole seconds.',
    ).default('8s'),
  })
  .meta(
    celRules(
      {
        rule: SUM_HOLDS,
        message: 'takeoverAfter is too short: it must be at least (fenceAfter + killWithin) x 1.002 + 500ms',
        messageExpression:
          "'takeoverAfter ' + self.takeoverAfter + ' is too short: it must be at least (fenceAfter ' + self.fenceAfter + ' + killWithin ' + self.killWithin + ') x 1.002 + 500ms; write a longer takeoverAfter or a shorter fenceAfter'",
      },
      {
        rule: 'duration(self.takeoverAfter).getMilliseconds() % 1000 == 0',
        message: 'takeoverAfter must be in whole seconds, because a Lease counts in seconds; write for example 8s',
      },
      {
        rule: 'duration(self.renewEvery).getMilliseconds() * 3 <= duration(self.fenceAfter).getMilliseconds()',
        message:
          'renewEvery must be at most a third of fenceAfter, so that one lost renewal stops nothing; write a shorter renewEvery or a longer fenceAfter',
      },
      {
        rule: "duration(self.renewEvery) >= duration('100ms') && duration(self.killWithin) >= duration('100ms')",
        message: 'renewEvery and killWithin must be at least 100ms',
      },
      {
        rule: "duration(self.takeoverAfter) <= duration('10m')",
        message: 'takeoverAfter must be at most 10m',
      },
    ),
  )
  .describe('When this node is held to be lost, and when it ends its own processes. Admission checks the sum.');

export const failoverNodeSpec = z.object({
  instanceId: z
    .string()
    .regex(/^i-[0-9a-f]{8,17}$/)
    .max(32)
    .meta(
      celRules({
        rule: 'self == oldSelf',
        message: 'instanceId cannot be changed: delete this FailoverNode and create another for the new instance',
      }),
    )
    .describe('The EC2 instance. Immutable, and trusted from here, never from the word of the agent.'),
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/)
    .max(32)
    .optional()
    .describe("The AWS region of the instance. Default: the controller's."),
  schedulable: z.boolean().default(true).describe('False cordons the node: its groups move away and none comes.'),
  networkInterfaceId: z
    .string()
    .regex(/^eni-[0-9a-f]{8,17}$/)
    .max(32)
    .optional()
    .describe("The interface that VIP routes point at. Default: the instance's primary interface."),
  timing: timingSchema.prefault({}),
});

const ProcessState = z.enum(['Stopped', 'Starting', 'Running', 'Stopping', 'Failed']);

/** One group, as the agent of a node sees it there. */
export const groupReport = z.object({
  name: z.string().max(253).describe('The FailoverGroup.'),
  ended: z.number().int().min(0).describe('The highest epoch this node has ended; 0 when none.'),
  settled: z
    .boolean()
    .describe('Whether the shared disk took the end: nothing the dead process wrote is still under way.'),
  epoch: z.number().int().min(0).describe('The epoch this node is in, not yet ended; 0 when none.'),
  state: ProcessState.describe('The process here.'),
  ready: z.boolean().describe('Whether it has passed its startup probe.'),
  pid: z.number().int().optional().describe('The process id, while it runs.'),
  restarts: z.number().int().min(0).describe('Restarts in place under this epoch within the window.'),
  lastExit: z.string().max(1024).optional().describe('How the process last ended.'),
  fit: z.boolean().describe('Whether this node could run the group now.'),
  reason: z.string().max(64).optional().describe('Why it could not, in one word.'),
  message: z.string().max(1024).optional().describe('Why it could not, or what is wrong, for people.'),
  diskId: z.string().max(64).optional().describe('The random id found on the shared disk.'),
  highestRead: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('The highest claim or epoch that it has read on the shared disk; 0 without a second channel.'),
  neighbours: z
    .array(
      z.object({
        name: z.string().max(63),
        state: z
          .enum(['seen', 'notSeen', 'unknown'])
          .describe('seen: its record there says running and has changed within its own takeoverAfter.'),
      }),
    )
    .max(16)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] })
    .describe('The other nodes of the group, as it sees them on the shared disk.'),
  heartbeat: z
    .boolean()
    .optional()
    .describe(
      'Whether the epoch it is in has a second channel, by the last assignment of it that the agent has seen; absent when it is in none, or that is not known.',
    ),
  rollCall: z
    .string()
    .max(64)
    .optional()
    .describe("The group's status.rollCall, where it has seen one: what it says here is later than the loss."),
});
export type GroupReport = z.output<typeof groupReport>;

/** One DiskMonitor, as the agent of a node sees it there. */
export const diskReport = z.object({
  name: z.string().max(253).describe('The DiskMonitor.'),
  state: z
    .enum(['Healthy', 'Failing', 'Failed', 'Idle', 'Unknown'])
    .describe('Failing: below the threshold. Idle: not watched here now.'),
  failures: z.number().int().min(0).describe('Failed probes in a row.'),
  latencyMs: z.number().int().min(0).optional().describe('How long the last good probe took.'),
  message: z.string().max(1024).optional().describe('What the last failed probe said.'),
});
export type DiskReport = z.output<typeof diskReport>;

/** Written by the agent of the node alone. */
export const nodeReport = z.object({
  incarnation: z.number().int().min(0).describe('The incarnation under which the agent wrote this.'),
  bootId: z.string().max(64).describe('The boot of the node.'),
  instanceId: z.string().max(32).describe('The instance, by its metadata service.'),
  agentVersion: z.string().max(64).describe('The version of the agent.'),
  reason: z.string().max(64).optional().describe('What keeps the whole node from running anything, in one word.'),
  message: z.string().max(1024).optional().describe('What keeps the whole node from running anything.'),
  addresses: z.array(z.string().max(64)).max(64).default([]).describe('VIPs on its interface now.'),
  groups: z
    .array(groupReport)
    .max(64)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
  disks: z
    .array(diskReport)
    .max(64)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
});
export type NodeReport = z.output<typeof nodeReport>;

/**
 * The promise to start an instance again, stored before it is stopped: whoever leads next finds it, and an answer of EC2
 * that was lost loses nothing.
 */
const stopMark = z.object({
  instanceId: z.string().max(32).describe('The instance.'),
  group: z.string().max(253).describe('The FailoverGroup that it is stopped for.'),
  epoch: z.number().int().min(1).describe('The epoch that is to be proven out.'),
  since: z.iso.datetime().describe('When it was decided.'),
});
export type StopMark = z.output<typeof stopMark>;

export const failoverNodeStatus = z.object({
  observedGeneration: observedGeneration.optional(),
  stop: stopMark
    .optional()
    .describe(
      'The controller has stopped the instance, or is about to, and starts it again when no group needs it stopped.',
    ),
  report: nodeReport.optional().describe('What the agent of this node says. Written by it alone.'),
  conditions: conditions.default([]),
});

export type FailoverNodeSpec = z.output<typeof failoverNodeSpec>;
export type FailoverNodeStatus = z.output<typeof failoverNodeStatus>;
export type FailoverNode = KubeObject<FailoverNodeSpec, FailoverNodeStatus>;

export const failoverNode: KindDefinition<typeof failoverNodeSpec, typeof failoverNodeStatus> = {
  kind: 'FailoverNode',
  plural: 'failovernodes',
  singular: 'failovernode',
  shortNames: ['fn'],
  description: 'A server of the cluster: an EC2 instance with our agent. Declared by people, reported on by its agent.',
  spec: failoverNodeSpec,
  status: failoverNodeStatus,
  specRules: [],
  columns: [
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'Instance', type: 'string', jsonPath: '.spec.instanceId' },
    { name: 'Schedulable', type: 'boolean', jsonPath: '.spec.schedulable' },
    { name: 'Agent', type: 'string', jsonPath: '.status.report.agentVersion', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
};
