import { z } from 'zod';

export const condition = z.object({
  type: z.string().max(64).describe('What this condition is about.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
  reason: z.string().max(64).describe('Why, in one CamelCase word; the words stand in docs/conditions.md.'),
  message: z.string().max(4096).describe('Why, for people: the present state, then what to do.'),
  lastTransitionTime: z.iso.datetime().describe('When the status last changed.'),
  observedGeneration: z.number().int().optional().describe('The generation of the spec this was computed from.'),
});
export type Condition = z.output<typeof condition>;

/** A map list by `type`, so that server-side apply merges by condition and not by place. */
export const conditions = z
  .array(condition)
  .max(16)
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
  .describe('The state of this object, one entry per type.');

export const observedGeneration = z
  .number()
  .int()
  .describe('The generation of the spec that this status was computed from.');

/** A condition before it is written: the transition time follows from comparing it with the stored one. */
export interface ConditionWish {
  readonly type: string;
  readonly status: Condition['status'];
  readonly reason: string;
  readonly message: string;
}
