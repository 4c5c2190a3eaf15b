/** Where the progress of a long wait is told. */
export interface Progress {
  /** Something began that usually takes `usuallySeconds`. The returned function says that it ended, and how. */
  start(what: string, usuallySeconds: number): (outcome: string) => void;
}

const SPOKEN_EVERY_MS = 30_000;

/** One line that is rewritten each second on a terminal; elsewhere a line at the start, every 30 s, and at the end. */
export function showProgress(to: NodeJS.WriteStream = process.stderr): Progress {
  return {
    start(what, usuallySeconds) {
      const began = performance.now();
      const line = () => `${what}: ${seconds(began)} (usually ${usuallySeconds} s)`;
      const show = to.isTTY ? () => to.write(`\r\u001b[K${line()}`) : () => to.write(`${line()}\n`);
      show();
      const timer = setInterval(show, to.isTTY ? 1000 : SPOKEN_EVERY_MS);
      timer.unref();
      return (outcome) => {
        clearInterval(timer);
        to.write(`${to.isTTY ? '\r\u001b[K' : ''}${what}: ${outcome} after ${seconds(began)}\n`);
      };
    },
  };
}

/** Says nothing: for tests. */
export const silentProgress: Progress = { start: () => () => {} };

function seconds(sinceMs: number): string {
  return `${Math.round((performance.now() - sinceMs) / 1000)} s`;
}
