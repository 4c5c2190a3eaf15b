import type { Disk, OwnRecord, openDisk } from '../../src/agent/disk.ts';
import { Hung } from '../../src/agent/helper.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { FileRead } from '../../src/decide/channel.ts';
import type { Machine } from './machine.ts';
import type { Actor } from './time.ts';

/** The shared disk as the agent of one machine comes to it: each access may hang, and the next waits for none that does. */
export function createDisk(machine: Machine, agent: Actor, clock: Clock): ReturnType<typeof openDisk> {
  const { time, disk } = machine;
  let hanging = 0;

  function ask<T>(limitMs: number, act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (agent.dead) return;
      if (hanging > 0) return reject(new Hung('Cannot access the disk: an earlier access still hangs'));
      let given = false;
      const cancel = clock.after(limitMs, () => {
        given = true;
        hanging += 1;
        reject(new Hung(`Cannot access the disk: no answer within ${limitMs} ms`));
      });
      const reach = () => {
        // A helper that was killed meanwhile may have come through all the same.
        if (given) {
          hanging -= 1;
          if (time.chance.hits(0.5)) return;
        }
        const value = act();
        time.in(0.2, agent, () => {
          cancel();
          resolve(value);
        });
      };
      time.in(time.chance.longTail(1, 60), machine.actor, () => machine.whenDiskIsBack(reach));
    });
  }

  /** syncfs waits for all that the kernel holds. */
  const synced: Disk['sync'] = async (limitMs) => {
    await ask(limitMs, () => {});
    while (machine.holdsWrites()) await clock.sleep(20);
  };
  const file = (group: string, node: string) => `${group}/${node}`;
  const mark = `${agent.name}`;
  let beats = 0;
  const write = (group: string, record: OwnRecord) => {
    disk.records.set(file(group, machine.name), { ...record, beat: `${mark}-${++beats}` });
  };
  const read = (group: string, node: string): FileRead => {
    const found = disk.records.get(file(group, node));
    if (found === undefined) disk.records.set(file(group, node), 'empty');
    if (found === undefined) return { node, kind: 'missing' };
    return found === 'empty' ? { node, kind: 'empty' } : { node, kind: 'record', record: found };
  };
  return {
    warm: () => {},
    id: (create, limitMs) =>
      ask(limitMs, () => {
        if (create) disk.id ??= 'disk-1';
        return disk.id;
      }),
    prepare: (_, limitMs) => ask(limitMs, () => {}),
    own: (group, limitMs) =>
      ask(limitMs, () => {
        const found = disk.records.get(file(group, machine.name));
        return found === 'empty' ? undefined : found;
      }),
    writeOwn: (group, record, limitMs) => ask(limitMs, () => write(group, record)),
    readOthers: (group, nodes, limitMs) =>
      ask(limitMs, () => {
        const lying = [...disk.records.keys()].flatMap((key) =>
          key.startsWith(`${group}/`) ? [key.slice(group.length + 1)] : [],
        );
        return [...new Set([...nodes, ...lying])]
          .filter((node) => node !== machine.name)
          .map((node) => read(group, node));
      }),
    sync: synced,
    lockFile: () => 'lock',
    signLock: (_, text, limitMs) =>
      ask(limitMs, () => {
        disk.lockText = text;
      }),
    lockHolder: (_, limitMs) => ask(limitMs, () => disk.lockText),
    close: () => {},
  };
}
