import { bootClock as clock } from '../../src/base/clock.ts';
import { RetryError } from '../../src/base/errors.ts';
import { silentLog as log } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { failoverGroups, failoverNodes } from '../../src/kube/resources.ts';
import { FakeEc2 } from '../fakes/ec2.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { type ReportingNode, startController, startReportingNode } from '../reconcilers/controller.ts';

/** The real controller on a namespace of its own, with two nodes that do as they are told. */
export interface Bench {
  readonly api: KubeClient;
  readonly namespace: string;
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

/** Nobody may be taken for lost because the machine is busy: nothing here is about that. */
const TIMING = { renewEvery: '300ms', fenceAfter: '60s', killWithin: '1s', takeoverAfter: '90s' };
const TAKEOVER_AFTER_SECONDS = 90;

/** A third node of the spec, `server3`, is cordoned. */
export async function startBench(server: ApiServerAccess): Promise<Bench> {
  const namespace = await server.namespace('cli');
  const kubeconfig = await server.kubeconfig({ namespace });
  const api = createKubeClient({ log, kubeconfig, fieldManager: 'test' });
  const controller = await startController(server, namespace, { ec2: new FakeEc2(), writeEvents: true });
  const names = ['server1', 'server2', 'server3'] as const;
  for (const name of names) {
    const spec = { instanceId: `i-0000000${name.slice(-1)}`, timing: TIMING, schedulable: name !== 'server3' };
    await api.create(failoverNodes, namespace, { metadata: { name }, spec });
  }
  const stop = new AbortController();
  const nodes: ReportingNode[] = [];
  const obeying: Promise<void>[] = [];
  for (const name of names) {
    const node = await startReportingNode(api, namespace, name, 'failover', TAKEOVER_AFTER_SECONDS);
    nodes.push(node);
    obeying.push(obey(api, namespace, name, node, stop.signal));
  }
  const spec = {
    nodes: names,
    // The nodes here read no disk, so they cannot tell of each other by it.
    sharedDisk: { mountPath: '/mnt/efs', heartbeat: false },
    process: { command: ['/bin/x'], user: 'x' },
  };
  await api.create(failoverGroups, namespace, { metadata: { name: 'failover' }, spec });
  return {
    api,
    namespace,
    kubeconfig,
    async stop() {
      stop.abort();
      await Promise.all([...obeying, ...nodes.map((node) => node.silence())]);
      await controller.stop();
      await api.close();
    },
  };
}

/** Runs what is assigned to it and ends what is taken away, as an agent with a very quick process does. */
async function obey(
  api: KubeClient,
  namespace: string,
  name: string,
  node: ReportingNode,
  signal: AbortSignal,
): Promise<void> {
  let epoch = 0;
  while (!signal.aborted) {
    try {
      const assignment = (await api.get(failoverGroups, namespace, 'failover'))?.status?.assignment;
      const mine = assignment?.node === name && assignment.state === 'Active' ? assignment.epoch : 0;
      if (mine !== epoch && mine > 0) await node.report({ epoch: mine, state: 'Running', ready: true, pid: 7 });
      if (mine === 0 && epoch > 0) await node.report({ ended: epoch, epoch: 0, state: 'Stopped', ready: false });
      epoch = mine;
    } catch (error) {
      // On a busy machine the API server may be late with an answer; an agent asks again too.
      if (!(error instanceof RetryError)) throw error;
    }
    await clock.sleep(50, signal).catch(() => {});
  }
}
