import { join } from 'node:path';
import { bootClock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Resource, Stored } from '../kube/api.ts';
import { createKubeClient } from '../kube/client.ts';
import { createReflector, type Reflector } from '../kube/reflector.ts';
import { diskMonitors, failoverGroups, failoverNodes, vipResources } from '../kube/resources.ts';
import { renewToken } from '../kube/token.ts';
import { addressesOn, deviceByMac } from './address.ts';
import { cgroupBase } from './cgroup.ts';
import { createNodeAgent } from './loop.ts';
import { type Instance, readInstance } from './metadata.ts';
import type { AgentOptions } from './options.ts';
import { lockRunDir, openRunDir, type RunDir } from './rundir.ts';

/** An agent that is being ended has so long to let go of its lock. */
const LOCK_LIMIT_SECONDS = 10;
const INSTANCE_AGAIN_MS = 1_000;

/**
 * The map of the agent's process. It is the only one of its node, knows which instance it is, watches the API server, and
 * lets `loop.ts` run the node until the signal aborts; the user's processes are then left to the next agent.
 */
export async function runAgent(o: AgentOptions, log: Log, signal: AbortSignal): Promise<void> {
  const clock = bootClock;
  const runDir = openRunDir(o.runRoot, o.namespace, o.node, o.bootId);
  await lockRunDir(runDir.path, LOCK_LIMIT_SECONDS);
  const client = createKubeClient({ log, kubeconfig: o.kubeconfig, fieldManager: 'pointsman-agent' });
  if (client.tokenPath !== undefined) {
    renewToken({ client, clock, log, path: client.tokenPath }, signal).catch((error) =>
      log.error(describeError(error)),
    );
  }

  let poke = () => {};
  const watch = <T extends Stored>(resource: Resource<T>, fieldSelector?: string): Reflector<T> => {
    const reflector = createReflector({
      ...{ api: client, resource, namespace: o.namespace, fieldSelector, clock, log },
      onChange: () => poke(),
    });
    void reflector.run(signal);
    return reflector;
  };
  const nodes = watch(failoverNodes, `metadata.name=${o.node}`);
  const groups = watch(failoverGroups);
  const vips = watch(vipResources);
  const monitors = watch(diskMonitors);

  const instance = await knowInstance(o, runDir, log, signal);
  const device = deviceByMac(instance.mac);
  if (device === undefined) log.error('no interface has the address that the metadata service names', { ...instance });

  const agent = createNodeAgent({
    ...{ namespace: o.namespace, node: o.node, version: o.version, bootId: o.bootId, policyFile: o.policyFile },
    ...{ api: client, runDir, clock, log, instance, logDirectory: join(o.logDirectory, o.node) },
    watches: {
      node: () => nodes.list()[0],
      groups: () => ifSynced(groups),
      vips: () => ifSynced(vips),
      monitors: () => ifSynced(monitors),
    },
    cgroups: cgroupBase(o.namespace, o.node),
    addresses: device === undefined ? undefined : addressesOn(device),
  });
  poke = () => agent.poke();
  await agent.run(signal);
}

/** By the metadata service; within one boot an earlier answer will do, so that an agent's restart waits for nobody. */
async function knowInstance(o: AgentOptions, runDir: RunDir, log: Log, signal: AbortSignal): Promise<Instance> {
  const remember = (instance: Instance) => {
    try {
      runDir.setInstance(instance);
    } catch (error) {
      log.error('cannot write which instance this is', { error: describeError(error) }); // the next agent asks again
    }
  };
  for (;;) {
    const known = runDir.instance();
    if (known !== undefined) return known;
    try {
      const instance = await readInstance({ endpoint: o.metadataEndpoint, signal });
      remember(instance);
      return instance;
    } catch (error) {
      signal.throwIfAborted();
      log.error('the metadata service does not say which instance this is', { error: describeError(error) });
      await bootClock.sleep(INSTANCE_AGAIN_MS, signal);
    }
  }
}

function ifSynced<T>(reflector: Reflector<T>): readonly T[] | undefined {
  return reflector.synced() ? reflector.list() : undefined;
}
