import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { FailoverGroupSpec } from '../crds/failovergroup.ts';
import type { Problem } from '../decide/agent.ts';
import { type Account, commandProblem, lookUpAccount, readPolicy, refusal } from './policy.ts';

/** What the host says about a process: allowed, there, and as whom it runs. Never waits. */
export interface Host {
  look(spec: FailoverGroupSpec): { readonly problem: Problem } | { readonly problem?: undefined; account: Account };
}

export interface HostOptions {
  readonly policyFile: string;
  readonly clock: Clock;
  readonly onChange: () => void;
}

const LOOK_UP_AGAIN_MS = 60_000;
const RETRY_MS = 2_000;

interface Known {
  readonly account?: Account | undefined;
  readonly problem?: Problem;
  readonly untilMs: number;
}

export function createHost({ policyFile, clock, onChange }: HostOptions): Host {
  const accounts = new Map<string, Known>();
  const asked = new Set<string>();

  function look({ process, sharedDisk }: FailoverGroupSpec): ReturnType<Host['look']> {
    const { policy, problem: unreadable } = readPolicy(policyFile);
    const refused = refusal(process, policy, policyFile);
    if (refused !== undefined) {
      return { problem: unreadable === undefined ? refused : { ...refused, message: unreadable } };
    }
    const [command = ''] = process.command;
    const missing = command.startsWith(`${sharedDisk.mountPath}/`) ? undefined : commandProblem(command);
    if (missing !== undefined) return { problem: missing };
    const known = accounts.get(process.user);
    if ((known === undefined || clock.nowMs() >= known.untilMs) && !asked.has(process.user)) void lookUp(process.user);
    if (known?.account !== undefined) return { account: known.account };
    const message = `Cannot run as user "${process.user}": it is being looked up`;
    return { problem: known?.problem ?? { reason: 'UserUnknown', message } };
  }

  async function lookUp(user: string): Promise<void> {
    asked.add(user);
    let found: Known;
    try {
      const account = await lookUpAccount(user);
      found =
        account === undefined
          ? {
              problem: {
                reason: 'UserUnknown',
                message: `Cannot run as user "${user}": this host has no such user; create it (useradd --system ${user})`,
              },
              untilMs: clock.nowMs() + RETRY_MS,
            }
          : { account, untilMs: clock.nowMs() + LOOK_UP_AGAIN_MS };
    } catch (error) {
      // A user that was known stays known: the directory service may be away.
      const problem = { reason: 'UserUnknown', message: describeError(error) };
      found = { account: accounts.get(user)?.account, problem, untilMs: clock.nowMs() + RETRY_MS };
    }
    asked.delete(user);
    const before = accounts.get(user);
    accounts.set(user, found);
    if (JSON.stringify({ ...before, untilMs: 0 }) !== JSON.stringify({ ...found, untilMs: 0 })) onChange();
  }

  return { look };
}
