import { expect, it } from 'vitest';
import { processTerminal } from '../../src/cli/terminal.ts';

const of = (isTTY: boolean, env: Record<string, string>) => {
  const stream = { isTTY, write: () => true } as unknown as NodeJS.WriteStream; // all that is asked of it
  const { live, colours } = processTerminal({ stdout: stream, stderr: stream, env });
  return { live, colours };
};

it('paints on a terminal alone, and not where NO_COLOR is set or the terminal is dumb', () => {
  expect(of(true, { TERM: 'xterm' })).toEqual({ live: true, colours: true });
  expect(of(true, { TERM: 'xterm', NO_COLOR: '1' })).toEqual({ live: true, colours: false });
  expect(of(true, { TERM: 'xterm', NO_COLOR: '' })).toEqual({ live: true, colours: true });
  expect(of(true, { TERM: 'dumb' })).toEqual({ live: false, colours: false });
  expect(of(false, { TERM: 'xterm' })).toEqual({ live: false, colours: false });
});
