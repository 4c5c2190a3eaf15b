// The controller's process, from the environment to the end. Read it to see what there is.
import { randomUUID } from 'node:crypto';
import type { Ec2 } from '../aws/ec2.ts';
import { createSdkEc2 } from '../aws/sdk-ec2.ts';
import { bootClock as clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import { createLog, type Log } from '../base/log.ts';
import { createQueue, type Queue, type Reconciled } from '../base/queue.ts';
import { createKubeClient } from '../kube/client.ts';
import { createElection } from '../kube/election.ts';
import { createRecorder } from '../kube/events.ts';
import { renewToken } from '../kube/token.ts';
import { createDiskMonitorReconciler } from '../reconcilers/diskmonitor.ts';
import { createGroupReconciler } from '../reconcilers/failovergroup.ts';
import { createNodeReconciler } from '../reconcilers/failovernode.ts';
import { createFencing } from '../reconcilers/fencing.ts';
import { createObjectRecorder } from '../reconcilers/recorder.ts';
import { createVipReconciler } from '../reconcilers/vipresource.ts';
import { healthOf, serveHealth } from './health.ts';
import { type ControllerOptions, readOptions } from './options.ts';
import { type WatchedWorld, watchWorld } from './world.ts';

/** Keys worked on at once, per queue. A hung AWS holds a worker for seconds; nobody may have to wait for it. */
const WORKERS = 32;

async function main(options: ControllerOptions, log: Log): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => stop.abort(new Error(`Stopped by ${signal}`)));

  const api = createKubeClient({ log, kubeconfig: options.kubeconfig, fieldManager: 'pointsman-controller' });
  const random = Math.random;
  const queue = (name: string, reconcile: (key: string, signal: AbortSignal) => Promise<Reconciled>): Queue =>
    createQueue({ name, clock, log, random, workers: WORKERS, reconcile });

  const events = createRecorder({
    api,
    clock,
    log,
    controller: 'pointsman.dev/controller',
    instance: options.identity,
  });
  const election = createElection({
    api,
    clock,
    log,
    random,
    namespace: options.electionNamespace,
    name: 'pointsman-controller',
    identity: options.identity,
  });
  const regions = new Map<string, Ec2>();
  const ec2 = (region: string): Ec2 => {
    const known = regions.get(region) ?? createSdkEc2({ region });
    regions.set(region, known);
    return known;
  };

  // The queues are fed from the start, also while another controller leads: taking over must not begin with a list.
  const world: WatchedWorld = watchWorld({
    api,
    namespace: options.namespace,
    clock,
    log,
    wakes: {
      group: (key) => groups.add(key),
      node: (key) => nodes.add(key),
      monitor: (key) => monitors.add(key),
      follow: (groupKey) => routes.add(`follow/${groupKey}`),
      vip: (key) => {
        const vip = world.vips.get(key);
        if (vip) routes.add(`resync/${vips.regionOf(vip)}`);
      },
    },
  });
  const leading = () => election.isLeader();
  const recorder = createObjectRecorder(events);
  const vips = createVipReconciler({
    api,
    world,
    clock,
    log,
    recorder,
    leading,
    ec2,
    defaultRegion: options.region,
    resyncMs: options.resyncMs,
  });
  const routes = queue('routes', (key, signal) => {
    const [what, ...rest] = key.split('/');
    return what === 'follow' ? vips.follow(rest.join('/'), signal) : vips.resync(rest.join('/'), signal);
  });
  const fencing = createFencing({
    api,
    world,
    clock,
    log,
    recorder,
    leading,
    ec2,
    defaultRegion: options.region,
    due: (key) => power.add(key),
    wakes: { group: (key) => groups.add(key), node: (key) => nodes.add(key) },
  });
  const power = queue('power', fencing.reconcile);
  const groups = queue(
    'groups',
    createGroupReconciler({ api, world, clock, log, recorder, leading, fencing, sawLease: world.sawLease }),
  );
  const nodes = queue('nodes', createNodeReconciler({ api, world, clock, recorder, leading, fencing }));
  const monitors = queue('monitors', createDiskMonitorReconciler({ api, world, clock, leading }));

  const health = await serveHealth(options.healthPort, healthOf(world, clock));

  const background = Promise.all([
    world.run(stop.signal),
    events.run(stop.signal),
    // In a pod the kubelet renews it.
    options.kubeconfig === undefined || api.tokenPath === undefined
      ? undefined
      : renewToken({ client: api, clock, log, path: api.tokenPath }, stop.signal),
  ]);
  log.info('controller starts', { identity: options.identity, namespace: options.namespace ?? 'all' });
  try {
    const elected = election.run(stop.signal, async (term) => {
      // Until everything was listed, what is absent would look as if it were missing.
      while (!world.synced()) await clock.sleep(20, term);
      for (const { metadata } of world.groups.list()) groups.add(`${metadata.namespace}/${metadata.name}`);
      for (const { metadata } of world.nodes.list()) nodes.add(`${metadata.namespace}/${metadata.name}`);
      for (const { metadata } of world.monitors.list()) monitors.add(`${metadata.namespace}/${metadata.name}`);
      for (const { metadata } of world.groups.list()) routes.add(`follow/${metadata.namespace}/${metadata.name}`);
      for (const region of new Set(world.vips.list().map((vip) => vips.regionOf(vip)))) routes.add(`resync/${region}`);
      await Promise.all([groups, nodes, monitors, routes, power].map((one) => one.run(term)));
    });
    await Promise.race([elected, background]);
    await elected;
  } finally {
    stop.abort();
    health.close();
    await background.catch(() => {});
    await api.close();
  }
}

const options = readOptions(process.env, randomUUID().slice(0, 8));
const log = createLog('pointsman-controller', options.logLevel);
main(options, log).then(
  () => process.exit(0),
  (error: unknown) => {
    log.error('controller ends', { error: describeError(error) });
    // The log is written in the background; a process that ends now would lose the one line that matters.
    process.stderr.write(`${describeError(error)}\n`);
    process.exit(1);
  },
);
