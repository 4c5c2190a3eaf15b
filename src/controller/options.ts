import { hostname } from 'node:os';
import { z } from 'zod';
import { durationField, durationMs } from '../crds/duration.ts';

/** What the controller is told from outside. The environment is read here and nowhere else. */
export interface ControllerOptions {
  /** A kubeconfig file; undefined: the pod's own account. */
  readonly kubeconfig: string | undefined;
  /** The one namespace to serve; undefined: all. */
  readonly namespace: string | undefined;
  /** Where the election's Lease lies. */
  readonly electionNamespace: string;
  /** The region of nodes and VIPs that name none. */
  readonly region: string;
  /** How often every route is read though nothing changed. */
  readonly resyncMs: number;
  /** Where `/healthz` and `/readyz` are served. */
  readonly healthPort: number;
  readonly logLevel: string;
  /** Unlike any other candidate's. */
  readonly identity: string;
}

const environment = z.object({
  KUBECONFIG: z.string().min(1).optional(),
  POINTSMAN_NAMESPACE: z.string().min(1).optional(),
  POINTSMAN_ELECTION_NAMESPACE: z.string().min(1).default('pointsman-system'),
  AWS_REGION: z.string().min(1),
  POINTSMAN_RESYNC: durationField('How often every route is read.').default('30s'),
  POINTSMAN_HEALTH_PORT: z.coerce.number().int().min(0).max(65535).default(8081),
  POINTSMAN_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  POD_NAME: z.string().min(1).optional(),
});

/** Throws an error that names every variable that is wrong. */
export function readOptions(env: Readonly<Record<string, string | undefined>>, unique: string): ControllerOptions {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    const wrong = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
    throw new Error(
      `Cannot start the controller: the environment is wrong: ${wrong}; docs/operations.md lists the variables`,
    );
  }
  const { data } = parsed;
  return {
    kubeconfig: data.KUBECONFIG,
    namespace: data.POINTSMAN_NAMESPACE,
    electionNamespace: data.POINTSMAN_ELECTION_NAMESPACE,
    region: data.AWS_REGION,
    resyncMs: durationMs(data.POINTSMAN_RESYNC),
    healthPort: data.POINTSMAN_HEALTH_PORT,
    logLevel: data.POINTSMAN_LOG_LEVEL,
    identity: `${data.POD_NAME ?? hostname()}_${unique}`,
  };
}
