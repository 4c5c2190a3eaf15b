import type { Disk, openDisk } from '../../src/agent/disk.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { FileRead } from '../../src/decide/channel.ts';
import type { FileContent } from './disk.ts';
import type { Machine } from './machine.ts';
import type { Actor } from './time.ts';

/** The shared disk as the agent of one machine comes to it, through two helper processes that may hang. */
export function createDisk(machine: Machine, agent: Actor, clock: Clock): ReturnType<typeof openDisk> {
  const { time, disk, name } = machine;
  const { chance } = time;

  function ask<T>(limitMs: number, act: () => T): Promise<T> {
    return machine.lanes.disk.ask(agent, clock, limitMs, (done: (value: T) => void) => done(act()));
  }

  /** syncfs waits for all that the kernel holds. */
  const sync: Disk['sync'] = (limitMs) =>
    machine.lanes.disk.ask(agent, clock, limitMs, (done: () => void) => machine.whenAllHasLanded(done));

  // As src/agent/disk.ts makes them.
  const mark = agent.name.replaceAll(' ', '-');
  let beats = 0;

  function read(group: string, node: string): FileRead {
    const files = disk.filesOf(group);
    const content: FileContent | undefined = files.get(node);
    if (content === undefined) {
      files.set(node, 'empty');
      return { node, kind: 'missing' };
    }
    if (chance.hits(machine.unreadable)) {
      return chance.hits(0.5)
        ? { node, kind: 'failed', message: 'ESTALE' }
        : { node, kind: 'torn', content: `read ${chance.next()}` };
    }
    if (content === 'empty') return { node, kind: 'empty' };
    if ('torn' in content) return { node, kind: 'torn', content: content.torn };
    return { node, kind: 'record', record: content };
  }

  return {
    warm: () => {},
    id: (create, limitMs) =>
      ask(limitMs, () => {
        if (create) disk.id ??= 'disk-1';
        return disk.id;
      }),
    prepare: (_, limitMs) => ask(limitMs, () => {}),
    own: (group, limitMs) =>
      machine.lanes.channel.ask(agent, clock, limitMs, (done: (found: FileContentRead) => void) => {
        const found = machine.files.own(group);
        done(found === undefined || found === 'empty' || 'torn' in found ? undefined : found);
      }),
    writeOwn: (group, record, limitMs) => {
      beats += 1;
      const beat = machine.broken('a beat never there before') ? mark : `${mark}-${beats}`;
      const content = { ...record, beat };
      return machine.lanes.channel.ask(agent, clock, limitMs, (done: () => void) =>
        machine.files.write(group, content, done),
      );
    },
    readOthers: (group, nodes, limitMs) =>
      machine.lanes.channel.ask(agent, clock, limitMs, (done: (found: FileRead[]) => void) => {
        const others = new Set([...nodes, ...machine.files.list(group)]);
        others.delete(name);
        done([...others].map((node) => read(group, node)));
      }),
    sync,
    lockFile: () => 'lock',
    signLock: (group, text, limitMs) =>
      ask(limitMs, () => {
        disk.of(group).lockText = text;
      }),
    lockHolder: (group, limitMs) => ask(limitMs, () => disk.of(group).lockText),
    close: () => {},
  };
}

type FileContentRead = Awaited<ReturnType<Disk['own']>>;
