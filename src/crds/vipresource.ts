import { z } from 'zod';
import { conditions, observedGeneration } from './conditions.ts';
import { celRules, type KindDefinition, type KubeObject } from './kind.ts';

export const groupRef = z
  .object({ name: z.string().min(1).max(63).describe('The FailoverGroup, in the same namespace.') })
  .describe('The group this belongs to.');

export const vipResourceSpec = z.object({
  groupRef,
  address: z
    .string()
    .min(2)
    .max(45)
    .meta(
      celRules(
        {
          rule: 'isIP(self)',
          message: 'address must be an IPv4 or IPv6 address without a prefix length, such as 10.1.0.20',
        },
        {
          rule: '!isIP(self) || ip.isCanonical(self)',
          message:
            'address must be written canonically: IPv4 without leading zeros, IPv6 in lower case and shortest, such as fd00::20',
        },
        {
          rule: '!isIP(self) || ip(self).isGlobalUnicast()',
          message: 'address must be a unicast address that can be routed, such as 10.1.0.20',
        },
        { rule: 'self == oldSelf', message: 'address cannot be changed: delete this VipResource and create another' },
      ),
    )
    .describe('The address that clients use. It lies outside every CIDR of the VPC.'),
  vpcId: z
    .string()
    .regex(/^vpc-[0-9a-f]{8,17}$/)
    .max(32)
    .describe('The VPC whose route tables lead to the address.'),
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/)
    .max(32)
    .optional()
    .describe("The AWS region. Default: the controller's."),
  routeTableIds: z
    .array(
      z
        .string()
        .regex(/^rtb-[0-9a-f]{8,17}$/)
        .max(32),
    )
    .min(1)
    .max(50)
    .meta(
      celRules({
        rule: 'self.all(t, self.exists_one(u, u == t))',
        message: 'routeTableIds names a table twice; name each once',
      }),
    )
    .describe('The route tables that get a route to the address.'),
  sourceDestCheck: z
    .enum(['Manage', 'Verify'])
    .default('Manage')
    .describe(
      "Manage: switch the source/destination check of the nodes' interfaces off where it is on. Verify: only say so.",
    ),
});

export const ROUTE_STATES = ['InPlace', 'Elsewhere', 'Missing', 'Blackhole', 'Refused', 'Unknown'] as const;

export const vipResourceStatus = z.object({
  observedGeneration: observedGeneration.optional(),
  target: z
    .object({ node: z.string().max(63), networkInterfaceId: z.string().max(32), epoch: z.number().int() })
    .optional()
    .describe('Where the routes belong now.'),
  routeTables: z
    .array(
      z.object({
        id: z.string().max(32),
        state: z.enum(ROUTE_STATES).describe('Unknown: AWS did not answer.'),
        target: z.string().max(256).optional().describe('What the route points at.'),
        message: z.string().max(1024).optional().describe('What is wrong with it.'),
      }),
    )
    .max(50)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['id'] })
    .describe('Every route table by itself, as read back from AWS.'),
  conditions: conditions.default([]),
});

export type VipResourceSpec = z.output<typeof vipResourceSpec>;
export type VipResourceStatus = z.output<typeof vipResourceStatus>;
export type VipResource = KubeObject<VipResourceSpec, VipResourceStatus>;

export const vipResource: KindDefinition<typeof vipResourceSpec, typeof vipResourceStatus> = {
  kind: 'VipResource',
  plural: 'vipresources',
  singular: 'vipresource',
  shortNames: ['vip'],
  description: 'An address outside the VPC that route tables point at the active node of a group.',
  spec: vipResourceSpec,
  status: vipResourceStatus,
  specRules: [],
  columns: [
    { name: 'Address', type: 'string', jsonPath: '.spec.address' },
    { name: 'Group', type: 'string', jsonPath: '.spec.groupRef.name' },
    { name: 'Node', type: 'string', jsonPath: '.status.target.node' },
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
    { name: 'Interface', type: 'string', jsonPath: '.status.target.networkInterfaceId', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
};
