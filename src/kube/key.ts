import type { Stored } from './api.ts';

/** How an object is named in caches and queues: `namespace/name`. */
export function keyOf(object: Stored): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** What the server always fills in, also on an object whose kind's schema refuses it. */
export function rawNamesOf(raw: unknown): { key: string; uid: string; resourceVersion: string } {
  const metadata = fieldOf(raw, 'metadata');
  const text = (name: string) => {
    const value = fieldOf(metadata, name);
    return typeof value === 'string' ? value : '';
  };
  return { key: `${text('namespace')}/${text('name')}`, uid: text('uid'), resourceVersion: text('resourceVersion') };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

export function rawKey(raw: unknown): string {
  return rawNamesOf(raw).key;
}
