import { mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build as bundle } from 'esbuild';

const TOP = dirname(fileURLToPath(import.meta.url));

/**
 * One file per program, because a program that strips types and resolves hundreds of modules starts three times slower.
 * What an agent starts (shim, disk and probe children) lies beside it under its own name, as in src/agent.
 */
const PROGRAMS = {
  controller: 'src/controller/main.ts',
  agent: 'src/agent/main.ts',
  shim: 'src/agent/shim.ts',
  warden: 'src/agent/warden.ts',
  'disk-child': 'src/agent/disk-child.ts',
  'probe-child': 'src/agent/probe-child.ts',
  'kubectl-pointsman': 'src/cli/main.ts',
};

/** What is run by its name, as a file that can be executed. */
const COMMAND = 'kubectl-pointsman.mjs';

/** The names by which kubectl looks for it on the PATH: to run it, and to complete what is typed. */
const COMMAND_LINKS = ['kubectl-pointsman', 'kubectl_complete-pointsman'];

/** Node's own modules are asked for by `require` in bundled CommonJS packages, which an ES module does not have. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/** What the last build read, and when it began; nothing is built while all of that is older. */
const STAMP = join(TOP, 'dist', 'built.json');

/**
 * Brings `dist/*.mjs` up to date; false when it was. A file that is in use is replaced whole or not at all, so several
 * may build at once.
 */
export async function build(): Promise<boolean> {
  if (await isFresh()) return false;
  const beganMs = Date.now();
  const { outputFiles, metafile } = await bundle({
    absWorkingDir: TOP,
    entryPoints: PROGRAMS,
    outdir: 'dist',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'esm',
    // Not the CommonJS twins of packages that have both: half the size, and they load faster.
    mainFields: ['module', 'main'],
    banner: { js: REQUIRE },
    sourcemap: true,
    sourcesContent: false,
    write: false,
    metafile: true,
    logLevel: 'error',
  });
  await mkdir(join(TOP, 'dist'), { recursive: true });
  await Promise.all(outputFiles.map(({ path, contents }) => replace(path, contents)));
  await Promise.all(COMMAND_LINKS.map((name) => link(COMMAND, join(TOP, 'dist', name))));
  const stamp: Stamp = { beganMs, inputs: ['build.ts', ...Object.keys(metafile.inputs)] };
  await replace(STAMP, Buffer.from(JSON.stringify(stamp)));
  return true;
}

interface Stamp {
  readonly beganMs: number;
  readonly inputs: readonly string[];
}

async function isFresh(): Promise<boolean> {
  try {
    const { beganMs, inputs } = JSON.parse(await readFile(STAMP, 'utf8')) as Stamp; // our own file
    await Promise.all(Object.keys(PROGRAMS).map((name) => stat(join(TOP, 'dist', `${name}.mjs`))));
    await Promise.all(COMMAND_LINKS.map((name) => stat(join(TOP, 'dist', name))));
    const read = await Promise.all(inputs.map((input) => stat(join(TOP, input))));
    return read.every(({ mtimeMs }) => mtimeMs < beganMs);
  } catch {
    return false; // one is missing
  }
}

async function replace(path: string, contents: Uint8Array): Promise<void> {
  const present = await readFile(path).catch(() => undefined);
  if (present?.equals(contents)) return;
  const next = `${path}.${process.pid}`;
  await writeFile(next, contents, { mode: path.endsWith(`/${COMMAND}`) ? 0o755 : 0o644 });
  await rename(next, path);
}

async function link(target: string, path: string): Promise<void> {
  const next = `${path}.${process.pid}`;
  await symlink(target, next);
  await rename(next, path);
}

if (import.meta.main) {
  const from = performance.now();
  const built = await build();
  const took = `${Math.round(performance.now() - from)} ms`;
  process.stdout.write(`${Object.keys(PROGRAMS).join(', ')}: ${built ? `built in ${took}` : 'up to date'}\n`);
}
