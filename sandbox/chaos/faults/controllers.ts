import { type Fault, servedElsewhere } from '../fault.ts';
import type { World } from '../world.ts';

const ELECTION = [
  'get',
  'lease',
  'pointsman-controller',
  '-n',
  'pointsman-system',
  '-o',
  'jsonpath={.spec.holderIdentity}',
];

/**
 * The first stands still until the second leads, and goes on in the belief that it still does: until its next look at a
 * clock, both lead. A move is asked for at that moment.
 */
export const CONTROLLERS: readonly Fault[] = [
  {
    name: 'two controllers that both believe to lead',
    sum: 'a planned move',
    lasts: servedElsewhere,
    begin: async (world, { other }) => {
      const { sandbox } = world.cluster;
      const first = await leader(world);
      await sandbox.controller.startSecond();
      await sandbox.controller.kill('SIGSTOP');
      try {
        await world.cluster.until('the second controller to lead', 60_000, async () => {
          const now = await leader(world);
          return (now !== first && now !== '') || now;
        });
        await world.kubectl('annotate', '--overwrite', 'failovergroup/failover', `pointsman.dev/move-to=${other}`);
      } finally {
        await sandbox.controller.kill('SIGCONT');
      }
      return () => sandbox.controller.stopSecond();
    },
  },
];

async function leader({ cluster }: World): Promise<string> {
  return await cluster.sandbox.kubectl(ELECTION);
}
