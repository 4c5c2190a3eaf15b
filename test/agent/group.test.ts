import { setImmediate } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { Disk } from '../../src/agent/disk.ts';
import { createGroupAgent, type GroupContext } from '../../src/agent/group.ts';
import { type Parts, realParts } from '../../src/agent/parts.ts';
import type { GroupMemory, RunDir } from '../../src/agent/rundir.ts';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { FailoverGroup } from '../../src/crds/failovergroup.ts';
import type { KubeApi } from '../../src/kube/api.ts';
import { assignment, group, onDisk } from '../decide/build.ts';

/** One group on a node whose shim takes its time: a start is asked for, and not answered before it is told to be. */

const A = '10.1.0.20';

function open({ setGroup = () => {} }: Partial<Pick<RunDir, 'setGroup'>> = {}) {
  let here = group({ assignment: assignment({ incarnation: 1 }) });
  const on = new Set<string>();
  const puts: string[] = [];
  let incarnation: number | undefined = 1;
  let starts = 0;
  const mount = { id: 1, device: '0:1', mountPoint: '/mnt/efs', fsType: 'nfs4', source: 'efs' };
  const parts = {
    ...realParts,
    mountAt: () => ({ state: 'mounted', mount }),
    createGroupProcess: () => ({
      view: () => ({ state: 'absent', epoch: 0, pid: undefined, last: undefined }),
      start: () => {
        starts += 1;
        return new Promise<void>(() => {});
      },
      ...{ warm: async () => {}, adopt: async () => {}, stop: () => {}, leave: () => {} },
      ...{ setDeadline: async () => {}, cutDeadline: async () => {}, kill: async () => {} },
    }),
  } as Parts; // mountAt tells one kind of answer
  const disk = {
    ...{ id: async () => 'disk-1', prepare: async () => {}, own: async () => undefined, sync: async () => {} },
    ...{ lockFile: () => '/mnt/efs/lock', warm: () => {} },
  } as unknown as Disk; // what is asked of it without a second channel
  const context = {
    ...{ namespace: 'storage', node: 'server1', clock: bootClock, log: silentLog, parts, onChange: () => {} },
    api: { get: async () => here } as unknown as KubeApi, // the one call there is
    signal: new AbortController().signal,
    runDir: { group: () => ({ ended: 0, settled: true, spawned: 0 }), setGroup } as unknown as RunDir, // what is asked of it here
    host: { look: () => ({ account: { uid: 1, gid: 1, home: '/' } }) },
    disk: () => disk,
    addressesOn: () => ({
      put: async (addresses: readonly string[]) => {
        for (const address of addresses) on.add(address);
        puts.push(...addresses);
      },
      remove: async (addresses: readonly string[]) => {
        await setImmediate();
        for (const address of addresses) on.delete(address);
      },
      present: async () => [...on],
    }),
    shimConfig: () => ({}),
    shimLogFile: '',
    nodeProblem: () => undefined,
    incarnation: () => incarnation,
    deadline: () => ({ untilMs: Number.NEGATIVE_INFINITY, unbrokenSinceMs: Number.POSITIVE_INFINITY }),
    timing: () => ({ renewEveryMs: 1_000, fenceAfterMs: 5_000, killWithinMs: 1_000, takeoverAfterMs: 8_000 }),
    watched: () => here,
    vips: () => ({ all: [A], held: [A] }),
    servedByOthers: () => [],
  } as unknown as GroupContext; // the shim's configuration is not looked at here
  const agent = createGroupAgent('failover', context);
  return {
    ...{ agent, on, puts },
    starts: () => starts,
    setGroupSeen: (next: FailoverGroup) => {
      here = next;
      agent.poke();
    },
    setIncarnation: (next: number | undefined) => {
      incarnation = next;
    },
  };
}

/** The Lease was renewed just now. */
const renewed = () => ({ untilMs: bootClock.nowMs() + 600_000, unbrokenSinceMs: bootClock.nowMs() });

test('what was ended for a new incarnation gets no address back from a start that still waits for its shim', async () => {
  const { agent, on, puts, starts, setIncarnation } = open();
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => starts() === 1 && on.has(A), { timeout: 60_000 });

  setIncarnation(undefined);
  await agent.kill('a new incarnation begins');
  expect(await agent.settle(false)).toBe(true);
  expect([...on]).toEqual([]);

  puts.length = 0;
  setIncarnation(2);
  agent.deadlineMoved(renewed());
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
  expect(puts).toEqual([]);
  agent.leave();
});

test('a new incarnation waits for the addresses also where /run takes nothing', async () => {
  let broken = false;
  const setGroup = () => {
    if (broken) throw new Error('no space left on device');
  };
  const { agent, on, starts, setIncarnation } = open({ setGroup });
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => starts() === 1 && on.has(A), { timeout: 60_000 });
  setIncarnation(undefined);
  await agent.kill('a new incarnation begins');
  broken = true;
  await expect(agent.settle(false)).rejects.toThrow(/no space/);
  expect([...on]).toEqual([]);
  agent.leave();
});

test('whose assignment is lost says in its answer what it goes by on the disk, and goes by the one that is made again', async () => {
  let memory: GroupMemory | undefined;
  const { agent, starts, setGroupSeen } = open({ setGroup: (_, next) => (memory = next) });
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => starts() === 1, { timeout: 60_000 });

  setGroupSeen(group({ assignment: undefined, lost: '200' }));
  await vi.waitUntil(() => agent.report()?.rollCall === '200', { timeout: 60_000 });
  expect(agent.report()).toMatchObject({ epoch: 3, heartbeat: false });

  const again = onDisk();
  setGroupSeen(group({ assignment: again }));
  await vi.waitUntil(() => agent.report()?.rollCall === undefined, { timeout: 60_000 });
  expect(memory?.assignment).toEqual(again);

  setGroupSeen(group({ assignment: undefined, lost: '200' }));
  await vi.waitUntil(() => agent.report()?.rollCall === '200', { timeout: 60_000 });
  expect(agent.report()).toMatchObject({ epoch: 3, heartbeat: true });
  agent.leave();
});
