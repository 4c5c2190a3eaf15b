import { describeError } from '../base/errors.ts';
import { Throttled, Unanswered } from '../kube/errors.ts';
import { changes, type Lines, linesOf } from './changes.ts';
import { readCluster } from './cluster.ts';
import type { Command } from './command.ts';
import { ALL_NAMESPACES } from './commandline.ts';
import { EXIT, UsageError } from './exit.ts';
import { ofGroup } from './status.ts';
import { statusText } from './statustext.ts';
import { statusView } from './statusview.ts';
import { timeoutOf, timeoutOption } from './timeout.ts';

export const watch: Command = {
  name: 'watch',
  takes: '[GROUP]',
  least: 0,
  most: 1,
  summary: 'The status, live: drawn anew on a terminal, else a line for each change',
  about: `On a terminal the screen of status, drawn anew; else, or with --lines, a line for each object that changed.

Ends on Ctrl-C, with exit code 0. While the API server is away it says so, and goes on.`,
  options: {
    ...ALL_NAMESPACES,
    interval: timeoutOption('The time between two looks.', '1s'),
    lines: { type: 'boolean', default: false, about: 'Lines on a terminal too.' },
  },
  formats: ['wide'],
  async run({ words: [name], options, allNamespaces, format, terminal, clock, signal, connect }) {
    if (allNamespaces && name !== undefined)
      throw new UsageError('A group is in one namespace: write either its name or --all-namespaces');
    const intervalMs = Math.max(SHORTEST_MS, timeoutOf(options['interval']));
    const { api, namespace } = connect();
    const live = terminal.live && options['lines'] !== true;
    let before: Lines = new Map();
    let picture = '';
    let silent = false;
    try {
      for (;;) {
        try {
          const all = await readCluster(api, allNamespaces ? undefined : namespace, { signal });
          const cluster = name === undefined ? all : ofGroup(name, namespace, all);
          const wall = clock.wall();
          const view = statusView(cluster, wall.getTime());
          if (silent && !live) terminal.err(`${wall.toISOString()}  the API server answers again\n`);
          silent = false;
          if (live) {
            const nowMs = wall.getTime();
            picture = statusText(view, { wide: format === 'wide', allNamespaces, colours: terminal.colours, nowMs });
            terminal.out(drawn(`${wall.toISOString()}\n\n${picture}`));
          } else {
            const now = linesOf(view, allNamespaces);
            for (const line of changes(before, now, wall.toISOString())) terminal.out(`${line}\n`);
            before = now;
          }
        } catch (error) {
          if (!(error instanceof Unanswered || error instanceof Throttled)) throw error;
          const words = `${clock.wall().toISOString()}  ${describeError(error)}`;
          if (live) terminal.out(drawn(`${words}\n\n${picture}`));
          else if (!silent) terminal.err(`${words}\n`);
          silent = true;
        }
        await clock.sleep(intervalMs, signal);
      }
    } catch (error) {
      if (signal.aborted) return EXIT.ok;
      throw error;
    }
  },
};

/** A look is five lists. */
const SHORTEST_MS = 100;

/** From the top left corner, each line cleared to its end, then all below: without the flicker of an empty screen. */
export function drawn(text: string): string {
  return `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[J`;
}
