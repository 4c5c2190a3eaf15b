import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { toolPath } from '../tools/locate.ts';
import { enterSandbox, enterServer, findSandboxes, findServer } from './find.ts';
import { INSIDE } from './inside-api.ts';
import { SERVERS, type ServerName } from './topology.ts';

/**
 * A shell in a running sandbox, or one command: `node sandbox/enter.ts [PLACE [COMMAND…]]`, where PLACE is `host` (this
 * host, with kubectl as admin; the default), `server1`, `server2`, `client`, `controller`, `router` or `control`. With
 * several sandboxes, `SANDBOX=pid` chooses.
 */
const [place = 'host', ...command] = process.argv.slice(2);
const running = findSandboxes();
const wanted = Number(process.env['SANDBOX'] ?? running[0]);
if (!running.includes(wanted) || (running.length > 1 && process.env['SANDBOX'] === undefined)) {
  const present =
    running.length === 0
      ? 'none runs; start one with: make demo KEEP=1'
      : `SANDBOX=pid chooses one of ${running.join(', ')}`;
  process.stderr.write(`Cannot enter a sandbox: ${present}\n`);
  process.exit(2);
}
const kubectl = await toolPath('kubectl');
const env = {
  ...process.env,
  KUBECONFIG: `/proc/${wanted}/root${INSIDE.kubeconfig}`,
  PATH: `${dirname(kubectl)}:${process.env['PATH']}`,
};
const [file = '', ...args] = [...entrance(), ...(command.length > 0 ? command : ['bash'])];
const { status } = spawnSync(file, args, { stdio: 'inherit', env });
process.exit(status ?? 1);

function entrance(): string[] {
  if (place === 'host') return [];
  if (place === 'control') return enterSandbox(wanted);
  if (!SERVERS.includes(place as ServerName)) return enterSandbox(wanted, place);
  const server = findServer(wanted, place as ServerName); // just looked up
  if (server === undefined) {
    process.stderr.write(`Cannot enter ${place}: it has no power\n`);
    process.exit(1);
  }
  return enterServer(server);
}
