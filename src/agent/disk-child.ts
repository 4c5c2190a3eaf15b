import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { FileRead } from '../decide/channel.ts';
import { serveRequests } from './helper-loop.ts';
import { onMount, type WrittenMount } from './mounts.ts';
import { type DiskRecord, decodeRecord, encodeRecord, RECORD_BYTES } from './record.ts';

/** What the agent asks of the shared disk. Every one may hang; that is why this is a process of its own. */
export interface DiskRequest {
  /** The file system mounted here, and never the directory under it. */
  readonly mountPath: string;
  readonly act: DiskAct;
  /** Nowhere but on this very mount of this very disk. */
  readonly on?: WrittenMount | undefined;
}

export type DiskAct =
  /** The random id of the disk; made where there is none yet and `create` says so. */
  | { readonly type: 'id'; readonly create: boolean }
  /** Makes what a group's lock file and records lie in. */
  | { readonly type: 'prepare'; readonly directories: readonly string[] }
  | { readonly type: 'read'; readonly file: string }
  | { readonly type: 'write'; readonly file: string; readonly record: DiskRecord }
  /** Of all nodes but `own`: of those named, and of whoever else has a file there. */
  | {
      readonly type: 'readOthers';
      readonly directory: string;
      readonly nodes: readonly string[];
      readonly own: string;
    }
  /** Everything handed to the kernel for this file system is on the server afterwards. */
  | { readonly type: 'sync' }
  | { readonly type: 'writeText'; readonly file: string; readonly text: string }
  | { readonly type: 'readLine'; readonly file: string };

serveRequests(({ mountPath, act, on }: DiskRequest) =>
  onMount(
    mountPath,
    () => {
      mustBeDisk(mountPath, on?.diskId);
      return perform(mountPath, act);
    },
    on,
  ),
);

function perform(mountPath: string, act: DiskAct): unknown {
  switch (act.type) {
    case 'id':
      return readId(idFile(mountPath), act.create);
    case 'prepare':
      for (const directory of act.directories) mkdirSync(directory, { recursive: true, mode: 0o755 });
      return undefined;
    case 'read':
      return readRecord(act.file);
    case 'write':
      return writeRecord(act.file, act.record);
    case 'readOthers':
      return readOthers(act.directory, act.nodes, act.own);
    case 'sync':
      return syncFileSystem(mountPath);
    case 'writeText':
      return writeFileSync(act.file, act.text);
    case 'readLine':
      return (readIfThere(act.file) ?? '').split('\n')[0]?.slice(0, LINE_MAX);
  }
}

const LINE_MAX = 200;

function mustBeDisk(mountPath: string, id: string | undefined): void {
  if (id === undefined) return;
  const found = readIfThere(idFile(mountPath)) ?? 'none';
  if (found !== id) throw new Error(`Cannot use ${mountPath}: its id is ${found}, not ${id}; another disk is mounted`);
}

function idFile(mountPath: string): string {
  return join(mountPath, '.pointsman', 'id');
}

/** Linked into place whole, so that the other node reads all of it or none; of two only the first succeeds (link(2)). */
function readId(path: string, create: boolean): string | null {
  const found = readIfThere(path);
  if (found || !create) return found ?? null;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const temporary = `${path}.${randomUUID()}`;
  const file = openSync(temporary, 'wx', 0o644);
  try {
    writeSync(file, `${randomUUID()}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
  return readIfThere(path) ?? null;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function readRecord(path: string): DiskRecord | null {
  const found = readBytes(path);
  return (found && decodeRecord(found)) ?? null;
}

/** Undefined: there is no such file. */
function readBytes(path: string): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(RECORD_BYTES);
    return bytes.subarray(0, readSync(file, bytes, 0, RECORD_BYTES, 0));
  } finally {
    closeSync(file);
  }
}

type ReadOutcome = FileRead extends infer Each ? (Each extends FileRead ? Omit<Each, 'node'> : never) : never;

/** More are no nodes of one group, and reading them would keep the beat. */
const FILES_MAX = 64;

function readOthers(directory: string, nodes: readonly string[], own: string): FileRead[] {
  // An NFS client calls a file .nfs… that is removed while it is open; no node's name begins with a dot.
  const lying = readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
    entry.isFile() && !entry.name.startsWith('.') ? [entry.name] : [],
  );
  const names = [...new Set([...nodes, ...lying])].filter((name) => name !== own);
  const stray = names.find((name) => name.includes('/'));
  if (stray !== undefined) throw new Error(`Cannot read ${directory}: ${JSON.stringify(stray)} is no node's name`);
  if (names.length > FILES_MAX) throw new Error(`Cannot read ${directory}: ${names.length} files lie there`);
  return names.map((node) => ({ node, ...readOther(join(directory, node)) }));
}

function readOther(path: string): ReadOutcome {
  try {
    const bytes = readBytes(path) ?? (madeEmpty(path) ? undefined : readBytes(path));
    if (bytes === undefined) return { kind: 'missing' };
    if (bytes.length === 0) return { kind: 'empty' };
    const record = decodeRecord(bytes);
    if (record !== undefined) return { kind: 'record', record };
    return { kind: 'torn', content: createHash('sha256').update(bytes).digest('hex') };
  } catch (error) {
    return { kind: 'failed', message: error instanceof Error ? error.message : String(error) };
  }
}

/** A client may go on believing for a minute that a file is not there (nfs(5), lookupcache); O_EXCL asks the server. */
function madeEmpty(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o644));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function writeRecord(path: string, record: DiskRecord): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const bytes = encodeRecord(record);
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    const count = writeSync(file, bytes, 0, bytes.length, 0);
    if (count !== bytes.length) throw new Error(`Cannot write ${path}: only ${count} of ${bytes.length} bytes went in`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** syncfs(2), which Node does not have; sync(1) says whether the disk failed. */
function syncFileSystem(mountPath: string): void {
  const { status, stderr, error } = spawnSync('sync', ['--file-system', mountPath], { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`Cannot sync ${mountPath}: ${stderr.trim()}`);
}
