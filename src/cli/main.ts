#!/usr/bin/env node
// `kubectl pointsman`: kubectl finds a program of this name on the PATH and hands it the arguments.
import { basename } from 'node:path';
import { bootClock } from '../base/clock.ts';
import { COMPLETE, run } from './run.ts';
import { processTerminal } from './terminal.ts';

const stop = new AbortController();
process.once('SIGINT', () => stop.abort(new Error('Stopped by Ctrl-C')));
process.once('SIGTERM', () => stop.abort(new Error('Stopped by SIGTERM')));
// A reader that has left, as `head` does, ends the program quietly, as it does any other.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const [, program = '', ...args] = process.argv;
// kubectl asks a program of this name for completions (https://github.com/kubernetes/kubernetes/pull/105867); it is a link.
const asked = basename(program).startsWith('kubectl_complete-') ? [COMPLETE, ...args] : args;

// Not `process.exit`: what is still on its way through a pipe would be cut off.
process.exitCode = await run(asked, {
  terminal: processTerminal(process),
  clock: bootClock,
  env: process.env,
  signal: stop.signal,
});
