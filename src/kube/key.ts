import { z } from 'zod';
import type { Stored } from './api.ts';

/** How an object is named in caches and queues: `namespace/name`. */
export function keyOf(object: Stored): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

const rawNames = z.looseObject({
  metadata: z.looseObject({
    name: z.string().catch(''),
    namespace: z.string().catch(''),
    uid: z.string().catch(''),
    resourceVersion: z.string().catch(''),
  }),
});

/** What the server always fills in, also on an object whose kind's schema refuses it. */
export function rawNamesOf(raw: unknown): { key: string; uid: string; resourceVersion: string } {
  const names = rawNames.safeParse(raw);
  if (!names.success) return { key: '/', uid: '', resourceVersion: '' };
  const { name, namespace, uid, resourceVersion } = names.data.metadata;
  return { key: `${namespace}/${name}`, uid, resourceVersion };
}

export function rawKey(raw: unknown): string {
  return rawNamesOf(raw).key;
}
