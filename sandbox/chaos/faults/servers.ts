import type { ServerName } from '../../topology.ts';
import { type Fault, forMs, NOTHING_TO_MEND, servedElsewhere } from '../fault.ts';
import type { World } from '../world.ts';

const AN_HOUR_MS = 3_600_000;

export const SERVER_FAULTS: readonly Fault[] = [
  {
    name: 'power cut',
    sum: 'takeoverAfter + start',
    lasts: servedElsewhere,
    begin: async (world, { active }) => {
      await world.cluster.sandbox.server(active).powerCut();
      return () => boot(world, active);
    },
  },
  {
    name: 'power cut of the other server',
    sum: 'none',
    lasts: forMs(2_000),
    begin: async (world, { other }) => {
      await world.cluster.sandbox.server(other).powerCut();
      return () => boot(world, other);
    },
  },
  {
    name: 'power cut of both',
    sum: 'boot + start',
    begin: async (world, { active, other }) => {
      await Promise.all([active, other].map((name) => world.cluster.sandbox.server(name).powerCut()));
      return async () => void (await Promise.all([active, other].map((name) => boot(world, name))));
    },
  },
  {
    name: 'reboot',
    sum: 'boot + Rejoined + start, or takeoverAfter + start',
    begin: async (world, { active }) => {
      await world.cluster.sandbox.server(active).powerCut();
      await boot(world, active);
      return NOTHING_TO_MEND;
    },
  },
  {
    name: '/run/pointsman deleted',
    sum: 'end of what runs + start',
    begin: async (world, { active }) => {
      await world.cluster.sandbox.server(active).exec(['rm', '-rf', '/run/pointsman']);
      return NOTHING_TO_MEND;
    },
  },
  clockSet('clock five hours ahead', 5 * AN_HOUR_MS),
  clockSet('clock five hours back', -5 * AN_HOUR_MS),
];

function clockSet(name: string, offsetMs: number): Fault {
  return {
    name,
    sum: 'none: no decision reads it',
    // The agent's own word that its clock is off: the renewal that carries it.
    lasts: async (world, { active }) => {
      const { cluster, kubectl } = world;
      await cluster.until(`the clock of ${active} off`, 30_000, async () => {
        const renewed = await kubectl('get', 'lease', active, '-o', 'jsonpath={.spec.renewTime}');
        return Math.abs(Date.parse(renewed) - Date.now() - offsetMs) < AN_HOUR_MS || renewed;
      });
      await forMs(3_000)(world);
    },
    begin: async ({ cluster }, { active }) => {
      const set = (ms: number) =>
        cluster.sandbox.server(active).exec(['sh', '-c', `echo ${ms} >/etc/pointsman/clock-offset-ms`]);
      await set(offsetMs);
      return async () => void (await set(0));
    },
  };
}

async function boot({ cluster }: World, name: ServerName): Promise<void> {
  const server = cluster.sandbox.server(name);
  // Under policy Instance somebody else may have started it meanwhile.
  if (server.processes().length === 0) await server.boot();
}
