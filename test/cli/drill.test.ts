import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { drillText, judge } from '../../src/cli/drill.ts';
import type { Move } from '../../src/crds/failovergroup.ts';
import { failoverGroups } from '../../src/kube/resources.ts';
import { agedFor, node, reads, running } from '../decide/build.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type Bench, startBench } from './bench.ts';
import { cli, store } from './cli.ts';
import { MOVE, servedSeen, written } from './clusters.ts';

const BACK: Move = { ...MOVE, from: 'server2', to: 'server1', epoch: 4, steps: { ...MOVE.steps, readyMs: 6_200 } };

describe('the verdict of a drill', () => {
  it('is met when both moves are within the objective, as docs/cli.md shows it', () => {
    const text = drillText(
      judge('failover', [MOVE, { ...BACK, steps: { ...BACK.steps, readyMs: 610 } }], 5_000),
      'failover',
      false,
    );
    expect(`\n${text}`).toMatchInlineSnapshot(`
      "
      MOVE                EPOCH   SERVED AFTER   OBJECTIVE
      server1 → server2   3       570 ms         met
      server2 → server1   4       610 ms         met

      failover meets the objective of 5.00 s: the longer move took 610 ms
      "
    `);
    expect(readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')).toContain(text);
  });

  it('is missed when one of them is not', () => {
    const result = judge('failover', [MOVE, BACK], 5_000);
    expect(result).toMatchObject({ met: false, longestMs: 6_200 });
    expect(drillText(result, 'failover', false)).toMatch(/server2 → server1 +4 +6.20 s +missed\n/);
    expect(judge('failover', [MOVE, BACK], 6_200).met).toBe(true);
  });

  it('is none where a step was not measured', () => {
    expect(() => judge('failover', [{ ...MOVE, steps: {} }], 5_000)).toThrow('a step was not measured');
  });
});

describe('kubectl pointsman drill', () => {
  let server: ApiServerAccess;
  let bench: Bench;
  beforeAll(async () => {
    server = await sharedApiServer();
    bench = await startBench(server);
    await vi.waitFor(async () => expect((await assignment())?.node).toBe('server1'), { timeout: 60_000, interval: 50 });
  });
  afterAll(async () => {
    await bench?.stop();
  });
  const assignment = async () => (await bench.api.get(failoverGroups, bench.namespace, 'failover'))?.status?.assignment;

  it('moves there and back again, and judges both by what the controller measured', async () => {
    await cli(['move', 'failover', 'server2', '--timeout', '10m'], bench.kubeconfig);
    const before = await assignment();
    expect(before?.node).toBe('server2');
    const { code, out, err } = await cli(
      ['drill', 'failover', '--objective', '10m', '--timeout', '10m', '-o', 'json'],
      bench.kubeconfig,
    );
    expect(err).toContain('failover is to move from server2 to server1 and back; a move may take 10m\n');
    expect(code).toBe(0);
    const epoch = before?.epoch ?? 0;
    expect(JSON.parse(out)).toMatchObject({
      met: true,
      objectiveMs: 600_000,
      moves: [
        { from: 'server2', to: 'server1', epoch: epoch + 1 },
        { from: 'server1', to: 'server2', epoch: epoch + 2 },
      ],
    });
    expect(await assignment()).toMatchObject({ node: 'server2', epoch: epoch + 2 });
  });

  it('ends with 3 where a move takes longer than it may', async () => {
    const { code, out } = await cli(['drill', 'failover', '--objective', '0ms', '--timeout', '10m'], bench.kubeconfig);
    expect(out).toContain('failover misses the objective of 0 ms');
    expect(code).toBe(3);
  });

  it('does not begin where the group is not served, or a node cannot take it', async () => {
    const epoch = (await assignment())?.epoch;
    const refused = await cli(['drill', 'failover', 'server3'], bench.kubeconfig);
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('Cannot move to "server3": Cordoned') });
    expect((await assignment())?.epoch).toBe(epoch);
    const namespace = await server.namespace('cli-lost');
    const nodes = [
      node('server1', { report: reads('server2', 'unknown') }),
      node('server2', { lease: agedFor(9_000), report: running(3) }),
    ];
    await store(bench.api, namespace, written(servedSeen({ nodes })));
    expect((await cli(['drill', 'failover', '-n', namespace], bench.kubeconfig)).err).toMatch(
      /^error: Cannot drill failover: it is not served: DiskUnread: .*; wait until it is Ready\n$/,
    );
  });
});
