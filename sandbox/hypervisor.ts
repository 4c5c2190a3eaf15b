import { describeError } from '../src/base/errors.ts';
import type { Log } from '../src/base/log.ts';
import type { Ec2Backdoor, InstanceSeen } from './ec2.ts';
import type { Server } from './server.ts';

/** How long an operating system may take to shut down. EC2 waits minutes; MinIO ends in 50 ms. */
const SHUTDOWN_MS = 3_000;

/** Does with the servers what was asked of EC2, and tells EC2 when it is done. */
export interface Hypervisor {
  /** Looks at every instance and acts, without waiting for what takes time. */
  look(): void;
}

export function makeHypervisor(log: Log, ec2: Ec2Backdoor, servers: ReadonlyMap<string, Server>): Hypervisor {
  const busy = new Set<string>();
  /** Asked for while they were busy. */
  const again = new Set<string>();
  const reboots = new Map<string, number>();

  const follow = async (id: string, server: Server): Promise<void> => {
    const seen = await ec2.instance(id);
    const deed = deedFor(seen, reboots.get(id) ?? 0, server.isUp());
    if (deed === undefined) return;
    reboots.set(id, seen.reboots);
    log.info('hypervisor acts', { server: server.name, deed, state: seen.state });
    if (deed === 'cutPower') await server.cutPower();
    else if (deed === 'boot') await server.boot();
    else await server.shutDown(SHUTDOWN_MS);
    if (deed === 'reboot') await server.boot();
    const confirmation = CONFIRMATIONS[seen.state];
    if (confirmation !== undefined) await ec2.confirm(id, confirmation);
  };

  const look = (id: string, server: Server): void => {
    if (busy.has(id)) {
      again.add(id);
      return;
    }
    busy.add(id);
    void follow(id, server)
      .catch((error: unknown) => log.error('hypervisor failed', { server: server.name, error: describeError(error) }))
      .finally(() => {
        busy.delete(id);
        if (again.delete(id)) look(id, server);
      });
  };

  return {
    look: () => {
      for (const [id, server] of servers) look(id, server);
    },
  };
}

type Deed = 'boot' | 'shutDown' | 'cutPower' | 'reboot';

/** Pure. A server that is down while EC2 says `running` has lost its power: that is nobody's wish. */
export function deedFor(seen: InstanceSeen, rebootsBefore: number, isUp: boolean): Deed | undefined {
  if (seen.state === 'pending') return 'boot';
  if (seen.state === 'shutting-down') return 'cutPower';
  if (seen.state === 'stopping') return seen.lastStop?.force || seen.lastStop?.skipOsShutdown ? 'cutPower' : 'shutDown';
  if (seen.state === 'running' && seen.reboots > rebootsBefore) return isUp ? 'reboot' : 'boot';
  return undefined;
}

const CONFIRMATIONS: Readonly<Record<string, 'running' | 'stopped' | 'terminated' | undefined>> = {
  pending: 'running',
  stopping: 'stopped',
  'shutting-down': 'terminated',
};
