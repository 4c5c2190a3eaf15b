import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type Cluster, EXAMPLE, lookAt } from '../../sandbox/cluster.ts';
import { startSandbox } from '../../sandbox/sandbox.ts';
import { type Watch, watchProcesses } from '../../sandbox/watch.ts';

export interface Running {
  readonly cluster: Cluster;
  /** Counts on how many servers MinIO runs, every 20 ms, from outside. */
  readonly watch: Watch;
  apply(yaml: string): Promise<void>;
}

/**
 * A sandbox with the article's cluster for the tests of one file, in order, one after the other. After each of them it
 * must never have seen MinIO on two servers, and a failed one shows what the programs said.
 */
export function articleCluster(change: (yaml: string) => string = (yaml) => yaml): () => Running {
  let running: Running | undefined;
  beforeAll(async () => {
    const sandbox = await startSandbox();
    const cluster = lookAt(sandbox);
    const apply = async (yaml: string) => void (await sandbox.kubectl(['apply', '-f', '-'], { input: yaml }));
    running = { cluster, watch: await watchProcesses(sandbox), apply };
    await apply(change(readFileSync(EXAMPLE, 'utf8')));
  }, 120_000);

  let looked = 0;
  afterEach(async ({ task }) => {
    if (!running) return;
    const { watch } = running;
    // A watch that has died would see nothing for ever.
    await running.cluster.until('the watch look on', 5_000, () => (watch.latest()?.samples ?? 0) > looked);
    looked = watch.latest()?.samples ?? 0;
    expect(watch.twice(), 'MinIO ran on two servers at once').toEqual([]);
    expect(
      watch.changes().filter((sample) => sample.running.length > 1),
      'MinIO ran twice at once',
    ).toEqual([]);
    if (task.result?.state !== 'fail') return;
    const { sandbox } = running.cluster;
    const logs = {
      controller: sandbox.controller.log(40),
      server1: sandbox.server('server1').log(30),
      server2: sandbox.server('server2').log(30),
    };
    for (const [name, text] of Object.entries(logs)) process.stderr.write(`--- ${task.name}: ${name}\n${text}\n`);
  });

  afterAll(async () => {
    await running?.watch.stop();
    await running?.cluster.close();
    await running?.cluster.sandbox.stop();
  }, 60_000);

  return () => {
    if (!running) throw new Error('Cannot use the sandbox: it did not start');
    return running;
  };
}
