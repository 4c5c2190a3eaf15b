// `make bench`: outages as a client sees them, each beside a bare restart measured in the same round.
import { loadavg } from 'node:os';
import type { MoveSteps } from '../src/crds/failovergroup.ts';
import { EXAMPLE, lookAt, VIP } from './cluster.ts';
import { bareRestart, killedProcess, type Outage, plannedMove, powerCut } from './outages.ts';
import { startProber } from './prober.ts';
import { startSandbox } from './sandbox.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 5);
/** Under `fencing.policy: Lease` a lost node costs takeoverAfter: there is little to learn from many. */
const CUTS = Number(process.env['CUTS'] ?? 3);

interface Figure {
  readonly awayMs: number;
  /** How many times the bare restart of the same round. */
  readonly ratio: number;
  readonly steps?: MoveSteps | undefined;
}

const figures = new Map<string, Figure[]>();
const note = (what: string, awayMs: number, bareMs: number, steps?: MoveSteps) => {
  figures.set(what, [...(figures.get(what) ?? []), { awayMs, ratio: awayMs / bareMs, steps }]);
  process.stderr.write(`${what}: ${Math.round(awayMs)} ms\n`);
};

const sandbox = await startSandbox();
process.once('SIGINT', () => void sandbox.stop().then(() => process.exit(130)));
try {
  const cluster = lookAt(sandbox);
  await sandbox.kubectl(['apply', '-f', EXAMPLE]);
  await cluster.untilServed(60_000);
  const service = startProber(sandbox, { host: VIP, port: 9000, path: '/minio/health/cluster' });
  await service.untilUp(20_000);
  for (let round = 0; round < ROUNDS; round++) {
    const bareMs = await bareRestart(cluster);
    note('bare restart', bareMs, bareMs);
    const told = (outage: Outage, what: string, moved: boolean) =>
      note(what, outage.awayMs, bareMs, moved ? outage.group.status?.move?.steps : undefined);
    told(await plannedMove(cluster, service), 'planned move', true);
    told(await killedProcess(cluster, service), 'process killed', false);
    if (round >= CUTS) continue;
    const cut = await powerCut(cluster, service);
    told(cut, 'power cut', true);
    await sandbox.server(cut.server).boot();
  }
  await service.stop();
  await cluster.close();
} finally {
  await sandbox.stop();
}
process.stdout.write(table());
process.exit();

function table(): string {
  const head = '| outage | runs | median | min | max | times the bare restart, median |\n|---|---|---|---|---|---|\n';
  const rows = [...figures].map(([what, all]) => {
    const ms = all.map(({ awayMs }) => awayMs);
    const s = (value: number) => `${(value / 1000).toFixed(2)} s`;
    return `| ${what} | ${all.length} | ${s(median(ms))} | ${s(Math.min(...ms))} | ${s(Math.max(...ms))} | ${median(all.map(({ ratio }) => ratio)).toFixed(2)} |\n`;
  });
  const steps = [...figures].flatMap(([what, all]) =>
    all.some((one) => one.steps) ? [`${what}: ${stepsOf(all)}\n`] : [],
  );
  return `${head}${rows.join('')}\nSteps, medians since the first sign:\n${steps.join('')}Load when it ended: ${loadavg()[0]?.toFixed(1)}\n`;
}

function stepsOf(all: readonly Figure[]): string {
  const names = [...new Set(all.flatMap(({ steps }) => Object.keys(steps ?? {})))] as (keyof MoveSteps)[];
  const medians = names.map((name) => [name, median(all.flatMap(({ steps }) => steps?.[name] ?? []))] as const);
  return medians
    .toSorted(([, a], [, b]) => a - b)
    .map(([name, ms]) => `${name.replace(/Ms$/, '')} ${Math.round(ms)} ms`)
    .join(', ');
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
