import { setImmediate } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { Disk } from '../../src/agent/disk.ts';
import { createGroupAgent, type GroupContext } from '../../src/agent/group.ts';
import { type Parts, realParts } from '../../src/agent/parts.ts';
import type { GroupProcessOptions, ProcessView, StartRequest } from '../../src/agent/process.ts';
import type { GroupMemory, RunDir } from '../../src/agent/rundir.ts';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { FailoverGroup } from '../../src/crds/failovergroup.ts';
import type { KubeApi } from '../../src/kube/api.ts';
import { assignment, group, onDisk } from '../decide/build.ts';

/** One group on a node whose shim takes its time: a start is asked for, and not answered before it is told to be. */

const A = '10.1.0.20';

const FRESH: GroupMemory = { ended: 0, settled: true, spawned: 0 };

interface Left extends Partial<Pick<RunDir, 'setGroup'>> {
  readonly memory?: GroupMemory;
  /** The epoch of the process that an earlier agent has left running. */
  readonly runs?: number;
  /** What the API server's lists say. Undefined: everything. */
  readonly heard?: { groups: boolean; vips: boolean };
  /** Whether the process passes its startup probe, by how often it was started. With it a start is answered at once. */
  readonly passes?: (start: number) => boolean;
}

/** One restart within the window, and a way to stop that no default has. */
function probed(before: FailoverGroup): FailoverGroup {
  const startupProbe = { tcpSocket: { port: 9000 }, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 60 };
  const ways = {
    startupProbe,
    stop: { signal: 'SIGINT', timeout: '7s' },
    restart: { limit: 1, window: '10m' },
  } as const;
  return { ...before, spec: { ...before.spec, process: { ...before.spec.process, ...ways } } };
}

function open({ setGroup = () => {}, memory = FRESH, runs, heard = { groups: true, vips: true }, passes }: Left = {}) {
  const plain = group({ assignment: assignment({ incarnation: 1 }) });
  let here = passes === undefined ? plain : probed(plain);
  const on = new Set<string>();
  const puts: string[] = [];
  const lifetimes: number[] = [];
  const removed: string[] = [];
  const none: ProcessView = { state: 'absent', epoch: 0, pid: undefined, last: undefined };
  let view: ProcessView = runs === undefined ? none : { ...none, state: 'running', epoch: runs, pid: 1 };
  const stops: { signal: string; timeoutMs: number }[] = [];
  let incarnation: number | undefined = 1;
  let starts = 0;
  const mount = { id: 1, device: '0:1', mountPoint: '/mnt/efs', fsType: 'nfs4', source: 'efs' };
  const parts = {
    ...realParts,
    mountAt: () => ({ state: 'mounted', mount }),
    untilReady: async () => passes?.(starts) ?? true,
    createGroupProcess: ({ onChange }: GroupProcessOptions) => ({
      view: () => view,
      start: ({ epoch }: StartRequest) => {
        starts += 1;
        if (passes === undefined) return new Promise<void>(() => {});
        view = { ...view, state: 'running', epoch, pid: starts };
        onChange();
        return Promise.resolve();
      },
      stop: (signal: string, timeoutMs: number) => {
        if (view.state !== 'running') return;
        stops.push({ signal, timeoutMs });
        const { epoch } = view;
        const last = { epoch, atMs: bootClock.nowMs(), cause: 'Stopped', message: `signal ${signal}` } as const;
        view = { ...view, state: 'idle', pid: undefined, last };
        onChange();
      },
      ...{ warm: async () => {}, adopt: async () => {}, leave: () => {} },
      ...{ setDeadline: async () => {}, cutDeadline: async () => {}, kill: async () => {} },
    }),
  } as Parts; // mountAt tells one kind of answer
  const disk = {
    ...{ id: async () => 'disk-1', prepare: async () => {}, own: async () => undefined, sync: async () => {} },
    ...{ lockFile: () => '/mnt/efs/lock', signLock: async () => {}, warm: () => {} },
  } as unknown as Disk; // what is asked of it without a second channel
  const context = {
    ...{ namespace: 'storage', node: 'server1', clock: bootClock, log: silentLog, parts, onChange: () => {} },
    api: { get: async () => here } as unknown as KubeApi, // the one call there is
    signal: new AbortController().signal,
    runDir: { group: () => memory, setGroup } as unknown as RunDir, // what is asked of it here
    host: { look: () => ({ account: { uid: 1, gid: 1, home: '/' } }) },
    disk: () => disk,
    addressesOn: () => ({
      put: async (addresses: readonly string[], lifetimeSeconds: number) => {
        for (const address of addresses) on.add(address);
        lifetimes.push(lifetimeSeconds);
        puts.push(...addresses);
      },
      remove: async (addresses: readonly string[]) => {
        await setImmediate();
        for (const address of addresses) on.delete(address);
        removed.push(...addresses);
      },
      present: async () => [...on],
    }),
    shimConfig: () => ({}),
    shimLogFile: '',
    nodeProblem: () => undefined,
    incarnation: () => incarnation,
    deadline: () => ({ untilMs: Number.NEGATIVE_INFINITY, unbrokenSinceMs: Number.POSITIVE_INFINITY }),
    timing: () => ({ renewEveryMs: 1_000, fenceAfterMs: 5_000, killWithinMs: 1_000, takeoverAfterMs: 8_000 }),
    watched: () => (heard.groups ? here : 'unknown'),
    vips: () => (heard.vips ? { all: [A], held: [A] } : { all: undefined, held: [] }),
    servedByOthers: () => [],
  } as unknown as GroupContext; // the shim's configuration is not looked at here
  const agent = createGroupAgent('failover', context);
  return {
    ...{ agent, on, puts, lifetimes, removed, stops },
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

/** What an agent remembers that had started epoch 3, with its address. */
const SERVED: GroupMemory = { ...FRESH, spawned: 3, addresses: [A] };
const turns = async () => {
  for (let turn = 0; turn < 20; turn += 1) await setImmediate();
};

test('until the API server is heard, an address lives on with the process that an earlier agent left running', async () => {
  const heard = { groups: false, vips: false };
  const { agent, on, puts, lifetimes, removed } = open({ memory: SERVED, runs: 3, heard });
  agent.poke();
  await turns();
  expect(puts).toEqual([]); // no deadline yet
  agent.deadlineMoved(renewed());
  await vi.waitUntil(() => on.has(A), { timeout: 60_000 });
  expect(agent.serves()).toEqual([A]); // no other group of the node takes it away

  lifetimes.length = 0;
  await agent.cutDeadline(bootClock.nowMs() + 300_000);
  await vi.waitUntil(() => lifetimes.length > 0, { timeout: 60_000 });
  expect(Math.max(...lifetimes)).toBeLessThanOrEqual(300);

  heard.groups = true; // and the list of VIPs comes later
  agent.poke();
  await vi.waitUntil(() => agent.report() !== undefined, { timeout: 60_000 });
  heard.vips = true;
  agent.poke();
  await turns();
  expect([[...on], removed]).toEqual([[A], []]);
  agent.leave();
});

test.each<[string, Left]>([
  ['nothing runs any more', {}],
  ['what runs is of another epoch', { runs: 4 }],
  ['the epoch has ended', { runs: 3, memory: { ...SERVED, ended: 3 } }],
])('it is not prolonged where %s', async (_, left) => {
  const { agent, puts } = open({ memory: SERVED, heard: { groups: false, vips: false }, ...left });
  agent.deadlineMoved(renewed());
  await turns();
  expect(puts).toEqual([]);
  agent.leave();
});

test('nor where it was ended for a new incarnation', async () => {
  const { agent, puts } = open({ memory: SERVED, runs: 3, heard: { groups: false, vips: true } });
  await agent.kill('this node has lost its Lease');
  agent.deadlineMoved(renewed());
  await turns();
  expect(puts).toEqual([]);
  agent.leave();
});

test('an agent remembers the addresses for as long as they belong there', async () => {
  let memory = FRESH;
  const { agent, starts } = open({
    setGroup: (_, next) => {
      memory = next;
    },
  });
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => starts() === 1 && memory.addresses?.includes(A), { timeout: 60_000 });
  expect(memory.spawned).toBeGreaterThan(0);
  await agent.kill('a new incarnation begins');
  expect(await agent.settle(false)).toBe(true);
  expect(memory.addresses).toEqual([]);
  agent.leave();
});

test('a process that does not pass its startup probe is stopped as the spec says, and that counts as a restart', async () => {
  const { agent, starts, stops } = open({ passes: (start) => start === 2 });
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => agent.report()?.ready, { timeout: 60_000 });
  expect([starts(), stops]).toEqual([2, [{ signal: 'SIGINT', timeoutMs: 7_000 }]]);
  expect(agent.report()).toMatchObject({ state: 'Running', pid: 2, restarts: 1, lastExit: 'signal SIGINT', fit: true });
  agent.leave();
});

test('a node where it never passes gives up after the restarts that are allowed', async () => {
  const { agent, starts, stops } = open({ passes: () => false });
  agent.deadlineMoved(renewed());
  agent.poke();
  await vi.waitUntil(() => agent.report()?.state === 'Failed', { timeout: 60_000 });
  expect([starts(), stops.length]).toEqual([2, 2]);
  expect(agent.report()).toMatchObject({ ready: false, restarts: 2, message: expect.stringContaining('1 restarts') });
  agent.leave();
});
