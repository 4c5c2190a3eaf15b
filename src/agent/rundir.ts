import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { assignmentSchema } from '../crds/failovergroup.ts';
import { fileNameOf, hashOf, writeAtomic } from './files.ts';
import type { Instance } from './metadata.ts';
import type { WrittenMount } from './mounts.ts';

/**
 * What this agent remembers, in memory that a reboot clears: `/run/pointsman/<namespace>/<node>/`. Lost, it is as after
 * a reboot, and the node takes a new incarnation.
 */
export interface RunDir {
  readonly path: string;
  /** Where the shims look for it before they start anything. */
  readonly incarnationFile: string;
  /** Undefined when there is none, or it is of another boot. */
  incarnation(): number | undefined;
  /** Undefined: no shim starts anything from now on. */
  setIncarnation(incarnation: number | undefined): void;
  /** Undefined: not known, so anything may have been. */
  group(name: string): GroupMemory | undefined;
  setGroup(name: string, memory: GroupMemory): void;
  /** The instance, as the metadata service told an earlier agent of this boot. */
  instance(): Instance | undefined;
  setInstance(instance: Instance): void;
  /** Unix sockets have short names (unix(7): 108 bytes), groups have long ones. */
  socket(group: string): string;
  accepted(group: string): string;
  /** The groups of which a shim has left word. */
  groupsWithShims(): string[];
  /** For the record of a helper process. */
  helper(key: string): string;
}

const writtenMount: z.ZodType<WrittenMount> = z.object({
  path: z.string(),
  id: z.number().int(),
  device: z.string(),
  fsType: z.string(),
  diskId: z.string().optional(),
});

const groupMemory = z.object({
  ended: z.number().int(),
  settled: z.boolean(),
  spawned: z.number().int(),
  /** Where something was started and may have writes under way. Undefined: not known, also in an older agent's record. */
  written: z.array(writtenMount).optional(),
  /** By which something was spawned: an agent that comes back while the API server is away goes by it. */
  assignment: assignmentSchema.optional(),
  /** What was put on the interface for it last. */
  addresses: z.array(z.string()).optional(),
  /** When the last epoch ended, by the boot clock. */
  endedAtMs: z.number().optional(),
});
export type GroupMemory = z.output<typeof groupMemory>;
/** With the group's name, which that of the file may only be a hash of. */
const groupFileContent = groupMemory.extend({ name: z.string().optional() });

export function openRunDir(root: string, namespace: string, node: string, bootId: string): RunDir {
  const path = join(root, namespace, node);
  mkdirSync(join(path, 'groups'), { recursive: true, mode: 0o700 });
  const incarnationFile = join(path, 'incarnation');
  const bootFile = join(path, 'boot-id');
  const instanceFile = join(path, 'instance.json');
  const groupFile = (name: string) => join(path, 'groups', `${fileNameOf(name)}.json`);
  // On a machine where /run is a disk it would survive the boot that it speaks of.
  const sameBoot = read(bootFile)?.trim() === bootId;
  if (!sameBoot) {
    for (const file of [incarnationFile, instanceFile]) writeAtomic(file, '');
    writeAtomic(bootFile, `${bootId}\n`);
  }
  return {
    path,
    incarnationFile,
    incarnation: () => {
      const text = read(incarnationFile)?.trim();
      return text ? Number(text) : undefined;
    },
    setIncarnation: (incarnation) => {
      writeAtomic(bootFile, `${bootId}\n`);
      writeAtomic(incarnationFile, incarnation === undefined ? '' : `${incarnation}\n`);
    },
    group: (name) => {
      const text = read(groupFile(name));
      if (text === undefined) return undefined;
      const { name: _, ...memory } = groupFileContent.parse(JSON.parse(text));
      return memory;
    },
    setGroup: (name, memory) => writeAtomic(groupFile(name), JSON.stringify({ name, ...memory })),
    instance: () => {
      const text = read(instanceFile);
      return text ? (JSON.parse(text) as Instance) : undefined; // written by an agent, as a whole
    },
    setInstance: (instance) => writeAtomic(instanceFile, JSON.stringify(instance)),
    socket: (group) => shortPath(join(path, `shim.${group}.sock`), root),
    accepted: (group) => join(path, `shim.${fileNameOf(group)}.json`),
    groupsWithShims: () =>
      readdirSync(path)
        .flatMap((file) => /^shim\.(.*)\.json$/.exec(file)?.[1] ?? [])
        .flatMap((name) => (name.startsWith('~') ? (nameIn(join(path, 'groups', `${name}.json`)) ?? []) : name)),
    helper: (key) => join(path, `helper.${hashOf(key).slice(0, 16)}.json`),
  };
}

/**
 * Makes this the only agent of its node, for as long as the process lives: flock(2) belongs to the open file, which
 * flock(1) and we share. Throws when another holds it for `limitSeconds`.
 */
export async function lockRunDir(path: string, limitSeconds: number): Promise<void> {
  const file = openSync(join(path, 'agent.lock'), 'a', 0o600); // closed by the end of the process alone
  const child = spawn('flock', ['--wait', String(limitSeconds), '3'], {
    stdio: ['ignore', 'ignore', 'inherit', file],
  });
  const status = await new Promise<number | string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code) => resolve(code));
  });
  if (status === 0) return;
  throw new Error(
    `Cannot start the agent: another one holds ${join(path, 'agent.lock')} (flock: ${status}); stop it first`,
  );
}

/** 108 bytes with the zero at the end; a few are left for the temporary names of others. */
const SOCKET_PATH_MAX = 100;

function shortPath(path: string, root: string): string {
  return Buffer.byteLength(path) <= SOCKET_PATH_MAX ? path : join(root, `${hashOf(path).slice(0, 16)}.sock`);
}

/** Undefined: nothing was ever started for it, so its shim is idle and may be ended as a stray. */
function nameIn(groupFile: string): string | undefined {
  try {
    return groupFileContent.parse(JSON.parse(readFileSync(groupFile, 'utf8'))).name;
  } catch {
    return undefined;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
