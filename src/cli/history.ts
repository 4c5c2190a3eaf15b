import type { Move } from '../crds/failovergroup.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit.ts';
import { findGroup } from './find.ts';
import { stepsOf } from './moveprogress.ts';
import { asData } from './output.ts';
import { moveView } from './statusview.ts';
import { table } from './table.ts';
import { ageWords, tookWords } from './words.ts';

export const history: Command = {
  name: 'history',
  takes: 'GROUP',
  least: 1,
  most: 1,
  summary: 'The last moves of a group: why, by which proof, and how long each step took',
  about: `The move under way or the last one, then those before it, newest first, as the group's status keeps them.

Times are from the first sign that the move was needed: the last renewal seen of a lost node, or the request.`,
  options: {},
  formats: ['json', 'yaml'],
  async run({ words, format, terminal, clock, signal, connect }) {
    const group = await findGroup(connect(), words[0] ?? '', signal);
    const moves = [...(group.status?.move ? [group.status.move] : []), ...(group.status?.history ?? [])];
    if (format === 'json' || format === 'yaml') terminal.out(asData(moves.map(moveView), format));
    else if (moves.length === 0) terminal.err(`${group.metadata.name} has not been moved or started yet\n`);
    else terminal.out(historyText(moves, clock.wall().getTime(), terminal.colours));
    return EXIT.ok;
  },
};

/** A table, then each move's reason and timeline in the same order. */
export function historyText(moves: readonly Move[], nowMs: number, colours: boolean): string {
  const headings = ['EPOCH', 'AGO', 'FROM', 'TO', 'WHY', 'PROOF', 'SERVED AFTER'];
  const rows = moves.map((move, index) => {
    const { servedAfterMs } = moveView(move);
    const unserved = index === 0 ? { text: 'under way', mood: 'doubtful' as const } : 'never';
    return [
      String(move.epoch ?? '-'),
      ageWords(nowMs - Date.parse(move.startedAt)),
      move.from ?? '-',
      move.to ?? '-',
      move.reason,
      move.proof ?? '-',
      servedAfterMs === undefined ? unserved : tookWords(servedAfterMs),
    ];
  });
  const told = moves.map((move) => `${epochWords(move)}, ${move.startedAt}: ${move.message}\n  ${timeline(move)}\n`);
  return `${table(headings, rows, colours)}\n${told.join('')}`;
}

function epochWords({ epoch }: Move): string {
  return epoch === undefined ? 'under way' : `epoch ${epoch}`;
}

/** `detected 0 ms → released 90 ms → assigned 96 ms → …`. */
function timeline(move: Move): string {
  return stepsOf(move)
    .map(({ step, ms }) => `${step.replace(/Ms$/, '')} ${tookWords(ms)}`)
    .join(' → ');
}
