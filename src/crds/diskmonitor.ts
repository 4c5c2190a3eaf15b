import { z } from 'zod';
import { conditions, observedGeneration } from './conditions.ts';
import { durationField } from './duration.ts';
import type { KindDefinition, KubeObject } from './kind.ts';
import { groupRef } from './vipresource.ts';

export const diskMonitorSpec = z.object({
  groupRef,
  path: z
    .string()
    .regex(/^\/[^\n]*[^/\n]$/)
    .max(1024)
    .describe('The file that is probed. The same on every node is fine.'),
  method: z
    .enum(['WriteFile', 'ReadFile'])
    .default('WriteFile')
    .describe('WriteFile writes the file and reads it back; ReadFile only reads it.'),
  size: z.int32().min(1).max(1048576).default(1).describe('Bytes written or read.'),
  when: z
    .enum(['Always', 'Active'])
    .default('Always')
    .describe('Always: on every node. Active: on the node that runs the group.'),
  interval: durationField('The time between two probes.').default('5s'),
  timeout: durationField('How long a probe may take; longer is a failure.').default('10s'),
  failureThreshold: z.int32().min(1).max(100).default(2).describe('Failures in a row until the disk counts as failed.'),
  onFailure: z
    .enum(['Failover', 'Stop', 'Report'])
    .default('Failover')
    .describe('Failover moves the group to a node where the disk works. Stop stops it. Report only says so.'),
});

export const diskMonitorStatus = z.object({
  observedGeneration: observedGeneration.optional(),
  nodes: z
    .array(
      z.object({
        name: z.string().max(63),
        state: z.enum(['Healthy', 'Failing', 'Failed', 'Idle', 'Unknown']),
        latencyMs: z.number().int().optional().describe('How long the last good probe took.'),
        message: z.string().max(1024).optional(),
      }),
    )
    .max(16)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] })
    .describe('The disk as each node sees it.'),
  conditions: conditions.default([]),
});

export type DiskMonitorSpec = z.output<typeof diskMonitorSpec>;
export type DiskMonitorStatus = z.output<typeof diskMonitorStatus>;
export type DiskMonitor = KubeObject<DiskMonitorSpec, DiskMonitorStatus>;

export const diskMonitor: KindDefinition<typeof diskMonitorSpec, typeof diskMonitorStatus> = {
  kind: 'DiskMonitor',
  plural: 'diskmonitors',
  singular: 'diskmonitor',
  shortNames: ['dm'],
  description: 'Probes the shared disk on the nodes of a group.',
  spec: diskMonitorSpec,
  status: diskMonitorStatus,
  specRules: [],
  columns: [
    { name: 'Path', type: 'string', jsonPath: '.spec.path' },
    { name: 'Group', type: 'string', jsonPath: '.spec.groupRef.name' },
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'Method', type: 'string', jsonPath: '.spec.method', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
};
