import { MARK } from './scan.ts';
import { CHAIN_EXIT, type RunSpec } from './shim-protocol.ts';

/**
 * The programs from the shim to the user's: each execs the next, so that it stays one process, a child of the shim.
 *
 * That process dies with the shim (PR_SET_PDEATHSIG). The setting is not inherited over a fork, is cleared by a change
 * of user, and comes too late for a parent that has died before it: so each change sets it again, and the last link looks
 * whether its parent is still the shim (PR_SET_PDEATHSIG(2const)); before it nothing of the user's runs, and each link
 * more would be on the way of every start. `--no-new-privs`, because a set-user-ID
 * program would clear it too.
 *
 * Nothing of the user's environment is in force before the user's own rights are: LD_PRELOAD would run code as root.
 * It travels under another name, and the last link gives it its own.
 */
export function chain(run: RunSpec, mark: string, shimPid: number) {
  const names = Object.keys(run.env);
  const args = [
    ['--pdeathsig', 'KILL'],
    run.lock === undefined
      ? []
      : ['flock', '--no-fork', '--nonblock', '--conflict-exit-code', String(CHAIN_EXIT.lockHeld), run.lock],
    ['setpriv', '--reuid', String(run.uid), '--regid', String(run.gid)],
    ['--init-groups', '--no-new-privs', '--pdeathsig', 'KILL'],
    ['sh', '-c', lastLink(names), 'pointsman', String(shimPid), run.workingDirectory],
    run.command,
  ].flat();
  const env: Record<string, string> = { PATH: SYSTEM_PATH, [MARK]: mark };
  for (const [name, value] of Object.entries(run.env)) env[`${CARRIED}${name}`] = value;
  return { file: 'setpriv', args, env };
}

/** Where the chain says that it has come to the user's program. */
export const STAGE_FD = 3;
/** Where the shim says that it may: once it is in its cgroup. */
export const GO_FD = 4;
export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const CARRIED = 'POINTSMAN_ENV_';

function lastLink(names: readonly string[]): string {
  const given = names.map((name) => `export ${name}="$${CARRIED}${name}"; unset ${CARRIED}${name}`);
  return [
    `[ "$PPID" = "$1" ] || exit ${CHAIN_EXIT.parentGone}`,
    `read -r go <&${GO_FD} || exit ${CHAIN_EXIT.parentGone}`,
    `exec ${GO_FD}<&-`,
    'umask 022',
    `cd -- "$2" || exit ${CHAIN_EXIT.directory}`,
    'shift 2',
    ...given,
    `echo x >&${STAGE_FD}`,
    `exec ${STAGE_FD}>&-`,
    'exec "$@"',
  ].join('; ');
}
