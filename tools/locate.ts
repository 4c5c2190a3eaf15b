import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeOnce } from './makeonce.ts';
import { type Progress, showProgress } from './progress.ts';
import { type GoTool, TOOLS, type ToolName, type VenvTool } from './versions.ts';

export interface LocateOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly progress?: Progress;
}

const HERE = dirname(fileURLToPath(import.meta.url));

/** A cold build takes minutes; one that takes this long hangs. */
const BUILD_TIMEOUT_MS = 30 * 60_000;

/**
 * The path of a tool's executable. It is looked for, in this order, where an environment variable says
 * (`KUBEBUILDER_ASSETS` for kube-apiserver, kubectl and etcd, as envtest users expect; `POINTSMAN_MINIO` and
 * `POINTSMAN_MOTO_PYTHON`), in the cache, and else it is built into the cache, with progress shown.
 *
 * Never one from PATH: an installed kubectl may be two minors off.
 *
 * Throws an error that lists what was tried and why each failed.
 */
export async function toolPath(name: ToolName, options: LocateOptions = {}): Promise<string> {
  const env = options.env ?? process.env;
  const tool: GoTool | VenvTool = TOOLS[name];
  const tried: string[] = [];

  const named = namedByEnvironment(name, tool, env);
  if (named.path !== undefined) {
    const problem = await executableProblem(named.path);
    if (problem === undefined) return named.path;
    tried.push(`${named.variable} names ${named.path}: ${problem}`);
  } else {
    tried.push(`${named.variable}: not set`);
  }

  const cached = cachedPath(name, env);
  const problem = await executableProblem(cached);
  if (problem === undefined) return cached;
  tried.push(`cache: ${cached}: ${problem}`);

  const ended = (options.progress ?? showProgress()).start(
    tool.kind === 'go' ? `Building ${name} ${versionOf(tool)}` : 'Making the Python environment of moto',
    tool.usuallySeconds,
  );
  const failure = await (tool.kind === 'go' ? buildGo(tool, cached, env) : buildVenv(tool, cached, env));
  ended(failure === undefined ? 'done' : 'failed');
  if (failure === undefined) return cached;
  tried.push(`build: ${failure}`);
  throw new Error(
    `Cannot find ${name}: nothing that was tried worked\n${tried.map((line) => `  - ${line}`).join('\n')}\n` +
      'See what the machine lacks with: node_modules/.bin/node tools/install.ts',
  );
}

/** Where the cache has a tool, whether or not it is there yet. */
export function cachedPath(name: ToolName, env: NodeJS.ProcessEnv = process.env): string {
  const cache = join(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'pointsman');
  const tool: GoTool | VenvTool = TOOLS[name];
  return tool.kind === 'go'
    ? join(cache, `${tool.module}-${versionOf(tool)}`, name)
    : join(cache, `moto-${requirementsHash(tool)}`, 'venv', 'bin', 'python');
}

function namedByEnvironment(
  name: ToolName,
  tool: GoTool | VenvTool,
  env: NodeJS.ProcessEnv,
): { variable: string; path: string | undefined } {
  if (tool.kind === 'go' && tool.envtestAsset) {
    const assets = env['KUBEBUILDER_ASSETS'];
    return { variable: 'KUBEBUILDER_ASSETS', path: assets ? join(assets, name) : undefined };
  }
  const variable = `POINTSMAN_${name.toUpperCase().replaceAll('-', '_')}`;
  return { variable, path: env[variable] || undefined };
}

async function executableProblem(path: string): Promise<string | undefined> {
  return await access(path, constants.X_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? 'not there' : error.message),
  );
}

async function buildGo(tool: GoTool, target: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return await makeOnce({
    target,
    script: 'go build -trimpath -ldflags "$LDFLAGS" -o "$OUT" "$PACKAGE"',
    cwd: join(HERE, tool.module),
    // A go.work somewhere above the checkout would otherwise decide the versions.
    env: {
      ...env,
      GOWORK: 'off',
      GOFLAGS: '-mod=readonly',
      CGO_ENABLED: '0',
      LDFLAGS: tool.ldflags,
      PACKAGE: tool.package,
    },
    timeoutMs: BUILD_TIMEOUT_MS,
  });
}

/**
 * The wheels are pinned by hash for one CPython, so that one is looked for first under its own name. With another, pip
 * says which hash it misses, which helps nobody: so it is said here.
 */
async function buildVenv(tool: VenvTool, python: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return await makeOnce({
    target: dirname(dirname(python)),
    script: `
      for candidate in "python$WANTED" python3 python; do
        if "$candidate" -c 'import sys, os; sys.exit("%d.%d" % sys.version_info[:2] != os.environ["WANTED"])' 2>/dev/null; then
          found=$candidate
          break
        fi
      done
      if [ -z "\${found:-}" ]; then
        echo "no CPython $WANTED: the wheels in tools/${tool.requirements} are pinned for it. Install it (apt-get install python$WANTED python$WANTED-venv), or set POINTSMAN_MOTO_PYTHON to the python of an environment that has moto"
        exit 1
      fi
      "$found" -m venv "$OUT"
      "$OUT/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r "$REQUIREMENTS"`,
    cwd: HERE,
    env: { ...env, WANTED: tool.python, REQUIREMENTS: join(HERE, tool.requirements) },
    timeoutMs: BUILD_TIMEOUT_MS,
  });
}

function versionOf(tool: GoTool): string {
  if (tool.version !== 'ours') return tool.version;
  const folder = join(HERE, tool.module);
  const hash = createHash('sha256');
  for (const file of readdirSync(folder).toSorted()) hash.update(file).update(readFileSync(join(folder, file)));
  return hash.digest('hex').slice(0, 12);
}

function requirementsHash(tool: VenvTool): string {
  return createHash('sha256')
    .update(readFileSync(join(HERE, tool.requirements)))
    .digest('hex')
    .slice(0, 12);
}
