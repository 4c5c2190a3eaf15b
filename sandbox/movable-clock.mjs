import { readFileSync } from 'node:fs';

/**
 * Preloaded into the agent (`--import`): its wall clock is off by what a file says, in milliseconds, and follows it
 * while it runs. Linux has no namespace for CLOCK_REALTIME (time_namespaces(7)), so this is where a server's clock can
 * be wrong: in everything that Node's `Date` tells. Timers, CLOCK_BOOTTIME and what OpenSSL reads are untouched.
 */
const FILE = '/etc/pointsman/clock-offset-ms';
const LOOK_EVERY_MS = 100;
const TrueDate = Date;
let offsetMs = 0;

function look() {
  try {
    offsetMs = Number(readFileSync(FILE, 'utf8')) || 0;
  } catch {
    offsetMs = 0;
  }
}
look();
setInterval(look, LOOK_EVERY_MS).unref();

globalThis.Date = class extends TrueDate {
  constructor(...args) {
    if (args.length === 0) super(TrueDate.now() + offsetMs);
    else super(...args);
  }
  static now() {
    return TrueDate.now() + offsetMs;
  }
};
