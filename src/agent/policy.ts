import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { describeError } from '../base/errors.ts';
import type { FailoverGroupSpec } from '../crds/failovergroup.ts';
import type { Problem } from '../decide/agent.ts';
import { SYSTEM_PATH } from './chain.ts';

/**
 * What the owner of this host lets a FailoverGroup run. A FailoverGroup is a command that runs here, written by whoever
 * may write to the cluster; this file, on the host, has the last word. What it does not list is refused.
 */
const policySchema = z.strictObject({
  commands: z.array(z.string().startsWith('/')).default([]),
  users: z.array(z.string()).default([]),
});
export type Policy = z.output<typeof policySchema>;

/** The user that a process runs as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** Undefined: it may run. */
export function refusal(process: FailoverGroupSpec['process'], policy: Policy, file: string): Problem | undefined {
  const command = process.command[0] ?? '';
  if (!policy.commands.includes(command)) {
    const message = `Cannot run "${command}": commands in ${file} does not list it; add the line "- ${command}" under commands`;
    return { reason: 'CommandNotAllowed', message };
  }
  if (!policy.users.includes(process.user)) {
    const message = `Cannot run as user "${process.user}": users in ${file} does not list it; add the line "- ${process.user}" under users`;
    return { reason: 'UserNotAllowed', message };
  }
  // The dynamic linker obeys these (ld.so(8)): with one, an allowed command runs anything.
  const loader = process.env.find(({ name }) => name.startsWith('LD_') || name === 'GLIBC_TUNABLES');
  if (loader === undefined) return undefined;
  const message = `Cannot set "${loader.name}": it lets an allowed command run code that ${file} does not list; take it out of env`;
  return { reason: 'CommandNotAllowed', message };
}

/** Nothing is allowed while there is no file that can be read. `problem` then says why. */
export function readPolicy(file: string): { policy: Policy; problem?: string } {
  const nothing = { commands: [], users: [] };
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return { policy: nothing, problem: `Cannot read ${file}: ${describeError(error)}; write it: ${EXAMPLE}` };
  }
  try {
    const read = policySchema.safeParse(parse(text) ?? {});
    if (read.success) return { policy: read.data };
    const wrong = read.error.issues.map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': '));
    return { policy: nothing, problem: `Cannot use ${file}: ${oneLine(wrong.join('; '))}; write it as ${EXAMPLE}` };
  } catch (error) {
    return { policy: nothing, problem: `Cannot use ${file}: it is no YAML: ${oneLine(describeError(error))}` };
  }
}

const EXAMPLE = '{ commands: [/usr/local/bin/minio], users: [minio] }';
const LINE_MAX = 300;

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, LINE_MAX);
}

/** Whether the command is there. Only asked where it does not lie on the shared disk, which might hang. */
export function commandProblem(command: string): Problem | undefined {
  try {
    if (!statSync(command).isFile()) throw new Error('it is no file');
    accessSync(command, constants.X_OK);
    return undefined;
  } catch (error) {
    const message = `Cannot run "${command}": ${describeError(error)}; install it, or make it executable`;
    return { reason: 'CommandMissing', message };
  }
}

const LOOKUP = { timeout: 2_000, killSignal: 'SIGKILL', env: { PATH: SYSTEM_PATH } } as const;

/** By getent(1), which asks whatever the host keeps its users in. Undefined when there is no such user. */
export function lookUpAccount(user: string): Promise<Account | undefined> {
  return new Promise((resolve, reject) => {
    execFile('getent', ['passwd', user], LOOKUP, (error, stdout) => {
      const [, , uid, gid, , home] = stdout.trim().split(':');
      if (error === null && uid !== undefined && gid !== undefined) {
        resolve({ uid: Number(uid), gid: Number(gid), home: home || '/' });
      } else if (error !== null && error.code === NOT_FOUND) resolve(undefined);
      else reject(new Error(`Cannot look up user "${user}": ${error?.message ?? 'getent says nothing'}`));
    });
  });
}

/** getent(1): "one or more supplied key could not be found". */
const NOT_FOUND = 2;
