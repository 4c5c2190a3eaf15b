import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { silentLog } from '../base/log.ts';
import { createKubeClient } from '../kube/client.ts';
import type { Connection } from './command.ts';

/** Stands in `managedFields` beside a wish. */
const FIELD_MANAGER = 'kubectl-pointsman';

export interface Where {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly namespace: string | undefined;
}

/** Finds the kubeconfig as kubectl does: the flag, `$KUBECONFIG` with all its files, `~/.kube/config`, the pod's own. */
export function connect(where: Where, env: Readonly<Record<string, string | undefined>>): Connection {
  const kubeconfig = kubeconfigPaths(where, env);
  const api = createKubeClient({ log: silentLog, kubeconfig, context: where.context, fieldManager: FIELD_MANAGER });
  return { api, namespace: where.namespace ?? api.contextNamespace ?? 'default' };
}

function kubeconfigPaths(
  { kubeconfig }: Where,
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] | undefined {
  if (kubeconfig !== undefined) return [kubeconfig];
  const listed = (env['KUBECONFIG'] ?? '').split(delimiter).filter((path) => path !== '');
  // kubectl passes over those that are not there, as long as one is.
  const there = listed.filter((path) => existsSync(path));
  if (there.length > 0) return there;
  if (listed.length > 0)
    throw new Error(`Cannot connect: KUBECONFIG names ${listed.join(', ')}, and there is no such file; correct it`);
  const usual = join(env['HOME'] ?? homedir(), '.kube', 'config');
  if (existsSync(usual)) return [usual];
  if (env['KUBERNETES_SERVICE_HOST']) return undefined;
  throw new Error(`Cannot connect: there is no ${usual}; name a kubeconfig with --kubeconfig or in KUBECONFIG`);
}
