import type { Command, OptionDefinition } from './command.ts';
import { SHARED_OPTIONS } from './commandline.ts';

/** `kubectl pointsman --help`. */
export function overview(commands: readonly Command[]): string {
  const rows = commands.map(({ name, takes, summary }) => [`${name} ${takes}`.trimEnd(), summary] as const);
  return `Sees and moves the groups of pointsman. It states wishes at most; the controller carries them out.

Usage: kubectl pointsman COMMAND [options]

${columns(rows)}
Options of all commands:
${optionRows(SHARED_OPTIONS)}
Exit codes: 0 all is well, 1 error, 2 wrong command line, 3 not well: not all Ready, or the objective missed.
`;
}

/** `kubectl pointsman COMMAND --help`. */
export function commandHelp({ name, takes, about, options, formats }: Command): string {
  const own = Object.keys(options).length === 0 ? '' : `Options:\n${optionRows(options)}\n`;
  const output = formats.length === 0 ? '' : `Output formats (-o): ${formats.join(', ')}\n\n`;
  return `${about}

Usage: kubectl pointsman ${`${name} ${takes}`.trimEnd()} [options]

${own}${output}Options of all commands:
${optionRows(SHARED_OPTIONS)}`;
}

function optionRows(options: Readonly<Record<string, OptionDefinition>>): string {
  return columns(
    Object.entries(options).map(([name, { short, value, about, default: initial }]) => {
      const word = `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
      return [word, initial === undefined ? about : `${about} Default: ${initial}.`] as const;
    }),
  );
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}   ${second}\n`).join('');
}
