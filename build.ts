import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
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
  'disk-child': 'src/agent/disk-child.ts',
  'probe-child': 'src/agent/probe-child.ts',
};

/** Node's own modules are asked for by `require` in bundled CommonJS packages, which an ES module does not have. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/** Writes `dist/*.mjs`. A file that is in use is replaced whole or not at all, so several may build at once. */
export async function build(): Promise<void> {
  const { outputFiles } = await bundle({
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
    logLevel: 'error',
  });
  await mkdir(join(TOP, 'dist'), { recursive: true });
  await Promise.all(outputFiles.map(({ path, contents }) => replace(path, contents)));
}

async function replace(path: string, contents: Uint8Array): Promise<void> {
  const present = await readFile(path).catch(() => undefined);
  if (present?.equals(contents)) return;
  const next = `${path}.${process.pid}`;
  await writeFile(next, contents);
  await rename(next, path);
}

if (import.meta.main) {
  const from = performance.now();
  await build();
  process.stdout.write(
    `built ${Object.keys(PROGRAMS).join(', ')} in ${Math.round(performance.now() - from)} ms, see ${relative(process.cwd(), join(TOP, 'dist'))}\n`,
  );
}
