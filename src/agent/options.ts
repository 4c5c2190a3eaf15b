import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { z } from 'zod';
import { METADATA_ENDPOINT } from './metadata.ts';

/** Everything that this process is told from outside. Read here and nowhere else. */
export interface AgentOptions {
  readonly node: string;
  readonly namespace: string;
  readonly kubeconfig: string;
  /** Where shims, records and locks lie: memory that a reboot clears. */
  readonly runRoot: string;
  readonly logDirectory: string;
  readonly policyFile: string;
  readonly metadataEndpoint: string;
  /** Names this boot of the machine. */
  readonly bootId: string;
  readonly logLevel: string;
  readonly version: string;
}

const FLAGS = {
  node: { type: 'string' },
  namespace: { type: 'string' },
  kubeconfig: { type: 'string' },
  'run-dir': { type: 'string' },
  'log-dir': { type: 'string' },
  policy: { type: 'string' },
  'boot-id-file': { type: 'string' },
  'log-level': { type: 'string' },
} as const;

const name = z.string().regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be a name as Kubernetes has them');
const path = z.string().startsWith('/', 'must be an absolute path');

const schema = z.object({
  node: name,
  namespace: name,
  kubeconfig: path,
  'run-dir': path.default('/run/pointsman'),
  'log-dir': path.default('/var/log/pointsman'),
  policy: path.default('/etc/pointsman/agent.yaml'),
  'boot-id-file': path.default('/proc/sys/kernel/random/boot_id'),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

/**
 * A flag, or the variable POINTSMAN_ and its name. The node is called as the host unless told otherwise, the namespace
 * is that of the kubeconfig. Throws a message that names what
 * is wrong.
 */
export function readOptions(argv: readonly string[], env: NodeJS.ProcessEnv, version: string): AgentOptions {
  const { values } = parseArgs({ args: [...argv], options: FLAGS });
  const given = Object.fromEntries(
    Object.keys(FLAGS).flatMap((flag) => {
      const variable = `POINTSMAN_${flag.replaceAll('-', '_').toUpperCase()}`;
      const value = values[flag as keyof typeof FLAGS] ?? env[variable]; // parseArgs refuses any other flag
      return value === undefined ? [] : [[flag, value]];
    }),
  );
  const kubeconfig = given['kubeconfig'] ?? env['KUBECONFIG'] ?? '/etc/pointsman/kubeconfig';
  const parsed = schema.safeParse({ node: hostname(), namespace: namespaceIn(kubeconfig), ...given, kubeconfig });
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `--${issue.path.join('.')}: ${issue.message}`);
    throw new Error(`Cannot start the agent: ${problems.join('; ')}`);
  }
  const options = parsed.data;
  return {
    node: options.node,
    namespace: options.namespace,
    kubeconfig: options.kubeconfig,
    runRoot: options['run-dir'],
    logDirectory: options['log-dir'],
    policyFile: options.policy,
    metadataEndpoint: env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] || METADATA_ENDPOINT,
    bootId: readFileSync(options['boot-id-file'], 'latin1').trim(),
    logLevel: options['log-level'],
    version,
  };
}

const kubeconfigSchema = z.looseObject({
  'current-context': z.string(),
  contexts: z.array(z.looseObject({ name: z.string(), context: z.looseObject({ namespace: z.string().optional() }) })),
});

/** Of its current context, as kubectl has it. */
function namespaceIn(file: string): string | undefined {
  try {
    const config = kubeconfigSchema.parse(parse(readFileSync(file, 'utf8')));
    return config.contexts.find((each) => each.name === config['current-context'])?.context.namespace;
  } catch {
    return undefined; // whoever logs in with it says what is wrong
  }
}
