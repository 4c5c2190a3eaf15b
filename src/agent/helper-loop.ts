import { createInterface } from 'node:readline';
import { explainDiskError } from './diskerror.ts';

/**
 * The side of a helper process: a JSON request a line on stdin, a JSON answer a line on stdout, one after the other.
 * Ends with stdin, so it never outlives its agent but while it hangs.
 */
export function serveRequests(handle: (request: never) => unknown): void {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    process.stdout.write(`${JSON.stringify(answerTo(() => handle(JSON.parse(line) as never)))}\n`);
  });
  lines.on('close', () => process.exit(0));
  process.stdout.on('error', () => process.exit(0)); // nobody is there to hear the answer
}

function answerTo(act: () => unknown): { value: unknown } | { error: string } {
  try {
    return { value: act() ?? null };
  } catch (error) {
    return { error: explainDiskError(error) };
  }
}
