/** Where a command's words go. Results and progress are apart, so that a script can read the one and show the other. */
export interface Terminal {
  /** Results: stdout. */
  out(text: string): void;
  /** Progress, and what went wrong: stderr. */
  err(text: string): void;
  /** Whether stdout is a terminal, on which a picture can be drawn anew. */
  readonly live: boolean;
  readonly colours: boolean;
}

/** The real one. Colours follow https://no-color.org and the terminal itself. */
export function processTerminal(process: {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}): Terminal {
  const { stdout, stderr, env } = process;
  const live = stdout.isTTY === true && env['TERM'] !== 'dumb';
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    live,
    colours: live && !env['NO_COLOR'],
  };
}
