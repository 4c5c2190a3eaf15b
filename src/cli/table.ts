/** How well something is: what a colour says on a terminal. */
export type Mood = 'good' | 'bad' | 'doubtful' | 'plain';

export interface Cell {
  readonly text: string;
  readonly mood?: Mood;
}

/** Columns as kubectl writes them: upper-case headings, three spaces between, nothing behind the last. */
export function table(
  headings: readonly string[],
  rows: readonly (readonly (Cell | string)[])[],
  colours: boolean,
): string {
  const cells = [headings, ...rows].map((row) => row.map((cell) => (typeof cell === 'string' ? { text: cell } : cell)));
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]?.text.length ?? 0)));
  return cells.map((row) => `${line(row, widths, colours)}\n`).join('');
}

const GAP = '   ';

function line(row: readonly Cell[], widths: readonly number[], colours: boolean): string {
  return row
    .map((cell, column) => {
      const last = column === row.length - 1;
      return paint(cell, colours) + (last ? '' : ' '.repeat((widths[column] ?? 0) - cell.text.length) + GAP);
    })
    .join('')
    .trimEnd();
}

/** https://en.wikipedia.org/wiki/ANSI_escape_code#Colors: the sixteen that every palette has. */
const CODES: Readonly<Record<Exclude<Mood, 'plain'>, number>> = { good: 32, bad: 31, doubtful: 33 };

export function paint({ text, mood = 'plain' }: Cell, colours: boolean): string {
  if (!colours || mood === 'plain' || text === '') return text;
  return `\u001b[${CODES[mood]}m${text}\u001b[0m`;
}
