import { stringify } from 'yaml';

/** A result as data, for programs. */
export function asData(value: unknown, format: 'json' | 'yaml'): string {
  return format === 'json' ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value);
}
