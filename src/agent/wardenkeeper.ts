import { type ChildProcess, spawn } from 'node:child_process';
import { extname } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SYSTEM_PATH } from './chain.ts';
import { wardenMarkOf } from './mark.ts';
import { MARK } from './scan.ts';

/** Keeps a warden beside a shim: see docs/adr/0012-a-warden-for-each-shim.md. */
export interface WardenKeeper {
  /** The shim ends on purpose, with nothing left to end. */
  dismiss(): void;
}

export interface WardenConfig {
  /** The mark of what it ends. */
  readonly mark: string;
  readonly cgroup: string | undefined;
  /** Where the shim has said what descends from its process. */
  readonly acceptedFile: string;
}

/** Should it be killed alone. */
const AGAIN_MS = 1_000;

export function keepWarden(config: WardenConfig): WardenKeeper {
  let dismissed = false;
  let warden = start();

  function start(): ChildProcess {
    const program = [process.execPath, WARDEN, JSON.stringify(config)];
    const child = spawn('sh', ['-c', WAIT, 'pointsman-warden', config.cgroup ?? '', ...program], {
      cwd: '/',
      // Its own mark: what ends the group's processes must not end it, but whoever begins anew ends it first.
      env: { PATH: SYSTEM_PATH, [MARK]: wardenMarkOf(config.mark) },
      detached: true, // in a session of its own: what is sent to the shim's is not for it
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    child.unref();
    (child.stdin as Writable).on('error', () => {}); // stdio says "pipe"
    let over = false;
    const again = () => {
      if (over || dismissed) return;
      over = true;
      setTimeout(() => {
        if (!dismissed) warden = start();
      }, AGAIN_MS);
    };
    child.on('error', again);
    child.on('exit', again);
    return child;
  }

  return {
    dismiss: () => {
      dismissed = true;
      warden.stdin?.end('over\n');
    },
  };
}

/** Beside this file, whatever a bundler has called it. */
const WARDEN = fileURLToPath(new URL(`./warden${extname(import.meta.filename)}`, import.meta.url));

/**
 * A shell waits, because it needs a hundredth of the memory of Node, which is started when there is something to do. Only
 * the shim holds the other end of its input, so that ends with the shim and not before. The cgroup is killed at once and
 * without a fork: a machine that is out of memory may have no room for one.
 */
const WAIT = `
  trap '' TERM INT HUP
  { echo -1000 >/proc/self/oom_score_adj; } 2>/dev/null
  read -r word
  [ "$word" = over ] && exit 0
  [ -z "$1" ] || { echo 1 >"$1/cgroup.kill"; } 2>/dev/null
  shift
  for try in 1 2 3 4 5 6 7 8 9 10; do
    "$@" && exit 0
    sleep 0.2
  done
  exit 1`;
