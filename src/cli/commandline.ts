import { parseArgs } from 'node:util';
import type { Command, Format, OptionDefinition } from './command.ts';
import { UsageError } from './exit.ts';

/** What every command takes; the names are kubectl's. */
export const SHARED_OPTIONS: Readonly<Record<string, OptionDefinition>> = {
  namespace: {
    type: 'string',
    short: 'n',
    value: 'NAME',
    about: "The namespace. Default: the context's, else default.",
  },
  output: { type: 'string', short: 'o', value: 'FORMAT', about: 'How the result is written.' },
  context: { type: 'string', value: 'NAME', about: 'The context of the kubeconfig. Default: the current one.' },
  kubeconfig: { type: 'string', value: 'FILE', about: 'Default: $KUBECONFIG, else ~/.kube/config.' },
  help: { type: 'boolean', short: 'h', about: 'Says what a command does.' },
};

/** Of commands that look at more than one group. */
export const ALL_NAMESPACES: Readonly<Record<string, OptionDefinition>> = {
  'all-namespaces': { type: 'boolean', short: 'A', about: 'All namespaces.' },
};

export interface CommandLine {
  /** Undefined: none was named. */
  readonly command: Command | undefined;
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly format: Format | undefined;
}

/** Options may stand anywhere, as kubectl takes them. Throws a {@link UsageError}. */
export function parseCommandLine(args: readonly string[], commands: readonly Command[]): CommandLine {
  const all = Object.assign({}, ...commands.map(({ options }) => options), SHARED_OPTIONS);
  const { values, positionals } = parse(args, all);
  const [name, ...words] = positionals;
  if (name === undefined) return { command: undefined, words, options: values, format: undefined };
  const command = commands.find((one) => one.name === name);
  if (!command) throw new UsageError(`There is no command "${name}"; kubectl pointsman --help lists them`);
  if (values['help'] === true) return { command, words, options: values, format: undefined };
  for (const option of Object.keys(values)) {
    if (option in SHARED_OPTIONS || option in command.options) continue;
    throw new UsageError(`${name} takes no --${option}; kubectl pointsman ${name} --help lists what it takes`);
  }
  if (words.length < command.least || words.length > command.most)
    throw new UsageError(`Write: kubectl pointsman ${name} ${command.takes}`.trimEnd());
  const defaults = Object.entries(command.options).map(([option, { default: value }]) => [option, value]);
  return {
    command,
    words,
    options: { ...Object.fromEntries(defaults), ...values },
    format: formatOf(command, values['output']),
  };
}

function parse(args: readonly string[], options: Readonly<Record<string, OptionDefinition>>) {
  const known = Object.entries(options).map(([name, { type, short }]) => [name, short ? { type, short } : { type }]);
  try {
    return parseArgs({
      args: args.map((arg) => withoutTruth(arg, options)),
      options: Object.fromEntries(known) as Record<string, { type: 'string' | 'boolean' }>, // as made in the line above
      allowPositionals: true,
      allowNegative: true,
    });
  } catch (error) {
    // parseArgs names the argument; what it advises (to write `--`) is for positional arguments that begin with a dash.
    const [problem = ''] = String(error instanceof Error ? error.message : error).split(/\. | To specify/);
    throw new UsageError(`${problem.replace(/\.$/, '')}; kubectl pointsman --help says what there is`);
  }
}

/** Go's `--wait=false` is `--no-wait` to parseArgs. */
function withoutTruth(arg: string, options: Readonly<Record<string, OptionDefinition>>): string {
  const [, name = '', truth] = /^--([a-z-]+)=(true|false)$/.exec(arg) ?? [];
  if (options[name]?.type !== 'boolean') return arg;
  return truth === 'true' ? `--${name}` : `--no-${name}`;
}

function formatOf({ name, formats }: Command, asked: string | boolean | undefined): Format | undefined {
  if (asked === undefined) return undefined;
  const format = formats.find((one) => one === asked);
  if (format !== undefined) return format;
  const which = formats.length === 0 ? 'it takes none' : `it takes ${formats.join(', ')}`;
  throw new UsageError(`${name} has no output format "${asked}": ${which}`);
}
