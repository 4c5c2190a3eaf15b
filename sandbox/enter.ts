import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toolPath } from '../tools/locate.ts';
import { enterSandbox, enterServer, findSandboxes, findServer } from './find.ts';
import { INSIDE } from './inside-api.ts';
import { PLACES, SERVERS, type ServerName } from './topology.ts';

/**
 * A shell in a running sandbox, or one command in it; `HELP` says how. Its code is that of the command; that of a
 * shell, which is the one of whatever was typed last, is no error.
 */
const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const PLACE_NAMES = ['host', ...PLACES, 'router', 'control'];
const HELP = `Usage: node_modules/.bin/node sandbox/enter.ts [PLACE [COMMAND…]]

A shell, or one command, at a place of the sandbox that \`make demo KEEP=1\` left running:

  host                 this machine, with kubectl and kubectl pointsman as admin (the default)
  server1, server2     a server, with its own files, processes and network
  client, controller   the network of that host
  router               the network of the VPC's router
  control              the network of the API server and AWS; logs in ${INSIDE.logs}

With several sandboxes, SANDBOX=pid chooses.
`;
const [place = 'host', ...command] = process.argv.slice(2);
if (place === '--help' || place === '-h') {
  process.stdout.write(HELP);
  process.exit(0);
}
if (!PLACE_NAMES.includes(place)) fail(2, `There is no place "${place}"; choose one of ${PLACE_NAMES.join(', ')}`);
const running = findSandboxes();
const wanted = Number(process.env['SANDBOX'] ?? running[0]);
if (!running.includes(wanted) || (running.length > 1 && process.env['SANDBOX'] === undefined)) {
  const present =
    running.length === 0
      ? 'none runs; start one with: make demo KEEP=1'
      : `SANDBOX=pid chooses one of ${running.join(', ')}`;
  fail(2, `Cannot enter a sandbox: ${present}`);
}
const kubectl = await toolPath('kubectl');
const env = {
  ...process.env,
  KUBECONFIG: `/proc/${wanted}/root${INSIDE.kubeconfig}`,
  // With `kubectl pointsman`, and the Node that runs it.
  PATH: [dirname(kubectl), DIST, dirname(process.execPath), process.env['PATH']].join(':'),
  PS1: `[sandbox: ${place}] \\w\\$ `,
};
// Without its rc files, which would set another prompt.
const [file = '', ...args] = [...entrance(), ...(command.length > 0 ? command : ['bash', '--norc'])];
const { status, error } = spawnSync(file, args, { stdio: 'inherit', env });
if (error) fail(127, `Cannot run ${file}: ${error.message}`);
process.exit(command.length > 0 ? (status ?? 1) : 0);

function entrance(): string[] {
  if (place === 'host') return [];
  if (place === 'control') return enterSandbox(wanted);
  if (!SERVERS.includes(place as ServerName)) return enterSandbox(wanted, place);
  const server = findServer(wanted, place as ServerName); // just looked up
  if (server === undefined) fail(1, `Cannot enter ${place}: it has no power`);
  return enterServer(server);
}

function fail(code: number, message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}
