import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Replaces a small file in /run as a whole: a reader finds the old text or the new one, never a part. No fsync: /run is
 * memory, and a power loss ends everything that the file speaks of. What somebody has deleted of the way to it is made.
 */
export function writeAtomic(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}

/** A file's name is at most 255 bytes long, with what is put before and behind it here; a group's alone may be 253. */
const NAME_MAX_BYTES = 200;

/** `name` as a part of a file's name: itself, or where it is too long a hash that no object can be called. */
export function fileNameOf(name: string): string {
  return Buffer.byteLength(name) <= NAME_MAX_BYTES ? name : `~${hashOf(name)}`;
}

/** Enough that no two names meet. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
