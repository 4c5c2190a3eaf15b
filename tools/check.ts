import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './run.ts';

/** What the machine lacks, and the command that provides it. */
export interface Lack {
  readonly what: string;
  readonly command: string;
}

const HERE = dirname(fileURLToPath(import.meta.url));
const CHECK_TIMEOUT_MS = 60_000;

/** Everything the sandbox, the tests and the builds need of this machine, and what of it is missing: all at once. */
export async function findLacks(): Promise<Lack[]> {
  if (process.platform !== 'linux') {
    return [{ what: `Linux (this is ${process.platform})`, command: 'run it in a Linux machine or VM' }];
  }
  const found = await Promise.all([
    root(),
    node(),
    go(),
    python(),
    fuse(),
    ...IPROUTE2.map((program) => inPath(program, 'iproute2')),
    ...UTIL_LINUX.map((program) => inPath(program, program === 'mount' ? 'mount' : 'util-linux')),
  ]);
  return merge(found.filter((lack) => lack !== undefined));
}

/** For people: one line per lack, then all package installs as one command. */
export function describeLacks(lacks: readonly Lack[]): string {
  return lacks.map((lack) => `  ${lack.what}\n      ${lack.command}`).join('\n');
}

const IPROUTE2 = ['ip'];
const UTIL_LINUX = ['unshare', 'nsenter', 'setpriv', 'flock', 'mount'];

/** Namespaces, mounts and changes of user need it; a user namespace is not enough for cgroups. */
async function root(): Promise<Lack | undefined> {
  if (process.getuid?.() === 0) return undefined;
  return { what: 'root (namespaces, mounts, cgroups)', command: 'sudo -E make demo' };
}

async function node(): Promise<Lack | undefined> {
  const wanted = 24;
  if (Number(process.versions.node.split('.')[0]) >= wanted) return undefined;
  return { what: `Node ${wanted} or newer (this is ${process.versions.node})`, command: 'npm ci, then npx node …' };
}

/** Asked inside a module, so that a Go that fetches the toolchain a go.mod names (1.21 and later) counts as new enough. */
async function go(): Promise<Lack | undefined> {
  const wanted = newestGo();
  const answer = await run('go', ['env', 'GOVERSION'], { cwd: join(HERE, 'etcd'), timeoutMs: CHECK_TIMEOUT_MS });
  const version = /go(\d+(?:\.\d+)*)/.exec(answer.output)?.[1];
  if (answer.code === 0 && version !== undefined && atLeast(version, wanted)) return undefined;
  const present = version === undefined ? 'none found' : `this is ${version}`;
  return {
    what: `Go ${wanted} or newer (${present})`,
    command: 'apt-get install golang-go; from 1.21 on it fetches the rest itself, unless GOTOOLCHAIN=local',
  };
}

async function python(): Promise<Lack | undefined> {
  const script = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))';
  const answer = await run('python3', ['-c', script], { timeoutMs: CHECK_TIMEOUT_MS });
  if (answer.code === 0) return undefined;
  return { what: 'Python 3.9 or newer with venv', command: 'apt-get install python3 python3-venv' };
}

/** For the disk that fails on command. It is mounted without fusermount, so the device is all that is needed. */
async function fuse(): Promise<Lack | undefined> {
  if (existsSync('/dev/fuse')) return undefined;
  return { what: 'FUSE (/dev/fuse)', command: 'modprobe fuse; in a container: run it with --device /dev/fuse' };
}

async function inPath(program: string, debianPackage: string): Promise<Lack | undefined> {
  const answer = await run('sh', ['-c', `command -v ${program}`], { timeoutMs: CHECK_TIMEOUT_MS });
  if (answer.code === 0) return undefined;
  return { what: program, command: `apt-get install ${debianPackage}` };
}

/** Programs of one package become one line. */
function merge(lacks: readonly Lack[]): Lack[] {
  const byCommand = new Map<string, string[]>();
  for (const lack of lacks) byCommand.set(lack.command, [...(byCommand.get(lack.command) ?? []), lack.what]);
  return [...byCommand].map(([command, whats]) => ({ what: whats.join(', '), command }));
}

/** The newest Go that one of the go.mod files asks for. */
function newestGo(): string {
  const versions = ['kubernetes', 'etcd', 'minio', 'faultydisk', 'gitops'].map((module) => {
    const text = readFileSync(join(HERE, module, 'go.mod'), 'utf8');
    return /^go (\d+(?:\.\d+)*)$/m.exec(text)?.[1] ?? '1.21';
  });
  return versions.reduce((newest, version) => (atLeast(newest, version) ? newest : version));
}

/** Compares versions number by number: 1.9 is older than 1.26. */
export function atLeast(version: string, wanted: string): boolean {
  const have = version.split('.').map(Number);
  const want = wanted.split('.').map(Number);
  for (let i = 0; i < Math.max(have.length, want.length); i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
