import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { OptionDefinition } from '../src/cli/command.ts';
import { SHARED_OPTIONS } from '../src/cli/commandline.ts';
import { commands } from '../src/cli/commands.ts';
import { type JsonSchema, structuralSchema } from '../src/crds/emit.ts';
import { MOVE_TO_ANNOTATION, RELEASE_FINALIZER } from '../src/crds/failovergroup.ts';
import { kinds } from '../src/crds/kinds.ts';

/** A row of docs/expresscluster.md: `| there | mark | here | tests |`. */
export interface FeatureRow {
  readonly there: string;
  readonly mark: string;
  readonly here: string;
  /** What the column `here` names in backticks. */
  readonly names: readonly string[];
  readonly tests: readonly { readonly file: string; readonly words: readonly string[] }[];
  /** What is left of the column `tests`: nothing. */
  readonly rest: string;
}

export function featureRows(page: string): FeatureRow[] {
  const rows: FeatureRow[] = [];
  let inTable = false;
  for (const line of page.split('\n')) {
    const [there = '', mark = '', here = '', tests = '', ...more] = line
      .split('|')
      .slice(1, -1)
      .map((one) => one.trim());
    if (here === 'here' && tests === 'tests') inTable = true;
    else if (!line.startsWith('|')) inTable = false;
    else if (inTable && !/^-+$/.test(here)) {
      if (more.length > 0) throw new Error(`A row has more than four cells: ${line}`);
      rows.push({ there, mark, here, names: codeIn(here), ...testsIn(tests) });
    }
  }
  return rows;
}

/** Each file in backticks, then words of it in quotation marks: `a/b.test.ts` "some words", "others"; `c.test.ts`. */
function testsIn(cell: string): Pick<FeatureRow, 'tests' | 'rest'> {
  const tests = [...cell.matchAll(/`([^`]+)`((?:,? "[^"]+")*)/g)].map(([, file = '', words = '']) => ({
    file,
    words: [...words.matchAll(/"([^"]+)"/g)].map(([, word = '']) => word),
  }));
  return { tests, rest: cell.replace(/`[^`]+`(?:,? "[^"]+")*/g, '').replaceAll(/[; ]/g, '') };
}

function codeIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const textOf = (path: string) => readFileSync(join(top, path), 'utf8');

/** Says why there is nothing of that name, if so. Each way to write a name is a check; one must know it. */
export function problemWith(name: string): string | undefined {
  for (const check of [fieldProblem, commandProblem, kubectlProblem, makeProblem, variableProblem, fileProblem]) {
    const problem = check(name);
    if (problem !== undefined) return problem === '' ? undefined : problem;
  }
  if (name === MOVE_TO_ANNOTATION || name === RELEASE_FINALIZER || words().has(name)) return undefined;
  return `${name} is no field, reason, condition, command, annotation, variable or file`;
}

/** Undefined: not written in this way. Empty: it is there. */
type Verdict = string | undefined;

/** `FailoverGroup`, `FailoverGroup.spec.nodes`, `DiskMonitor.spec.when: Always`. */
function fieldProblem(name: string): Verdict {
  const [path = '', value] = name.split(': ');
  const [kindName, part, ...fields] = path.split('.');
  const kind = kinds.find((one) => one.kind === kindName);
  if (!kind) return undefined;
  if (part === undefined) return '';
  if (part !== 'spec' && part !== 'status') return `${name}: write ${kind.kind}.spec or ${kind.kind}.status`;
  let schema: JsonSchema | undefined = structuralSchema(kind[part]);
  for (const field of fields) {
    schema = ((schema['items'] ?? schema) as JsonSchema)['properties'] as JsonSchema | undefined;
    schema = schema?.[field] as JsonSchema | undefined;
    if (!schema) return `${kind.kind} has no field ${path}`;
  }
  if (value === undefined) return '';
  const allowed = schema['type'] === 'boolean' ? ['true', 'false'] : ((schema['enum'] ?? []) as string[]);
  return allowed.includes(value) ? '' : `${path} is never ${value}`;
}

/** `kubectl pointsman move GROUP NODE`, `kubectl pointsman status -o wide`. */
function commandProblem(name: string): Verdict {
  const [kubectl, plugin, command, ...rest] = name.split(' ');
  if (kubectl !== 'kubectl' || plugin !== 'pointsman') return undefined;
  if (command === undefined) return '';
  const known = commands.find((one) => one.name === command);
  if (!known) return `kubectl pointsman has no command ${command}`;
  const options: Readonly<Record<string, OptionDefinition>> = { ...known.options, ...SHARED_OPTIONS };
  const flags = Object.entries(options).flatMap(([long, { short }]) => [`--${long}`, ...(short ? [`-${short}`] : [])]);
  const taken = [...flags, ...known.formats, ...known.takes.replaceAll(/[[\]]/g, '').split(' ')];
  const wrong = rest.find((word) => !taken.includes(word));
  return wrong === undefined ? '' : `kubectl pointsman ${command} takes no ${wrong}`;
}

/** `kubectl get fog,vip`: its verbs, and kinds by any of their names. */
function kubectlProblem(name: string): Verdict {
  const [kubectl, verb = '', objects] = name.split(' ');
  if (kubectl !== 'kubectl') return undefined;
  if (!KUBECTL.has(verb)) return `kubectl ${verb} is not among those that this test knows`;
  const known = [...kinds.flatMap(({ singular, plural, shortNames }) => [singular, plural, ...shortNames]), 'events'];
  const wrong = objects?.split(',').find((one) => !known.includes(one));
  return wrong === undefined ? '' : `${name}: there is no kind ${wrong}`;
}
const KUBECTL = new Set(['annotate', 'apply', 'delete', 'diff', 'explain', 'get', 'patch', 'wait']);

function makeProblem(name: string): Verdict {
  const [, target] = /^make (\S+)$/.exec(name) ?? [];
  if (target === undefined) return undefined;
  return new RegExp(`^${target}:`, 'm').test(textOf('Makefile')) ? '' : `make has no target ${target}`;
}

/** Of the controller. */
function variableProblem(name: string): Verdict {
  if (!/^POINTSMAN_\w+$/.test(name)) return undefined;
  return textOf('src/controller/options.ts').includes(`${name}:`) ? '' : `the controller knows no ${name}`;
}

function fileProblem(name: string): Verdict {
  if (!/^(docs|manifests|sandbox|src|test|tools)\//.test(name)) return undefined;
  return existsSync(join(top, name)) ? '' : `there is no ${name}`;
}

/** The first column of the tables of docs/conditions.md: condition types and reasons. */
let known: ReadonlySet<string> | undefined;
function words(): ReadonlySet<string> {
  known ??= new Set([...textOf('docs/conditions.md').matchAll(/^\| `(\w+)` \|/gm)].map(([, word = '']) => word));
  return known;
}
