import { describeError } from '../base/errors.ts';
import { createLog } from '../base/log.ts';
import { markOf } from './mark.ts';
import { type AgentOptions, readOptions } from './options.ts';
import { MARK } from './scan.ts';

/*
 * The start and the end of the agent's process; `agent.ts` is its map. SIGTERM ends it and leaves the user's processes
 * to the next agent: an upgrade is a restart.
 */

const VERSION = '0.1.0';

const options = readOptions(process.argv.slice(2), process.env, VERSION);
carryMark(options);
const log = createLog('agent', options.logLevel).with({ node: options.node });
const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort(new Error(signal)));

try {
  // Only now, so that the start under the mark is not the second time that everything is loaded.
  const { runAgent } = await import('./agent.ts');
  await runAgent(options, log, stop.signal);
  log.info('the agent ends; what it runs goes on until its deadline');
} catch (error) {
  if (!stop.signal.aborted) {
    log.error(describeError(error));
    process.exitCode = 1;
  }
}
// Sockets that are kept alive, and children that hang, must not keep us. The log is written in the background.
setTimeout(() => process.exit(), 50);

/**
 * The mark must stand in the environment that the kernel shows, so that a later agent finds this one, and finds a child
 * of it from its fork on: execve(2) alone writes that.
 */
function carryMark(o: AgentOptions): void {
  const mark = markOf(o.namespace, o.node);
  if (process.env[MARK] === mark) return;
  process.execve?.(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    ...process.env,
    [MARK]: mark,
  });
  throw new Error(`Cannot start the agent: Node ${process.version} has no process.execve; run Node 22.19 or later`);
}
