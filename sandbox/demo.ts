// `make demo`: the article's cluster from `kubectl apply` to an object read on the other server, and what goes wrong.
import { describeError } from '../src/base/errors.ts';
import type { FailoverGroup } from '../src/crds/failovergroup.ts';
import { type Cluster, conditionOf, EXAMPLE, lookAt, NAMESPACE, readyOf, VIP } from './cluster.ts';
import { bareRestart, killedProcess, type Outage, plannedMove, powerCut, redundant } from './outages.ts';
import { startProber } from './prober.ts';
import { startS3 } from './s3.ts';
import { type Sandbox, startSandbox } from './sandbox.ts';

const keep = process.argv.includes('--keep');
const colours = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
const bold = (text: string) => (colours ? `\x1b[1m${text}\x1b[0m` : text);
const startedMs = performance.now();
const elapsed = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`.padStart(7);
const say = (text: string) => process.stdout.write(`${elapsed()}  ${text}\n`);
const detail = (text: string) => process.stdout.write(`         ${text}\n`);
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

let sandbox: Sandbox | undefined;
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => reject(new Error(`interrupted by ${signal}`)));
});
try {
  await Promise.race([play(), interrupted]);
  if (keep) await Promise.race([new Promise(() => setInterval(() => {}, 60_000)), interrupted]);
} catch (error) {
  const wanted = keep && describeError(error).startsWith('interrupted');
  if (!wanted) process.stdout.write(`\n${describeError(error)}\n`);
  if (!wanted && sandbox) process.stdout.write(`--- the controller's last lines\n${sandbox.controller.log(15)}\n`);
  process.exitCode = wanted ? 0 : 1;
} finally {
  await sandbox?.stop();
  if (keep && process.exitCode === 0) process.stdout.write('\nended; nothing is left\n');
}
process.exit();

async function play(): Promise<void> {
  process.stdout.write(
    bold('The VPC of the article on this machine: two servers in two zones, a client, AWS, Kubernetes\n'),
  );
  sandbox = await startSandbox({
    onProgress: ({ step, tookMs }) => tookMs !== undefined && say(`${step} (${tookMs} ms)`),
  });
  const cluster = lookAt(sandbox);

  process.stdout.write(bold(`\nkubectl apply --server-side -f manifests/examples/minio.yaml\n`));
  process.stdout.write(indent(await sandbox.kubectl(['apply', '--server-side', '-f', EXAMPLE])));
  await ready(cluster);
  const service = startProber(sandbox, { host: VIP, port: 9000, path: '/minio/health/cluster' });
  const consoles = startProber(sandbox, { host: VIP, port: 9090, path: '/', everyMs: 50 });
  await service.untilUp(20_000);
  await tell(cluster);

  process.stdout.write(bold('\nSection 4 of the article: a bucket, a file, a move to the other server\n'));
  const s3 = await startS3(sandbox, {
    endpoint: `http://${VIP}:9000`,
    accessKeyId: 'minioadmin',
    secretAccessKey: 'minioadmin',
  });
  await consoles.untilUp(20_000);
  say(`the console of MinIO answers at http://${VIP}:9090`);
  await s3.createBucket('test');
  await s3.putObject('test', 'test.txt', 'hello from server1\n');
  say('bucket "test" created, test.txt uploaded through the VIP');
  const bareMs = await bareRestart(cluster);
  say(
    `for comparison, the same MinIO stopped and started by a shell on one server: ${seconds(bareMs)} without an answer`,
  );
  const move = await plannedMove(cluster, service);
  say(`kubectl annotate failovergroup/failover pointsman.dev/move-to=${move.group.status?.activeNode}`);
  report(move, bareMs);
  await tell(cluster);
  say(`test.txt read through the VIP: ${JSON.stringify(await s3.getObject('test', 'test.txt'))}`);
  await consoles.untilUp(20_000);
  say(`the console of MinIO answers at http://${VIP}:9090`);

  process.stdout.write(bold('\nMinIO is killed\n'));
  const epoch = (await cluster.group()).status?.assignment?.epoch;
  const killed = await killedProcess(cluster, service);
  report(killed, bareMs, killed.group.status?.assignment?.epoch === epoch);
  await tell(cluster);

  const { activeNode } = (await cluster.group()).status ?? {};
  process.stdout.write(bold(`\nThe power of ${activeNode} is cut\n`));
  const cut = await powerCut(cluster, service);
  report(cut, bareMs);
  await tell(cluster);
  say(`test.txt read through the VIP: ${JSON.stringify(await s3.getObject('test', 'test.txt'))}`);
  say(`${cut.server} boots again`);
  await sandbox.server(cut.server).boot();
  await redundant(cluster);
  say(`${conditionOf(await cluster.group(), 'Degraded')?.message}`);

  process.stdout.write(`\n${indent(await sandbox.kubectl(['get', 'fog,vip,dm,fn', '-n', NAMESPACE]))}`);
  await Promise.all([s3.stop(), service.stop(), consoles.stop()]);
  await cluster.close();
  if (keep) howToLook(sandbox);
}

/** Shows why it is not Ready yet, whenever that changes. */
async function ready(cluster: Cluster): Promise<void> {
  let told = '';
  await cluster.until('the group Ready', 60_000, async () => {
    const now = readyOf(await cluster.group());
    const text = now ? `${now.reason}: ${now.message}` : 'not seen yet';
    if (text !== told && now) say(text);
    told = text;
    return now?.status === 'True' || text;
  });
  say(bold('Ready'));
}

async function tell(cluster: Cluster): Promise<void> {
  const { status } = await cluster.group();
  const routes = Object.entries(await cluster.routes());
  const minios = Object.entries(cluster.minios()).map(
    ([server, pids]) => `${server} ${pids.length === 0 ? 'none' : `pid ${pids.join(', ')}`}`,
  );
  detail(`serves:  ${status?.activeNode}, epoch ${status?.assignment?.epoch}`);
  detail(`routes:  ${routes.map(([table, target]) => `${table} → ${target}`).join(', ')}`);
  detail(`MinIO:   ${minios.join(', ')}`);
}

function report({ awayMs, group }: Outage, bareMs: number, inPlace = false): void {
  say(
    bold(`the client had no answer for ${seconds(awayMs)}`) +
      ` (${(awayMs / bareMs).toFixed(1)} times the bare restart)`,
  );
  // The status still tells of the move before, for that was the last.
  if (inPlace) detail(`restarted in place on ${group.status?.activeNode}, no move`);
  const move = group.status?.move;
  if (inPlace || move?.epoch !== group.status?.assignment?.epoch) return;
  detail(`move:    ${move?.reason}${move?.proof ? `, proof ${move.proof}` : ''}: ${stepsOf(group)}`);
}

function stepsOf(group: FailoverGroup): string {
  const steps = Object.entries(group.status?.move?.steps ?? {}).toSorted(([, a = 0], [, b = 0]) => a - b);
  return steps.map(([step, ms]) => `${step.replace(/Ms$/, '')} ${ms} ms`).join(', ');
}

function howToLook({ kubeconfig, pid }: Sandbox): void {
  const enter = `SANDBOX=${pid} node_modules/.bin/node sandbox/enter.ts`;
  process.stdout.write(`
It stays until Ctrl-C. In another terminal, either a shell with kubectl, as admin:

  SANDBOX=${pid} make shell

or, with a kubectl of your own:

  export KUBECONFIG=${kubeconfig}

Then:

  kubectl get fog,vip,dm,fn -n ${NAMESPACE}
  kubectl describe fog failover -n ${NAMESPACE}
  kubectl annotate fog failover -n ${NAMESPACE} pointsman.dev/move-to=server2

As a client of the VPC, or on a server:

  ${enter} client curl -si http://${VIP}:9000/minio/health/cluster
  ${enter} server1
`);
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '         ');
}
