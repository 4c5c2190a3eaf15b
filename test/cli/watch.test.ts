import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { silentLog as log } from '../../src/base/log.ts';
import { changes, linesOf } from '../../src/cli/changes.ts';
import { statusView } from '../../src/cli/statusview.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { failoverNodes } from '../../src/kube/resources.ts';
import { node, reads, running } from '../decide/build.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { startCli, store } from './cli.ts';
import { HEALTHY, NOW_MS, routes, servedSeen, written } from './clusters.ts';

const ISO = '2026-11-23T12:00:00.000Z';
const lines = (at = servedSeen()) => linesOf(statusView(written(at), NOW_MS), false);

describe('what changed between two looks', () => {
  it('is every object at first, then those that changed alone', () => {
    expect(changes(new Map(), lines(), ISO)).toMatchInlineSnapshot(`
      [
        "2026-11-23T12:00:00.000Z  failovergroup/failover: Ready True: Serving: server2 serves the group (server2, epoch 3, Active, runs on server2)",
        "2026-11-23T12:00:00.000Z  failovernode/server1: in touch: yes; fit for failover: yes",
        "2026-11-23T12:00:00.000Z  failovernode/server2: in touch: yes; fit for failover: yes; failover: epoch 3, Running, ready",
        "2026-11-23T12:00:00.000Z  vipresource/awsvip: Ready True: RoutesInPlace: leads to server2 (eni-00000002); rtb-00000001 InPlace, rtb-0000000a InPlace",
        "2026-11-23T12:00:00.000Z  diskmonitor/diskw: Ready True: Healthy: server1 Healthy, server2 Healthy",
      ]
    `);
    expect(changes(lines(), lines(), ISO)).toEqual([]);
    const nodes = [
      node('server1', { schedulable: false, report: reads('server2', 'seen'), disks: [HEALTHY] }),
      node('server2', { report: running(3), disks: [HEALTHY] }),
    ];
    expect(changes(lines(), lines(servedSeen({ nodes, vips: [routes('Blackhole')] })), ISO)).toMatchInlineSnapshot(`
      [
        "2026-11-23T12:00:00.000Z  failovergroup/failover: Ready False: RoutesPending: VipResource "awsvip" does not lead to server2: pointing the routes at server2 (server2, epoch 3, Active, runs on server2)",
        "2026-11-23T12:00:00.000Z  failovernode/server1: in touch: yes (Cordoned); fit for failover: no (Cordoned)",
        "2026-11-23T12:00:00.000Z  vipresource/awsvip: Ready False: RoutesMoving: leads to server2 (eni-00000002); rtb-00000001 InPlace, rtb-0000000a Blackhole",
      ]
    `);
  });

  it('is no age and no latency, which always change', () => {
    const later = linesOf(statusView(written(servedSeen()), NOW_MS + 60_000), false);
    expect(changes(lines(), later, ISO)).toEqual([]);
  });

  it('tells of what is gone', () => {
    expect(changes(lines(), lines(servedSeen({ monitors: [] })), ISO)).toEqual([`${ISO}  diskmonitor/diskw: gone`]);
  });
});

describe('kubectl pointsman watch', () => {
  let server: ApiServerAccess;
  let api: KubeClient;
  let namespace: string;
  let kubeconfig: string;
  beforeAll(async () => {
    server = await sharedApiServer();
    namespace = await server.namespace('cli-watch');
    kubeconfig = await server.kubeconfig({ namespace });
    api = createKubeClient({ log, kubeconfig, fieldManager: 'test' });
    await store(api, namespace, written(servedSeen()));
  });
  afterAll(async () => {
    await api?.close();
  });
  const soon = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 20 });

  async function say(reason: string): Promise<void> {
    const condition = { type: 'Ready', status: 'False', reason, message: '', lastTransitionTime: ISO };
    await api.patchStatus(failoverNodes, namespace, 'server1', { status: { conditions: [condition] } });
  }

  it('prints a line for each change where nobody draws, and ends well on Ctrl-C', async () => {
    await say('NotReported');
    const watch = startCli(['watch', '--interval', '100ms'], kubeconfig);
    await soon(() => expect(watch.said.out.split('\n')).toHaveLength(6));
    await say('OutOfTouch');
    await soon(() => expect(watch.said.out).toContain('failovernode/server1: in touch: no (OutOfTouch)'));
    watch.interrupt();
    const { code, out, err } = await watch.ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out.split('\n')).toHaveLength(7);
  });

  it('draws the status on a terminal, each time over the last one', async () => {
    const watch = startCli(['watch', 'failover', '--interval', '100ms'], kubeconfig, { live: true });
    await soon(() => expect(watch.said.out.split('\u001b[H').length).toBeGreaterThan(2));
    watch.interrupt();
    const { code, out } = await watch.ended;
    expect(code).toBe(0);
    const pictures = out.split('\u001b[H').slice(1);
    for (const picture of pictures) {
      expect(picture).toContain('failover   server2   True    Serving');
      expect(picture.endsWith('\u001b[J')).toBe(true);
    }
  });

  it('ends with an error where there is nothing to watch', async () => {
    const { code, err } = await startCli(['watch', 'nobody'], kubeconfig).ended;
    expect(code).toBe(1);
    expect(err).toContain('there is failover');
  });
});
