import { readFileSync } from 'node:fs';
import type { ServerName } from '../../topology.ts';
import { type Fault, forMs, type Mend, NOTHING_TO_MEND, servedElsewhere, signal } from '../fault.ts';
import type { Situation, World } from '../world.ts';

type Part = 'MinIO' | 'shim' | 'agent' | 'controller' | 'API server' | 'etcd';

/** kill -9, alone and together. Who keeps them (systemd, a Deployment, kubelet) starts them again. */
export const KILLS: readonly Fault[] = [
  killed(['MinIO'], 'restart at once + start'),
  killed(['shim'], 'restart at once + start'),
  killed(['agent'], 'none: the next agent adopts'),
  killed(['controller'], 'none'),
  killed(['API server'], 'none; without the second channel, while it is back within fenceAfter'),
  killed(['etcd'], 'none; without the second channel, while it is back within fenceAfter'),
  killed(['MinIO', 'shim', 'agent'], 'start of the agent + start'),
  killed(['agent', 'controller'], 'none: the next agent adopts'),
  killed(
    ['API server', 'etcd', 'controller'],
    'none; without the second channel, while they are back within fenceAfter',
  ),
  killed(['MinIO', 'shim', 'agent', 'controller', 'API server', 'etcd'], 'all starts + restart delay'),
];

/** SIGSTOP, and SIGCONT when it has had its effect. */
export const STOPS: readonly Fault[] = [
  stopped('MinIO stopped', 'as long as it stands', (world, at) => minioOf(world, at), forMs(3_000)),
  stopped(
    'agent stopped',
    'takeoverAfter + start',
    (world, at) => [world.cluster.sandbox.server(at).agentPid()].flatMap((pid) => pid ?? []),
    servedElsewhere,
  ),
  stopped('shim stopped, not killed', '0.5 s + restart + start', shimOf, forMs(2_000)),
  stopped(
    'shim and MinIO stopped',
    '0.5 s + restart + start',
    (world, at) => [...shimOf(world, at), ...minioOf(world, at)],
    forMs(2_000),
  ),
  {
    // Nothing of it runs, so nothing of it can fence itself: the case that LeaseExpired does not cover.
    ...stopped(
      'whole server stopped, goes on after its successor serves',
      'takeoverAfter + start',
      (world, at) =>
        world.cluster.sandbox
          .server(at)
          .processes()
          .map(({ pid }) => pid),
      servedElsewhere,
    ),
    excuses: 'twoProcesses',
  },
];

function killed(parts: readonly Part[], sum: string): Fault {
  return {
    name: `${parts.length > 5 ? 'all' : parts.join(', ')} killed`,
    sum,
    begin: async (world, { active }) => {
      const mends: Mend[] = [];
      // The control plane last: what is asked of it before must still find it.
      for (const part of parts) mends.unshift(await kill(world, part, active));
      return async () => {
        for (const mend of mends) await mend();
      };
    },
  };
}

async function kill(world: World, part: Part, at: ServerName): Promise<Mend> {
  const { sandbox } = world.cluster;
  switch (part) {
    case 'MinIO':
      for (const pid of minioOf(world, at)) signal(pid, 'SIGKILL');
      return NOTHING_TO_MEND;
    case 'shim':
      for (const pid of shimOf(world, at)) signal(pid, 'SIGKILL');
      return NOTHING_TO_MEND;
    case 'agent':
      await sandbox.server(at).killAgent();
      return NOTHING_TO_MEND;
    case 'controller':
      await sandbox.controller.kill();
      return NOTHING_TO_MEND;
    case 'API server':
      await sandbox.apiserver.kill();
      world.down.add('apiserver');
      return () => startControlPlane(world);
    case 'etcd':
      await sandbox.etcd.kill();
      world.down.add('etcd');
      return () => startControlPlane(world);
  }
}

/** An API server without etcd ends, so etcd comes first. */
async function startControlPlane({ cluster, down }: World): Promise<void> {
  if (down.delete('etcd')) await cluster.sandbox.etcd.start();
  if (down.delete('apiserver')) await cluster.sandbox.apiserver.start();
}

function stopped(
  name: string,
  sum: string,
  which: (world: World, at: ServerName) => number[],
  lasts: (world: World, before: Situation) => Promise<void>,
): Fault {
  return {
    name,
    sum,
    lasts,
    begin: async (world, { active }) => {
      const pids = which(world, active);
      for (const pid of pids) signal(pid, 'SIGSTOP');
      return async () => {
        for (const pid of pids) signal(pid, 'SIGCONT');
        // Where it was among them, so is who waits for it outside of the server.
        await world.cluster.sandbox.server(active).killAgent('SIGCONT');
      };
    },
  };
}

export function minioOf({ cluster }: World, at: ServerName): number[] {
  return cluster.minios()[at];
}

/** The parent of the process. */
function shimOf(world: World, at: ServerName): number[] {
  return minioOf(world, at).flatMap((pid) => {
    try {
      const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
      return parent > 1 ? [parent] : [];
    } catch {
      return [];
    }
  });
}
