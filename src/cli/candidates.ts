import type { FailoverGroup } from '../crds/failovergroup.ts';
import { failoverGroups } from '../kube/resources.ts';
import type { Command, Connection, OptionDefinition } from './command.ts';
import { SHARED_OPTIONS } from './commandline.ts';
import type { Where } from './connection.ts';

/**
 * Answers a completion as kubectl asks a program named `kubectl_complete-pointsman` for it: a candidate a line, with its
 * description behind a tab, and last `:4`, which is cobra's ShellCompDirectiveNoFileComp
 * (https://github.com/spf13/cobra/blob/main/completions.go).
 */
export async function complete(
  words: readonly string[],
  commands: readonly Command[],
  connect: (where: Where) => Connection,
): Promise<string> {
  let connection: Connection | undefined;
  try {
    const candidates = await candidatesFor(words, commands, async (where) => {
      connection = connect(where);
      const { items } = await connection.api.list(failoverGroups, connection.namespace);
      return items;
    });
    return [...candidates, ':4', ''].join('\n');
  } catch {
    // A shell has nowhere to show what went wrong; the command itself will.
    return ':4\n';
  } finally {
    await connection?.api.close();
  }
}

/** The last word is the one under the cursor, perhaps empty. */
export async function candidatesFor(
  words: readonly string[],
  commands: readonly Command[],
  groupsOf: (where: Where) => Promise<readonly FailoverGroup[]>,
): Promise<string[]> {
  const current = words.at(-1) ?? '';
  const { positionals, values, awaits } = read(words.slice(0, -1), commands);
  const begins = (candidate: string) => candidate.startsWith(current);
  const command = commands.find(({ name }) => name === positionals[0]);
  if (awaits === 'output') return (command?.formats ?? []).filter(begins);
  if (awaits !== undefined) return [];
  if (current.startsWith('-')) {
    const options = { ...command?.options, ...SHARED_OPTIONS };
    return Object.entries(options)
      .map(([name, { about }]) => `--${name}\t${about}`)
      .filter(begins);
  }
  if (positionals.length === 0) return commands.map(({ name, summary }) => `${name}\t${summary}`).filter(begins);
  if (!command || positionals.length > command.most) return [];
  if (!command.takes.includes('GROUP')) return command.takes.split('|').filter(begins);
  const groups = await groupsOf({
    kubeconfig: values.get('kubeconfig'),
    context: values.get('context'),
    namespace: values.get('namespace'),
  });
  if (positionals.length === 1) return groups.map(({ metadata }) => metadata.name).filter(begins);
  return (groups.find(({ metadata }) => metadata.name === positionals[1])?.spec.nodes ?? []).filter(begins);
}

interface Read {
  readonly positionals: readonly string[];
  readonly values: ReadonlyMap<string, string>;
  /** The option whose value comes next. */
  readonly awaits: string | undefined;
}

/** A line that is being typed is not yet right, so nothing is refused here. */
function read(words: readonly string[], commands: readonly Command[]): Read {
  const options = new Map<string, OptionDefinition>(
    [SHARED_OPTIONS, ...commands.map((command) => command.options)].flatMap((some) => Object.entries(some)),
  );
  const positionals: string[] = [];
  const values = new Map<string, string>();
  let awaits: string | undefined;
  for (const word of words) {
    if (awaits !== undefined) {
      values.set(awaits, word);
      awaits = undefined;
      continue;
    }
    const [, dashes = '', name = '', value] = /^(--?)([^=]+)(?:=(.*))?$/.exec(word) ?? [];
    if (dashes === '') {
      positionals.push(word);
      continue;
    }
    const [long, option] =
      [...options].find(([one, { short }]) => (dashes === '--' ? one === name : short === name)) ?? [];
    if (long === undefined || option?.type !== 'string') continue;
    if (value === undefined) awaits = long;
    else values.set(long, value);
  }
  return { positionals, values, awaits };
}
