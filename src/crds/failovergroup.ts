import { z } from 'zod';
import { conditions, observedGeneration } from './conditions.ts';
import { durationField } from './duration.ts';
import { celRules, type KindDefinition, type KubeObject } from './kind.ts';

const objectName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
const absolutePath = z
  .string()
  .regex(/^\/[^\n]*$/)
  .max(1024);

export const probeSchema = z
  .object({
    httpGet: z
      .object({
        port: z.int32().min(1).max(65535).describe('The port on the node itself.'),
        path: z.string().max(1024).default('/').describe('The path to ask for.'),
        scheme: z
          .enum(['HTTP', 'HTTPS'])
          .default('HTTP')
          .describe('HTTPS does not check the certificate, as the kubelet does not.'),
      })
      .optional()
      .describe('Passes on a status from 200 to 399.'),
    tcpSocket: z
      .object({ port: z.int32().min(1).max(65535).describe('The port on the node itself.') })
      .optional()
      .describe('Passes when the port accepts a connection.'),
    periodSeconds: z
      .int32()
      .min(1)
      .max(300)
      .default(1)
      .describe('The longest time between two probes. The first ones come faster.'),
    timeoutSeconds: z.int32().min(1).max(300).default(1).describe('How long one probe may take.'),
    failureThreshold: z
      .int32()
      .min(1)
      .max(3600)
      .default(60)
      .describe('Give up after so many failures, one per period.'),
  })
  .meta(
    celRules({
      rule: 'has(self.httpGet) != has(self.tcpSocket)',
      message: 'a probe needs exactly one of httpGet and tcpSocket',
    }),
  );

const processSchema = z
  .object({
    command: z
      .array(z.string().max(4096))
      .min(1)
      .max(64)
      .meta(
        celRules({
          rule: "self[0].startsWith('/')",
          message: 'the first word of command must be an absolute path, such as /work/minio',
        }),
      )
      .describe('The program and its arguments; no shell. The host must allow it in /etc/pointsman/agent.yaml.'),
    user: z
      .string()
      .regex(/^[a-z_][a-z0-9_-]*$/)
      .max(32)
      .describe('The user it runs as. The host must allow it in /etc/pointsman/agent.yaml.'),
    env: z
      .array(
        z.object({
          name: z
            .string()
            .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
            .max(256),
          value: z.string().max(32768).default(''),
        }),
      )
      .max(64)
      .default([])
      .meta({
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
        ...celRules({
          rule: "!self.exists(e, e.name.startsWith('POINTSMAN_'))",
          message: 'names that begin with POINTSMAN_ are set by the agent; choose another name',
        }),
      })
      .describe('Environment variables.'),
    workingDirectory: absolutePath.default('/').describe('Where it starts.'),
    stop: z
      .object({
        signal: z
          .enum(['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGKILL'])
          .default('SIGTERM')
          .describe('Sent first.'),
        timeout: durationField('Then SIGKILL.').default('10s'),
      })
      .prefault({})
      .describe('How it is stopped.'),
    startupProbe: probeSchema.optional().describe('When it is ready. Without one it is ready as soon as it runs.'),
    restart: z
      .object({
        limit: z
          .int32()
          .min(0)
          .max(100)
          .default(3)
          .describe('Restarts in place within the window, before the group moves.'),
        window: durationField('The window that restarts are counted in.').default('10m'),
      })
      .prefault({})
      .describe('What happens when it exits by itself.'),
  })
  .describe('The process that one node at a time runs.');

export const failoverGroupSpec = z.object({
  nodes: z
    .array(objectName)
    .min(1)
    .max(16)
    .meta(
      celRules({
        rule: 'self.all(n, self.exists_one(m, m == n))',
        message: 'nodes names a node twice; name each once, in order of preference',
      }),
    )
    .describe('The FailoverNodes that may run the group, in order of preference.'),
  running: z.boolean().default(true).describe('False stops the group everywhere.'),
  fencing: z
    .object({
      policy: z
        .enum(['Lease', 'Instance'])
        .default('Lease')
        .describe(
          'Which proofs are accepted that a lost node is out; see docs/protocol.md. Lease: its Lease has aged. Instance: EC2 says that it is stopped.',
        ),
    })
    .prefault({})
    .describe('How a lost node is kept out.'),
  sharedDisk: z
    .object({
      mountPath: absolutePath
        .meta(
          celRules({
            rule: "self != '/' && !self.endsWith('/') && !self.contains('//') && !self.contains('/../')",
            message: 'mountPath must be a plain absolute path without a slash at its end, such as /mnt/efs',
          }),
        )
        .describe('Where every node has the shared disk mounted. Nothing starts where it is not.'),
      fsTypes: z
        .array(
          z
            .string()
            .regex(/^[a-z0-9._-]+$/)
            .max(32),
        )
        .min(1)
        .max(16)
        .default(['nfs4'])
        .describe('The file system types that may be mounted there.'),
      heartbeat: z
        .boolean()
        .default(true)
        .describe(
          'Whether nodes also tell each other on this disk that they live, so that the service goes on while the API server is away.',
        ),
    })
    .describe('The disk that only one node at a time may write.'),
  process: processSchema,
});

const basisFields = {
  mountPath: z.string().max(1024),
  diskId: z.string().max(64).optional().describe('The random id on the shared disk.'),
  heartbeat: z.boolean().default(false).describe('Whether the second channel, on the shared disk, is in force.'),
  nodes: z
    .array(
      z.object({ name: z.string().max(63), instanceId: z.string().max(32), takeoverAfterSeconds: z.number().int() }),
    )
    .max(16),
};

/** What the proofs of an epoch rest on, frozen when it is assigned. */
const basis = z.object({
  ...basisFields,
  earlier: z
    .array(
      z.object({
        epoch: z.number().int().min(1),
        node: z.string().max(63),
        incarnation: z.number().int().min(0).optional().describe('Of that node, when it was assigned.'),
        bootId: z.string().max(64).optional().describe('Of that node, when it was assigned.'),
        ...basisFields,
      }),
    )
    .max(16)
    .default([])
    .describe(
      'The earlier epochs that no Released, Rejoined or InstanceStopped has closed: the gate on the disk asks for the files of their nodes too.',
    ),
});
export type Basis = z.output<typeof basis>;

/** Held by the API server against everybody: a hand that edits the status must not make two nodes hold one epoch. */
const EPOCH_ONLY_GROWS =
  "self.epoch > oldSelf.epoch || (self.epoch == oldSelf.epoch && self.node == oldSelf.node && self.incarnation == oldSelf.incarnation && (self.state == oldSelf.state || self.state == 'Stopping'))";

export const assignmentSchema = z
  .object({
    node: z.string().max(63).describe('The one node that may run the group.'),
    incarnation: z.number().int().min(0).describe('The incarnation of that node for which this holds.'),
    bootId: z.string().max(64).optional().describe('The boot of that node when it was assigned.'),
    epoch: z.number().int().min(1).describe('Grows with every assignment and is never reused.'),
    state: z.enum(['Active', 'Stopping']),
    basis,
  })
  .meta(
    celRules({
      rule: EPOCH_ONLY_GROWS,
      message:
        'an epoch never falls, belongs to one node, and does not go back from Stopping; to move the group, annotate it with pointsman.dev/move-to',
    }),
  );
export type Assignment = z.output<typeof assignmentSchema>;

export const PROOFS = ['Released', 'Rejoined', 'LeaseExpired', 'InstanceStopped'] as const;
export type Proof = (typeof PROOFS)[number];

/** Milliseconds from the first sign that the move was needed, measured by the controller. */
const steps = z.object({
  detectedMs: z
    .number()
    .int()
    .optional()
    .describe(
      'The decision to move. The first sign is the last renewal seen of a lost node, the report of a failure, or the request.',
    ),
  releasedMs: z.number().int().optional().describe('The old node said that it has ended.'),
  fencedMs: z.number().int().optional().describe("The old node's Lease was fenced."),
  stoppedMs: z.number().int().optional().describe("EC2 said that the old node's instance is off."),
  assignedMs: z.number().int().optional().describe('The new node was assigned.'),
  routedMs: z.number().int().optional().describe('Every route of every VIP points at the new node.'),
  startedMs: z.number().int().optional().describe('The process runs there.'),
  readyMs: z.number().int().optional().describe('The process is ready there.'),
});
export type MoveSteps = z.output<typeof steps>;

const move = z.object({
  from: z.string().max(63).optional().describe('The node that had the group; absent at the first start.'),
  to: z.string().max(63).optional().describe('The node that gets it, once it is chosen.'),
  reason: z.string().max(64).describe('Why, in one word.'),
  message: z.string().max(1024).describe('Why, for people.'),
  proof: z.enum(PROOFS).optional().describe('What shows that the old node is out.'),
  epoch: z.number().int().optional().describe('The epoch it began.'),
  generation: z.number().int().optional().describe('The generation of the spec under which it was decided.'),
  startedAt: z.iso.datetime().describe('When it was decided.'),
  steps: steps.default({}),
});
export type Move = z.output<typeof move>;

/** The annotation by which somebody asks for a move: its value is the node. */
export const MOVE_TO_ANNOTATION = 'pointsman.dev/move-to';

/** Keeps an object until what it stands for has been ended and proven out. */
export const RELEASE_FINALIZER = 'pointsman.dev/release';

export const failoverGroupStatus = z.object({
  observedGeneration: observedGeneration.optional(),
  activeNode: z.string().max(63).optional().describe('The node that serves the group now.'),
  diskId: z.string().max(64).optional().describe('The random id on the shared disk, recorded at the first start.'),
  neverAssigned: z
    .boolean()
    .optional()
    .describe(
      'True until the first assignment. Lost with the status, so that a lost status is not taken for a new group.',
    ),
  rollCall: z
    .string()
    .max(64)
    .optional()
    .describe('The status was lost: nothing is assigned before every node has named this in its report, or is out.'),
  assignment: assignmentSchema.optional(),
  move: move.optional().describe('The move under way, or the last one.'),
  history: z.array(move).max(10).default([]).describe('The moves before, newest first.'),
  nodes: z
    .array(
      z.object({
        name: z.string().max(63),
        fit: z.boolean().describe('Whether it could take the group now.'),
        reason: z.string().max(64),
        message: z.string().max(1024),
      }),
    )
    .max(16)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] })
    .describe('Every node of the group and whether it could take it.'),
  conditions: conditions.default([]),
});

export type FailoverGroupSpec = z.output<typeof failoverGroupSpec>;
export type FailoverGroupStatus = z.output<typeof failoverGroupStatus>;
export type FailoverGroup = KubeObject<FailoverGroupSpec, FailoverGroupStatus>;
export type Probe = z.output<typeof probeSchema>;

export const failoverGroup: KindDefinition<typeof failoverGroupSpec, typeof failoverGroupStatus> = {
  kind: 'FailoverGroup',
  plural: 'failovergroups',
  singular: 'failovergroup',
  shortNames: ['fog'],
  description: 'A process that exactly one of its nodes runs, with its data on a shared disk.',
  spec: failoverGroupSpec,
  status: failoverGroupStatus,
  specRules: [],
  columns: [
    { name: 'Active', type: 'string', jsonPath: '.status.activeNode' },
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'Epoch', type: 'integer', jsonPath: '.status.assignment.epoch', priority: 1 },
    { name: 'Last Move', type: 'string', jsonPath: '.status.move.reason', priority: 1 },
    { name: 'Proof', type: 'string', jsonPath: '.status.move.proof', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
};
