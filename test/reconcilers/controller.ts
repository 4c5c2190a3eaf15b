import { randomUUID } from 'node:crypto';
import type { Ec2 } from '../../src/aws/ec2.ts';
import { bootClock as clock } from '../../src/base/clock.ts';
import { silentLog as log } from '../../src/base/log.ts';
import { createQueue } from '../../src/base/queue.ts';
import { watchWorld } from '../../src/controller/world.ts';
import type { GroupReport } from '../../src/crds/failovernode.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { Conflict } from '../../src/kube/errors.ts';
import { createRecorder, type Happening } from '../../src/kube/events.ts';
import { renewLease, takeLease } from '../../src/kube/lease.ts';
import { failoverNodes, type NodeLease } from '../../src/kube/resources.ts';
import { createDiskMonitorReconciler } from '../../src/reconcilers/diskmonitor.ts';
import { createGroupReconciler } from '../../src/reconcilers/failovergroup.ts';
import { createNodeReconciler } from '../../src/reconcilers/failovernode.ts';
import { createFencing } from '../../src/reconcilers/fencing.ts';
import { createObjectRecorder, type Recorder } from '../../src/reconcilers/recorder.ts';
import { createVipReconciler } from '../../src/reconcilers/vipresource.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';

/** The controller's own parts in the test's process, on one namespace of a real API server. */
export interface TestController {
  readonly api: KubeClient;
  readonly events: readonly (Happening & { readonly name: string })[];
  stop(): Promise<void>;
}

export async function startController(
  server: ApiServerAccess,
  namespace: string,
  {
    ec2,
    resyncMs = 300,
    leading = () => true,
    writeEvents = false,
  }: { ec2: Ec2; resyncMs?: number; leading?: () => boolean; writeEvents?: boolean },
): Promise<TestController> {
  const api = createKubeClient({ log, kubeconfig: await server.kubeconfig(), fieldManager: 'test-controller' });
  const events: (Happening & { name: string })[] = [];
  const writer = createRecorder({ api, clock, log, controller: 'pointsman.dev/controller', instance: 'test' });
  const written = createObjectRecorder(writer);
  const recorder: Recorder = {
    event(object, kind, happening) {
      events.push({ ...happening, name: object.metadata.name });
      if (writeEvents) written.event(object, kind, happening);
    },
  };
  const stop = new AbortController();
  const queue = (name: string, reconcile: Parameters<typeof createQueue>[0]['reconcile']) =>
    createQueue({ name, clock, log, random: Math.random, workers: 8, reconcile });
  const world = watchWorld({
    api,
    namespace,
    clock,
    log,
    wakes: {
      group: (key) => groups.add(key),
      node: (key) => nodes.add(key),
      monitor: (key) => monitors.add(key),
      follow: (key) => routes.add(`follow/${key}`),
      vip: () => routes.add('resync/us-east-1'),
    },
  });
  const vips = createVipReconciler({
    api,
    world,
    clock,
    log,
    recorder,
    leading,
    ec2: () => ec2,
    defaultRegion: 'us-east-1',
    resyncMs,
  });
  const routes = queue('routes', (key, signal) =>
    key.startsWith('follow/') ? vips.follow(key.slice('follow/'.length), signal) : vips.resync('us-east-1', signal),
  );
  const fencing = createFencing({
    api,
    world,
    clock,
    log,
    recorder,
    leading,
    ec2: () => ec2,
    defaultRegion: 'us-east-1',
    due: (key) => power.add(key),
    wakes: { group: (key) => groups.add(key), node: (key) => nodes.add(key) },
    readyEveryMs: resyncMs,
  });
  const power = queue('power', fencing.reconcile);
  const groups = queue(
    'groups',
    createGroupReconciler({ api, world, clock, log, recorder, leading, fencing, sawLease: world.sawLease }),
  );
  const nodes = queue('nodes', createNodeReconciler({ api, world, clock, recorder, leading, fencing }));
  const monitors = queue('monitors', createDiskMonitorReconciler({ api, world, clock, leading }));
  const running = [world.run(stop.signal), writer.run(stop.signal)];
  while (!world.synced()) await clock.sleep(10);
  running.push(...[routes, groups, nodes, monitors, power].map((one) => one.run(stop.signal)));
  return {
    api,
    events,
    stop: async () => {
      stop.abort();
      await Promise.all(running);
      await api.close();
    },
  };
}

/** A node whose Lease is renewed and which reports what the test tells it to. It runs nothing. */
export interface ReportingNode {
  /** Replaces its report on the group. */
  report(change: Partial<GroupReport>): Promise<void>;
  /** It falls silent. */
  silence(): Promise<void>;
}

export async function startReportingNode(
  api: KubeClient,
  namespace: string,
  node: string,
  group: string,
  durationSeconds = 4,
): Promise<ReportingNode> {
  const site = { api, clock, namespace, node };
  const bootId = randomUUID();
  const { lease: taken } = await takeLease(site, { floor: 0, bootId, settled: true, durationSeconds });
  let lease: NodeLease = taken;
  const stop = new AbortController();
  const renewing = (async () => {
    while (!stop.signal.aborted) {
      await clock.sleep(300, stop.signal).catch(() => {});
      if (stop.signal.aborted) return;
      const renewal = await renewLease(site, lease, durationSeconds, { timeoutMs: 1_000 });
      if (renewal.type === 'renewed') lease = renewal.lease;
      if (renewal.type === 'lost') return;
    }
  })();
  let report: GroupReport = {
    name: group,
    ended: 0,
    settled: true,
    epoch: 0,
    state: 'Stopped',
    ready: false,
    restarts: 0,
    fit: true,
    diskId: 'disk-1',
    highestRead: 0,
    neighbours: [],
  };
  const write = async () => {
    const status = {
      report: {
        incarnation: taken.transitions,
        bootId,
        instanceId: 'i-00000000',
        agentVersion: 'test',
        groups: [report],
      },
    };
    await api.patchStatus(failoverNodes, namespace, node, { status }).catch((error: unknown) => {
      if (!(error instanceof Conflict)) throw error;
    });
  };
  await write();
  return {
    report: async (change) => {
      report = { ...report, ...change };
      await write();
    },
    silence: async () => {
      stop.abort();
      await renewing;
    },
  };
}
