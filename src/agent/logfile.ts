import { copyFile, stat, truncate } from 'node:fs/promises';

/** Of the log and of the one before it, each. */
const MAX_BYTES = 16 << 20;
const LOOK_EVERY_MS = 5_000;

/**
 * Keeps a file that another process appends to within bounds. It is copied and then emptied, not renamed, because the
 * writer keeps it open; with O_APPEND its next line stands at the start. Lines written during the copy may be lost.
 */
export function keepBounded(path: string): void {
  let busy = false;
  setInterval(() => {
    if (busy) return; // a hung disk holds one look, not a heap of them
    busy = true;
    void rotate(path).finally(() => {
      busy = false;
    });
  }, LOOK_EVERY_MS).unref();
}

async function rotate(path: string): Promise<void> {
  try {
    if ((await stat(path)).size <= MAX_BYTES) return;
    await copyFile(path, `${path}.1`);
    await truncate(path, 0);
  } catch {
    // No file yet, or no room: the next look may find it better.
  }
}
