import type { Ec2, Instance } from '../aws/ec2.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { FailoverNode } from '../crds/failovernode.ts';
import type { InterfaceSeen } from '../decide/vip.ts';

/**
 * The network interfaces of the nodes, kept between looks: they hardly ever change, and the path of a failover must not
 * wait for a look. What a look could not learn stays as it was; the routes are read back after every move anyway.
 */
export class Interfaces {
  readonly #instances = new Map<string, Instance>();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Undefined: not known. */
  of(node: FailoverNode): InterfaceSeen | undefined {
    const instance = this.#instances.get(node.spec.instanceId);
    const wanted = node.spec.networkInterfaceId ?? instance?.primaryInterfaceId;
    const found = instance?.interfaces.find(({ id }) => id === wanted);
    return found && { node: node.metadata.name, networkInterfaceId: found.id, sourceDestCheck: found.sourceDestCheck };
  }

  /** One question for all of them. Throws when AWS does not answer. */
  async look(
    ec2: Ec2,
    nodes: readonly FailoverNode[],
    call: { readonly timeoutMs: number; readonly signal: AbortSignal; readonly urgent?: boolean },
  ): Promise<void> {
    const ids = [...new Set(nodes.map(({ spec }) => spec.instanceId))];
    if (ids.length === 0) return;
    for (const [id, instance] of await ec2.describeInstances(ids, call)) {
      if (instance === 'missing') this.#instances.delete(id);
      else this.#instances.set(id, instance);
    }
  }

  /** Switches the source/destination check off where it is on; each on its own. */
  async switchChecksOff(
    ec2: Ec2,
    nodes: readonly FailoverNode[],
    call: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const on = nodes.map((node) => ({ node, seen: this.of(node) })).filter(({ seen }) => seen?.sourceDestCheck);
    await Promise.all(
      on.map(async ({ node, seen }) => {
        if (!seen) return;
        try {
          await ec2.setSourceDestCheck(seen.networkInterfaceId, false, call);
          this.#forgetCheck(node.spec.instanceId, seen.networkInterfaceId);
          this.#log.info('source/destination check switched off', {
            node: seen.node,
            networkInterfaceId: seen.networkInterfaceId,
          });
        } catch (error) {
          this.#log.warn(describeError(error), { node: seen.node, networkInterfaceId: seen.networkInterfaceId });
        }
      }),
    );
  }

  #forgetCheck(instanceId: string, networkInterfaceId: string): void {
    const instance = this.#instances.get(instanceId);
    if (!instance) return;
    const interfaces = instance.interfaces.map((one) =>
      one.id === networkInterfaceId ? { ...one, sourceDestCheck: false } : one,
    );
    this.#instances.set(instanceId, { ...instance, interfaces });
  }
}
