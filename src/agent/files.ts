import { renameSync, writeFileSync } from 'node:fs';

/**
 * Replaces a small file in /run as a whole: a reader finds the old text or the new one, never a part. No fsync: /run is
 * memory, and a power loss ends everything that the file speaks of.
 */
export function writeAtomic(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}
