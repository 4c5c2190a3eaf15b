import { closeSync, constants, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { explainDiskError } from './diskerror.ts';
import { serveRequests } from './helper-loop.ts';
import { onMount } from './mounts.ts';

/** One probe of a shared disk, in a process that may hang. */
export interface ProbeRequest {
  readonly method: 'WriteFile' | 'ReadFile';
  readonly path: string;
  readonly size: number;
  /** The shared disk that the path lies on: it must be mounted. */
  readonly mountPath: string | undefined;
  /** The id that this disk must have. */
  readonly diskId?: string | undefined;
}

/** How long it took. */
export interface ProbeAnswer {
  readonly latencyMs: number;
}

serveRequests(({ method, path, size, mountPath, diskId }: ProbeRequest): ProbeAnswer => {
  const startMs = performance.now();
  const probe = () => (method === 'WriteFile' ? writeAndReadBack(path, size) : readWhole(path, size));
  try {
    if (mountPath === undefined) probe();
    else {
      onMount(mountPath, () => {
        if (diskId !== undefined) mustBeDisk(mountPath, diskId);
        probe();
      });
    }
  } catch (error) {
    throw new Error(explainDiskError(error, path));
  }
  return { latencyMs: Math.round(performance.now() - startMs) };
});

/** Another disk at the same place works, and says nothing about the one that the group writes to. */
function mustBeDisk(mountPath: string, diskId: string): void {
  let found: string;
  try {
    found = readFileSync(join(mountPath, '.pointsman', 'id'), 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    found = 'none';
  }
  if (found === diskId) return;
  throw new Error(
    `Cannot probe ${mountPath}: another disk is mounted there, its id is ${found}, the group's is ${diskId}; mount the group's file system`,
  );
}

/**
 * Every node writes the same file at the same time, so what is read back may be another node's, or part of each. All
 * write small letters: anything else there is damage. Nobody truncates or removes what another has written.
 */
function writeAndReadBack(path: string, size: number): void {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const letter = FIRST_LETTER + Math.floor(Math.random() * LETTERS);
    const written = writeSync(file, Buffer.alloc(size, letter), 0, size, 0);
    if (written !== size) throw new Error(`Cannot write ${path}: only ${written} of ${size} bytes went in`);
    fsyncSync(file);
    const bytes = readBytes(file, path, size);
    const strange = bytes.findIndex((byte) => byte < FIRST_LETTER || byte >= FIRST_LETTER + LETTERS);
    if (strange >= 0) throw new Error(`Cannot trust ${path}: byte ${strange} is not what any node writes there`);
  } finally {
    closeSync(file);
  }
}

function readWhole(path: string, size: number): void {
  const file = openSync(path, constants.O_RDONLY);
  try {
    readBytes(file, path, size);
  } finally {
    closeSync(file);
  }
}

function readBytes(file: number, path: string, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let count = 0;
  while (count < size) {
    const read = readSync(file, bytes, count, size - count, count);
    if (read === 0) throw new Error(`Cannot read ${path}: it ends after ${count} of ${size} bytes`);
    count += read;
  }
  return bytes;
}

const FIRST_LETTER = 'a'.charCodeAt(0);
const LETTERS = 26;
