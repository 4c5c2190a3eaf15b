/** What a script learns of a command without reading its words. docs/cli.md lists them. */
export const EXIT = {
  /** All is well: everything is Ready, the move is made, the objective is met. */
  ok: 0,
  /** It could not be done or found out; stderr says why. */
  error: 1,
  /** The command line is wrong. */
  usage: 2,
  /** It was found out, and it is not well: something is not Ready, nobody would take over, the objective is missed. */
  notWell: 3,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The command line is wrong; the message says what to write instead. */
export class UsageError extends Error {
  override name = 'UsageError';
}
