import { z } from 'zod';

export const API_GROUP = 'pointsman.dev';
export const API_VERSION = 'v1alpha1';

/** What we read of an object's metadata; whatever else stands there passes through untouched. */
export const objectMeta = z.looseObject({
  name: z.string(),
  namespace: z.string(),
  uid: z.string().default(''),
  resourceVersion: z.string().default(''),
  generation: z.number().default(0),
  creationTimestamp: z.string().default(''),
  deletionTimestamp: z.string().optional(),
  annotations: z.record(z.string(), z.string()).default({}),
  labels: z.record(z.string(), z.string()).default({}),
  finalizers: z.array(z.string()).default([]),
});
export type ObjectMeta = z.output<typeof objectMeta>;

/** A CEL rule: what a schema cannot say. `message` (or the CEL `messageExpression`) tells what to write instead. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly messageExpression?: string;
}

/** A column of `kubectl get`. `priority` 1 shows it with `-o wide` only. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  readonly jsonPath: string;
  readonly description?: string;
  readonly priority?: 0 | 1;
}

/** One kind of the API: the single source of its types, YAML, defaults and field documentation. */
export interface KindDefinition<Spec extends z.ZodType = z.ZodType, Status extends z.ZodType = z.ZodType> {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly description: string;
  readonly spec: Spec;
  readonly status: Status;
  readonly specRules: readonly CelRule[];
  readonly columns: readonly PrinterColumn[];
}

/** An object of a kind, as parsed: defaults filled in, `status` possibly absent on first sight. */
export interface KubeObject<Spec, Status> {
  readonly metadata: ObjectMeta;
  readonly spec: Spec;
  readonly status?: Status | undefined;
}

/**
 * What the API server shows as the status until somebody writes one. kstatus takes an object that has no status at all
 * as Current, so `helm install --wait` and Flux would not wait for what the controller has not seen yet.
 */
export const NO_STATUS_YET = { observedGeneration: -1 };

/** Made once: zod compiles a schema at its first use, which takes longer than many uses. */
const envelopeSchema = z.looseObject({
  metadata: objectMeta,
  spec: z.unknown().optional(),
  status: z.unknown().optional(),
});

/** Reads an object of `definition` as the API server returned it; throws zod's error, which names the field. */
export function parseObject<Spec extends z.ZodType, Status extends z.ZodType>(
  definition: KindDefinition<Spec, Status>,
  raw: unknown,
): KubeObject<z.output<Spec>, z.output<Status>> {
  const envelope = envelopeSchema.parse(raw);
  const spec = definition.spec.parse(envelope.spec);
  const status = isUnwritten(envelope.status) ? undefined : definition.status.parse(envelope.status);
  return { metadata: envelope.metadata, spec, status };
}

/** No status, or `NO_STATUS_YET` with the empty lists that the API server fills in below it. */
function isUnwritten(status: unknown): boolean {
  if (status === undefined) return true;
  if (typeof status !== 'object' || status === null) return false;
  const { observedGeneration, ...rest } = status as Record<string, unknown>; // of an object, by the line above
  if (observedGeneration !== NO_STATUS_YET.observedGeneration) return false;
  return Object.values(rest).every((value) => Array.isArray(value) && value.length === 0);
}

/** Attaches CEL rules to a nested object of a schema; the emitter turns them into `x-kubernetes-validations`. */
export function celRules(...rules: readonly CelRule[]): Record<string, unknown> {
  return { 'x-kubernetes-validations': rules };
}
