import { readyOf } from '../../cluster.ts';
import type { DiskFault } from '../../disk.ts';
import type { Link } from '../../sandbox.ts';
import { type Fault, forMs, servedElsewhere } from '../fault.ts';
import type { Situation, World } from '../world.ts';

/** Longer than `takeoverAfter`. */
const LONG_MS = 10_000;

const SERVER_CUT = 'takeoverAfter + start, without the second channel; with it none';

export const CUTS: readonly Fault[] = [
  cut('server cut from the API', SERVER_CUT, ({ active }) => [
    { from: active, to: 'api' },
    { from: 'api', to: active },
  ]),
  cut('server cut from the API, its own packets alone', SERVER_CUT, ({ active }) => [{ from: active, to: 'api' }]),
  cut('server cut from the API, the answers alone', SERVER_CUT, ({ active }) => [{ from: 'api', to: active }]),
  cut('controller cut from the API', 'none', () => [
    { from: 'controller', to: 'api' },
    { from: 'api', to: 'controller' },
  ]),
  {
    name: 'server cut from everything',
    sum: 'takeoverAfter + start',
    lasts: servedElsewhere,
    begin: async ({ cluster: { sandbox } }, { active }) => {
      const links: Link[] = [
        { from: active, to: '*' },
        { from: '*', to: active },
      ];
      for (const link of links) await sandbox.cut(link);
      await sandbox.server(active).setDiskFault('hang');
      return async () => {
        for (const link of links) await sandbox.heal(link);
        await sandbox.server(active).setDiskFault('none');
      };
    },
  },
  {
    name: 'API server hung',
    sum: 'until it answers + start, without the second channel; with it none',
    lasts: forMs(LONG_MS),
    begin: async ({ cluster: { sandbox } }) => {
      await sandbox.apiserver.pause();
      return () => sandbox.apiserver.resume();
    },
  },
];

/** What the connection to the disk does, on the active server or on both. */
export const DISKS: readonly Fault[] = [
  disk('hung', 'hang', ['active'], 'DiskMonitor (2 × 2 s) + stop.timeout + takeoverAfter (unsettled) + start'),
  disk('failing', 'fail', ['active'], 'DiskMonitor (2 × 1 s) + takeoverAfter (unsettled) + start'),
  disk('full', 'full', ['active'], 'DiskMonitor (2 × 1 s) + takeoverAfter (unsettled) + start'),
  disk('read-only', 'readOnly', ['active'], 'DiskMonitor (2 × 1 s) + takeoverAfter (unsettled) + start'),
  disk('stale', 'stale', ['active'], 'DiskMonitor (2 × 1 s) + takeoverAfter (unsettled) + start'),
  disk('takes what is written and never says so', 'mute', ['active'], 'as hung'),
  disk('holds even the killed, and writes late', 'stuck', ['active'], 'until it is over + start', forMs(8_000)),
  disk('slow', 'slow', ['active'], 'until it is over', forMs(3_000)),
  disk('hung on both servers', 'hang', ['active', 'other'], 'until it is over + start', forMs(8_000)),
  disk('failing on both servers', 'fail', ['active', 'other'], 'until it is over + start', forMs(6_000)),
  disk('full on both servers', 'full', ['active', 'other'], 'until it is over + start', forMs(6_000)),
  disk('read-only on both servers', 'readOnly', ['active', 'other'], 'until it is over + start', forMs(6_000)),
];

function cut(name: string, sum: string, links: (before: Situation) => Link[]): Fault {
  return {
    name,
    sum,
    lasts: forMs(LONG_MS),
    begin: async ({ cluster: { sandbox } }, before) => {
      const wanted = links(before);
      for (const link of wanted) await sandbox.cut(link);
      return async () => {
        for (const link of wanted) await sandbox.heal(link);
      };
    },
  };
}

/** Where the other server was itself left because of its disk a few minutes ago, nothing is moved to and fro. */
async function servedElsewhereOrHeld({ cluster }: World, { other, epoch }: Situation): Promise<void> {
  await cluster.until('the group served elsewhere, or held', 90_000, async () => {
    const group = await cluster.group();
    const ready = readyOf(group);
    if (ready?.reason === 'DiskFailedEverywhere') return true;
    const moved = group.status?.activeNode === other && (group.status.assignment?.epoch ?? 0) > epoch;
    return (moved && ready?.status === 'True') || `${ready?.reason}: ${ready?.message}`;
  });
}

const SLOW_MS = 20;

function disk(
  how: string,
  fault: DiskFault,
  where: readonly ('active' | 'other')[],
  sum: string,
  lasts: Fault['lasts'] = servedElsewhereOrHeld,
): Fault {
  return {
    name: `disk ${how}`,
    sum,
    lasts,
    begin: async ({ cluster: { sandbox } }, before) => {
      const set = async (wanted: DiskFault) => {
        // Without power it has no connection, and the next one is whole.
        await Promise.allSettled(where.map((which) => sandbox.server(before[which]).setDiskFault(wanted, SLOW_MS)));
      };
      await set(fault);
      return () => set('none');
    },
  };
}
