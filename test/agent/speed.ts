import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Resource, Stored } from '../../src/kube/api.ts';
import { createReflector } from '../../src/kube/reflector.ts';
import { failoverGroups, failoverNodes } from '../../src/kube/resources.ts';
import { startApiServer } from '../kube/apiserver.ts';
import { type Machine, startMachine } from './machine.ts';
import { until } from './processes.ts';

/*
 * How much of a planned move is the agent's: `node test/agent/speed.ts [ROUNDS]`, AGENT=dist/agent.mjs for the bundle, on a real API server prints the medians
 * of "the assignment is in the watch" to "the user's program runs", and of "Stopping is in the watch" to "ended is in the
 * watch" for a process that ends at once. Both ends are seen from outside the agent.
 */

const rounds = Number(process.argv[2] ?? 20);
const server = await startApiServer();
const stop = new AbortController();
let machine: Machine | undefined;
try {
  await server.installCrds();
  const namespace = await server.namespace('speed');
  const node = await startMachine(server, namespace, { program: process.env['AGENT'] });
  machine = node;
  const times = join(node.mountPath, 'times');
  mkdirSync(times);
  chmodSync(times, 0o777);
  const started = join(times, 'started');
  await node.declareNode();
  await node.declareGroup(['/bin/sh', '-c', `date +%s%N > ${started}; exec sleep 1000`]);
  node.startAgent();
  await node.untilReported('the node is fit', (group) => group.fit);
  const groups = follow(failoverGroups);
  const nodes = follow(failoverNodes);
  await delay(1_000);

  const starts: number[] = [];
  const stops: number[] = [];
  for (let epoch = 1; epoch <= rounds; epoch += 1) {
    rmSync(started, { force: true });
    const assigned = groups((group) => group.status?.assignment?.epoch === epoch);
    await node.assign(epoch);
    const assignedMs = await assigned;
    const ran = await until('the program has run', () => existsSync(started) && readFileSync(started, 'utf8'));
    starts.push(Number(ran) / 1e6 - assignedMs);
    await node.untilReported('it runs', ({ state }) => state === 'Running');
    const stopping = groups((group) => group.status?.assignment?.state === 'Stopping');
    const ended = nodes((node) => node.status?.report?.groups[0]?.ended === epoch);
    await node.assign(epoch, { state: 'Stopping' });
    stops.push((await ended) - (await stopping));
  }
  process.stdout.write(
    `${rounds} rounds, median and worst in ms\n` +
      `assignment in the watch -> program runs: ${median(starts)}, ${worst(starts)}\n` +
      `Stopping in the watch -> ended in the watch: ${median(stops)}, ${worst(stops)}\n`,
  );

  /** Wall-clock milliseconds at which the next object that fits is seen. */
  function follow<T extends Stored>(resource: Resource<T>) {
    const waiting = new Set<(object: T) => void>();
    const reflector = createReflector({
      ...{ api: node.client, resource, namespace, clock: bootClock, log: silentLog },
      onChange: (_, now) => {
        if (now !== undefined) for (const look of waiting) look(now);
      },
    });
    void reflector.run(stop.signal);
    return (fits: (object: T) => boolean) =>
      new Promise<number>((resolve) => {
        const look = (object: T) => {
          if (!fits(object)) return;
          waiting.delete(look);
          resolve(performance.timeOrigin + performance.now());
        };
        waiting.add(look);
      });
  }
} finally {
  stop.abort();
  await machine?.close();
  await server.stop();
}
process.exit(0);

function median(values: readonly number[]): string {
  return (values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN).toFixed(1);
}

function worst(values: readonly number[]): string {
  return Math.max(...values).toFixed(1);
}
