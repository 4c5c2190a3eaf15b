import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import { complete } from './candidates.ts';
import type { Connection } from './command.ts';
import { parseCommandLine } from './commandline.ts';
import { commands } from './commands.ts';
import { connect } from './connection.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { commandHelp, overview } from './help.ts';
import type { Terminal } from './terminal.ts';

export interface Surroundings {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** What shells ask; no command, so the help does not list it. The name is cobra's. */
export const COMPLETE = '__complete';

/** `kubectl pointsman ARGS`, from the words to the exit code. Never throws. */
export async function run(args: readonly string[], { terminal, clock, env, signal }: Surroundings): Promise<ExitCode> {
  if (args[0] === COMPLETE) {
    terminal.out(await complete(args.slice(1), commands, (where) => connect(where, env)));
    return EXIT.ok;
  }
  let connection: Connection | undefined;
  try {
    const { command, words, options, format } = parseCommandLine(args, commands);
    if (command === undefined || options['help'] === true) {
      const help = command ? commandHelp(command) : overview(commands);
      if (command === undefined && options['help'] !== true) {
        terminal.err(help);
        return EXIT.usage;
      }
      terminal.out(help);
      return EXIT.ok;
    }
    const text = (name: string) => (typeof options[name] === 'string' ? options[name] : undefined);
    const where = { kubeconfig: text('kubeconfig'), context: text('context'), namespace: text('namespace') };
    return await command.run({
      words,
      options,
      format,
      allNamespaces: options['all-namespaces'] === true,
      terminal,
      clock,
      signal,
      connect: () => {
        connection ??= connect(where, env);
        return connection;
      },
    });
  } catch (error) {
    // What the client's errors say is for those who ask on and on; a command ends here.
    terminal.err(`error: ${describeError(error).replace('; it is tried again', '; try again')}\n`);
    return error instanceof UsageError ? EXIT.usage : EXIT.error;
  } finally {
    await connection?.api.close();
  }
}
