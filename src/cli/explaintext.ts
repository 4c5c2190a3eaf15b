import type { Explanation, Term } from './explanation.ts';
import { tookWords } from './words.ts';

/** The sum, term by term, then what the controller would say on the way. */
export function explainText(explanation: Explanation): string {
  const { node, group, others, takenOver, held, said } = explanation;
  const lines = said.map(({ atMs, reason, message }) => `${time(atMs)}  ${reason}: ${message}\n`).join('');
  const way = `\nWhat the controller would say, from the last sign of life of ${node} on:\n${lines}`;
  if (!takenOver) {
    const unfit = others.map(({ name, reason, message }) => `  ${name}: ${reason}: ${message}\n`).join('');
    const whoElse = unfit === '' ? '\nIt has no other node.\n' : `\nThe other nodes, as they are now:\n${unfit}`;
    const why = held ? `${held.reason}: ${held.message}` : '';
    return `If ${node} died now, nothing would take over ${group}:\n\n  ${why}\n${whoElse}${way}`;
  }
  const { by, terms, totalMs, measured, renewEveryMs } = takenOver;
  const about = measured ? `about ${tookWords(totalMs)}` : `${tookWords(totalMs)}, and what was never measured yet`;
  const total = `${time(totalMs)}  ${measured ? 'in all' : 'at least'}, from the last sign of life of ${node}, which may be ${tookWords(renewEveryMs)} older than its death`;
  return `If ${node} died now, ${by} would serve ${group} after ${about}:\n\n${terms.map(termLine).join('')}${total}\n${way}`;
}

function termLine({ what, ms, source }: Term): string {
  const from = source === undefined ? '' : ` (${source})`;
  return `${ms === undefined ? '?'.padStart(WIDTH) : time(ms)}  ${what}${from}\n`;
}

const WIDTH = 10;

function time(ms: number): string {
  return tookWords(ms).padStart(WIDTH);
}
