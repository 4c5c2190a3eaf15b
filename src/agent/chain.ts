import { MARK } from './scan.ts';
import { CHAIN_EXIT, type RunSpec } from './shim-protocol.ts';

/**
 * The programs from the shim to the user's: each execs the next, so that it stays one process, a child of the shim.
 *
 * That process dies with the shim (PR_SET_PDEATHSIG). The setting is not inherited over a fork, is cleared by a change
 * of user, and comes too late for a parent that has died before it: so each link that loses it sets it again and then
 * looks whether its parent is still the shim (PR_SET_PDEATHSIG(2const)). `--no-new-privs`, because a set-user-ID
 * program would clear it too.
 *
 * Nothing of the user's environment is in force before the user's own rights are: LD_PRELOAD would run code as root.
 * It travels under another name, and the last link gives it its own.
 */
export function chain(run: RunSpec, mark: string, cgroup: string | undefined, shimPid: number) {
  const names = Object.keys(run.env);
  const args = [
    ['--pdeathsig', 'KILL'],
    ['sh', '-c', ENTER, 'pointsman', String(shimPid), cgroup === undefined ? '' : `${cgroup}/cgroup.procs`],
    run.lock === undefined
      ? []
      : [
          ...['flock', '--no-fork', '--nonblock', '--conflict-exit-code', String(CHAIN_EXIT.lockHeld), run.lock.file],
          ...['sh', '-c', SIGN, 'pointsman', run.lock.file, run.lock.holder],
        ],
    ['setpriv', '--reuid', String(run.uid), '--regid', String(run.gid)],
    ['--init-groups', '--no-new-privs', '--pdeathsig', 'KILL'],
    ['sh', '-c', lastLink(names), 'pointsman', String(shimPid), run.workingDirectory],
    run.command,
  ].flat();
  const env: Record<string, string> = { PATH: SYSTEM_PATH, [MARK]: mark };
  for (const [name, value] of Object.entries(run.env)) env[`${CARRIED}${name}`] = value;
  return { file: 'setpriv', args, env };
}

/** The descriptor on which the chain tells how far it has come. */
export const STAGE_FD = 3;
export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const CARRIED = 'POINTSMAN_ENV_';
const PARENT_IS_SHIM = `[ "$PPID" = "$1" ] || exit ${CHAIN_EXIT.parentGone}`;

/** Into the cgroup before anything else can be forked; 0 is the writer itself (cgroups(7)). */
const ENTER = `${PARENT_IS_SHIM}; if [ -n "$2" ]; then echo 0 > "$2" || exit ${CHAIN_EXIT.cgroup}; fi; shift 2; exec "$@"`;

/** Who holds the lock, for whoever is refused. Best effort. */
const SIGN = `echo l >&${STAGE_FD}; echo "$2" > "$1"; shift 2; exec "$@"`;

function lastLink(names: readonly string[]): string {
  const given = names.map((name) => `export ${name}="$${CARRIED}${name}"; unset ${CARRIED}${name}; `).join('');
  return `${PARENT_IS_SHIM}; umask 022; cd -- "$2" || exit ${CHAIN_EXIT.directory}; shift 2; ${given}echo x >&${STAGE_FD}; exec ${STAGE_FD}>&-; exec "$@"`;
}
