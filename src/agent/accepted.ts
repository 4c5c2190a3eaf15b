import { readFileSync } from 'node:fs';
import type { Accepted } from './shim-protocol.ts';

/** What a shim has left word of in /run. Undefined: none has. */
export function readAccepted(path: string): Accepted | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Accepted; // written by our own shim, as a whole
  } catch {
    return undefined;
  }
}
