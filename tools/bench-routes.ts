import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RouteOrder } from '../src/aws/ec2.ts';
import { ensureRoutes } from '../src/aws/routes.ts';
import { createSdkEc2 } from '../src/aws/sdk-ec2.ts';
import { startFaultProxy } from './faultproxy/proxy.ts';
import { seedCloud } from './moto/seed.ts';
import { startMoto } from './moto/server.ts';

/**
 * `node tools/bench-routes.ts`: what it takes to move an address in three route tables, by `ensureRoutes` and by one
 * ReplaceRoute after the other, both with the SDK in a warm process, on moto behind the fault proxy. Medians of
 * interleaved rounds; compare the ratios, not the single times.
 */
const DESTINATION = '10.1.0.20/32';
const ROUNDS = { 0: 100, 150: 20 };
const CALL = { timeoutMs: 10_000, urgent: true };

const dir = await mkdtemp(join(tmpdir(), 'pointsman-bench-'));
const moto = await startMoto({ dir });
const proxy = await startFaultProxy({ target: moto.endpoint });
const cloud = await seedCloud(moto.endpoint);
const credentials = { accessKeyId: 'testing', secretAccessKey: 'testing' };
const ec2 = createSdkEc2({ region: cloud.region, endpoint: proxy.endpoint, credentials });

const tableIds = [cloud.mainTableId, cloud.routeATableId, cloud.routeBTableId];
const interfaces = [cloud.server1.networkInterfaceId, cloud.server2.networkInterfaceId];
let turn = 0;
const nextInterface = () => interfaces[turn++ % 2]!; // of two

const ways = {
  'ensureRoutes, read back': async () => {
    const wish = { destination: DESTINATION, tableIds, networkInterfaceId: nextInterface() };
    const findings = await ensureRoutes(ec2, [wish], { timeoutMs: 10_000, stillMine: () => true });
    if (findings.some((finding) => finding.state !== 'InPlace')) throw new Error(JSON.stringify(findings));
  },
  'parallel ReplaceRoute': async () => {
    const networkInterfaceId = nextInterface();
    await Promise.all(tableIds.map((tableId) => ec2.replaceRoute(order(tableId, networkInterfaceId), CALL)));
  },
  'sequential ReplaceRoute': async () => {
    const networkInterfaceId = nextInterface();
    for (const tableId of tableIds) await ec2.replaceRoute(order(tableId, networkInterfaceId), CALL);
  },
  'sequential, look first and after': async () => {
    const networkInterfaceId = nextInterface();
    for (const tableId of tableIds) {
      await ec2.describeRoutes([tableId], CALL);
      await ec2.replaceRoute(order(tableId, networkInterfaceId), CALL);
      await ec2.describeRoutes([tableId], CALL);
    }
  },
};

function order(tableId: string, networkInterfaceId: string): RouteOrder {
  return { tableId, destination: DESTINATION, networkInterfaceId };
}

await ways['ensureRoutes, read back']();
for (const [latencyMs, rounds] of Object.entries(ROUNDS)) {
  proxy.reset();
  proxy.latency('*', Number(latencyMs));
  const times = new Map<string, number[]>(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const began = performance.now();
      await way();
      times.get(name)?.push(performance.now() - began);
    }
  }
  for (const [name, list] of times) {
    process.stdout.write(`${latencyMs.padStart(4)} ms per call  ${name.padEnd(34)} ${median(list).toFixed(1)} ms\n`);
  }
}

ec2.close();
await proxy.stop();
await moto.stop();
await rm(dir, { recursive: true, force: true });

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
