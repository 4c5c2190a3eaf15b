import { z } from 'zod';
import { API_GROUP, API_VERSION, type KindDefinition, NO_STATUS_YET } from './kind.ts';

/** A structural schema, as `x-kubernetes` reads it. */
export type JsonSchema = { [key: string]: unknown };

/** The CustomResourceDefinition of a kind, ready for YAML. */
export function customResourceDefinition(definition: KindDefinition): JsonSchema {
  const { kind, plural, singular, shortNames } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories: ['pointsman'] },
      scope: 'Namespaced',
      versions: [
        {
          name: API_VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: definition.columns,
          schema: { openAPIV3Schema: objectSchema(definition) },
        },
      ],
    },
  };
}

/** Files on the servers, sockets among them, and labels bear the names. */
const SHORT_NAME = {
  rule: 'size(self.metadata.name) <= 63',
  message: 'metadata.name must be at most 63 characters, because files on the servers bear it; choose a shorter one',
};

function objectSchema(definition: KindDefinition): JsonSchema {
  const spec = structuralSchema(definition.spec);
  if (definition.specRules.length > 0) spec['x-kubernetes-validations'] = definition.specRules;
  return {
    type: 'object',
    description: definition.description,
    required: ['spec'],
    'x-kubernetes-validations': [SHORT_NAME],
    properties: {
      apiVersion: { type: 'string', description: 'The version of this schema.' },
      kind: { type: 'string', description: 'The kind of this object.' },
      metadata: { type: 'object' },
      spec: { ...spec, description: 'What is wished for.' },
      status: {
        ...structuralSchema(definition.status),
        description: 'What is. Written by the controller and the agents.',
        default: NO_STATUS_YET,
      },
    },
  };
}

/** The zod schema as a structural schema: what the API server would refuse or ignore is translated or left out. */
export function structuralSchema(schema: z.ZodType): JsonSchema {
  return clean(
    z.toJSONSchema(schema, {
      target: 'openapi-3.0',
      io: 'input',
      unrepresentable: 'throw',
      reused: 'inline',
    }) as JsonSchema,
  );
}

const KEPT = new Set([
  'type',
  'description',
  'format',
  'default',
  'enum',
  'pattern',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'required',
  'nullable',
  'x-kubernetes-validations',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-preserve-unknown-fields',
]);

function clean(schema: JsonSchema): JsonSchema {
  const out: JsonSchema = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties') out[key] = mapValues(value as JsonSchema, (property) => clean(property as JsonSchema));
    else if (key === 'items') out[key] = clean(value as JsonSchema);
    else if (KEPT.has(key)) out[key] = value;
    else if (!IGNORED.has(key)) throw new Error(`Cannot emit schema keyword "${key}": the API server does not know it`);
  }
  // zod writes the range of safe integers; Kubernetes has a format for it.
  if (out['type'] === 'integer') {
    if (out['maximum'] === Number.MAX_SAFE_INTEGER) delete out['maximum'];
    if (out['minimum'] === Number.MIN_SAFE_INTEGER) delete out['minimum'];
    out['format'] = out['maximum'] === undefined ? 'int64' : 'int32';
  }
  // CEL rules are run on the default itself, before the API server fills in the defaults below it.
  if (isObject(out['default']) && isObject(out['properties']))
    out['default'] = withDefaults(out['default'], out['properties']);
  // zod adds a pattern of some 300 characters, which the format already says.
  if (out['format'] === 'date-time') delete out['pattern'];
  return out;
}

function withDefaults(value: JsonSchema, properties: JsonSchema): JsonSchema {
  const filled = { ...value };
  for (const [name, property] of Object.entries(properties)) {
    if (filled[name] === undefined && isObject(property) && property['default'] !== undefined)
      filled[name] = property['default'];
  }
  return filled;
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What zod adds and the API server does not need: pruning drops unknown fields anyway. */
const IGNORED = new Set(['additionalProperties', '$schema', 'id']);

function mapValues(record: JsonSchema, map: (value: unknown) => unknown): JsonSchema {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
