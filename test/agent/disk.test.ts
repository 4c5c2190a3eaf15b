import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Disk, type OwnRecord, openDisk } from '../../src/agent/disk.ts';
import { createGroupDisk } from '../../src/agent/groupdisk.ts';
import { createHelper, type Helper, Hung } from '../../src/agent/helper.ts';
import { mountAt } from '../../src/agent/mounts.ts';
import { createDiskProbe, type DiskProbe } from '../../src/agent/probe.ts';
import { type DiskRecord, decodeRecord, encodeRecord, RECORD_BYTES } from '../../src/agent/record.ts';
import { createSharedHelpers } from '../../src/agent/sharedhelpers.ts';
import { bootClock } from '../../src/base/clock.ts';
import { type DiskMonitorSpec, diskMonitorSpec } from '../../src/crds/diskmonitor.ts';
import type { FailoverGroup } from '../../src/crds/failovergroup.ts';
import { until } from './processes.ts';

/** The shared disk, by real helper processes. A FIFO stands for a file whose server is away: its open never ends. */

const directories: string[] = [];
const mounts: string[] = [];
afterEach(() => {
  for (const mount of mounts.splice(0)) execFileSync('umount', ['--lazy', mount]);
});
// A probe that is closed after its test may still be writing.
afterAll(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, maxRetries: 10 });
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pointsman-disk-'));
  directories.push(directory);
  return directory;
}

/** A directory on which something is mounted. */
function newMount(options = 'size=1m'): string {
  const directory = newDirectory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'disk', directory]);
  mounts.push(directory);
  return directory;
}

function disk(mountPath: string, node = 'a', namespace = 'test'): Disk {
  const files = newDirectory();
  const recordFiles = { disk: join(files, 'disk.json'), channel: join(files, 'channel.json') };
  const opened = openDisk({ mountPath, namespace, node, recordFiles, clock: bootClock });
  onTestFinished(() => opened.close());
  return opened;
}

const end = (epoch: number): OwnRecord => ({ state: 'ended', ended: epoch, claim: 0, epoch, takeoverAfterSeconds: 8 });
const ended = async (opened: Disk, group = 'group') => (await opened.own(group, 5_000))?.ended;

describe('the id of a disk', () => {
  test('is made once, whoever comes first, and is the same for every node', async () => {
    const mountPath = newMount();
    const ids = await Promise.all(['a', 'b', 'c'].map((node) => disk(mountPath, node).id(true, 5_000)));
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(new Set(ids).size).toBe(1);
  });

  test('is not made where a group has one already', async () => {
    const mountPath = newMount();
    expect(await disk(mountPath).id(false, 5_000)).toBeUndefined();
    expect(existsSync(join(mountPath, '.pointsman'))).toBe(false);
  });
});

describe("a node's own file", () => {
  test('says what was written last, and is read back by the next agent', async () => {
    const mountPath = newMount();
    expect(await ended(disk(mountPath))).toBeUndefined();
    await disk(mountPath).writeOwn('group', end(7), 5_000);
    expect(await disk(mountPath).own('group', 5_000)).toMatchObject(end(7));
    expect(await ended(disk(mountPath, 'b'))).toBeUndefined();
  });

  test('is written over the same bytes, with a beat that was never there before', async () => {
    const mountPath = newMount();
    const opened = disk(mountPath);
    const file = join(mountPath, '.pointsman', 'test', 'group', 'a');
    const beats = [];
    for (const epoch of [7, 8]) {
      await opened.writeOwn('group', end(epoch), 5_000);
      beats.push(decodeRecord(readFileSync(file))?.beat);
      expect(statSync(file).size).toBe(RECORD_BYTES);
    }
    const { ino } = statSync(file);
    await disk(mountPath).writeOwn('group', end(8), 5_000);
    beats.push(decodeRecord(readFileSync(file))?.beat);
    expect(new Set(beats).size).toBe(3);
    expect(statSync(file).ino).toBe(ino);
  });

  test.each(['id', 'locks'])('is written for a namespace called "%s" too', async (namespace) => {
    const opened = disk(newMount(), 'a', namespace);
    const diskId = await opened.id(true, 5_000);
    await opened.prepare('group', 5_000);
    await opened.writeOwn('group', end(7), 5_000);
    expect(await ended(opened)).toBe(7);
    expect(await opened.id(false, 5_000)).toBe(diskId);
  });

  test('says nothing once a crash has torn it, until it is written again', async () => {
    const mountPath = newMount();
    const file = join(mountPath, '.pointsman', 'test', 'group', 'a');
    await disk(mountPath).writeOwn('group', end(7), 5_000);
    writeFileSync(file, readFileSync(file).subarray(0, 100));
    expect(await ended(disk(mountPath))).toBeUndefined();
    await disk(mountPath).writeOwn('group', end(8), 5_000);
    expect(await ended(disk(mountPath))).toBe(8);
  });

  test('is not written by a disk that is full', async () => {
    const mountPath = newMount('size=4k');
    writeFileSync(join(mountPath, 'data'), Buffer.alloc(4096));
    await expect(disk(mountPath).writeOwn('g', end(1), 5_000)).rejects.toThrow('ENOSPC');
  });

  test('is not written on another mount than the one that is meant, nor on another disk there', async () => {
    const mountPath = newMount();
    const opened = disk(mountPath);
    const diskId = await opened.id(true, 5_000);
    const at = mountAt(mountPath, ['tmpfs']);
    if (at.state !== 'mounted') throw new Error(at.message);
    const { id, device, fsType } = at.mount;
    const on = { path: mountPath, id, device, fsType, diskId };
    const wrong = [
      { ...on, id: id + 1 },
      { ...on, device: '0:1' },
      { ...on, diskId: 'other' },
    ];
    for (const other of wrong) {
      await expect(opened.writeOwn('g', end(1), 5_000, other)).rejects.toThrow('Cannot use');
      await expect(opened.readOthers('g', [], 5_000, other)).rejects.toThrow('Cannot use');
      await expect(opened.sync(5_000, other)).rejects.toThrow('Cannot use');
    }
    expect(await ended(opened, 'g')).toBeUndefined();
    await opened.sync(5_000, on);
    await opened.writeOwn('g', end(1), 5_000, on);
    expect(await ended(opened, 'g')).toBe(1);
  });

  test('is not written, and nothing is made, in the bare directory under a mount point', async () => {
    const mountPath = newDirectory();
    const opened = disk(mountPath);
    await expect(opened.sync(5_000)).rejects.toThrow('nothing is mounted there');
    await expect(opened.writeOwn('g', end(1), 5_000)).rejects.toThrow('nothing is mounted there');
    await expect(opened.readOthers('g', ['b'], 5_000)).rejects.toThrow('nothing is mounted there');
    await expect(opened.id(true, 5_000)).rejects.toThrow('nothing is mounted there');
    expect(readdirSync(mountPath)).toEqual([]);
  });
});

describe("the other nodes' files", () => {
  async function prepared(): Promise<{ mountPath: string; a: Disk; directory: string }> {
    const mountPath = newMount();
    const a = disk(mountPath, 'a');
    await a.prepare('group', 5_000);
    return { mountPath, a, directory: join(mountPath, '.pointsman', 'test', 'group') };
  }

  test('are read afresh each time, each with its own outcome, and made where they are missing', async () => {
    const { mountPath, a, directory } = await prepared();
    const b = disk(mountPath, 'b');
    await a.writeOwn('group', end(1), 5_000);
    await b.writeOwn('group', end(2), 5_000);
    writeFileSync(join(directory, 'torn'), encodeRecord({ version: 1, ...end(3), beat: 'x' }).subarray(0, 100));
    writeFileSync(join(directory, '.nfs0001'), '');
    mkdirSync(join(directory, 'unreadable'));
    mkdirSync(join(directory, 'no-file'));
    const read = async () => await a.readOthers('group', ['b', 'c', 'unreadable'], 5_000);
    const first = await read();
    expect(first).toMatchObject([
      { node: 'b', kind: 'record', record: end(2) },
      { node: 'c', kind: 'missing' },
      { node: 'unreadable', kind: 'failed', message: expect.stringContaining('EISDIR') },
      { node: 'torn', kind: 'torn' },
    ]);
    expect(statSync(join(directory, 'c')).size).toBe(0);
    expect(await read()).toMatchObject([first[0], { node: 'c', kind: 'empty' }, first[2], first[3]]);
    await b.writeOwn('group', end(2), 5_000);
    writeFileSync(join(directory, 'torn'), 'other');
    const later = await read();
    expect(later[0]).not.toEqual(first[0]);
    expect(later[3]).not.toEqual(first[3]);
  });

  test('that hang keep nothing else from the disk, and are left to nobody', async () => {
    const { mountPath, a, directory } = await prepared();
    const diskId = await a.id(true, 5_000);
    execFileSync('mkfifo', [join(directory, 'b')]);
    const hanging = a.readOthers('group', ['b'], 5_000);
    hanging.catch(() => {});
    await a.sync(4_000);
    expect(await a.id(false, 4_000)).toBe(diskId);
    await expect(hanging).rejects.toThrow(Hung);
    rmSync(join(directory, 'b'));
    await a.writeOwn('group', end(1), 5_000);
    expect(await a.readOthers('group', ['b'], 5_000)).toEqual([{ node: 'b', kind: 'missing' }]);
    expect(readdirSync(mountPath)).toEqual(['.pointsman']);
  });

  test('are no more than a group can have nodes, and lie in its own directory', async () => {
    const { a, directory } = await prepared();
    await expect(a.readOthers('group', ['../other/b'], 5_000)).rejects.toThrow("no node's name");
    for (let at = 0; at < 65; at += 1) writeFileSync(join(directory, `n${at}`), '');
    await expect(a.readOthers('group', [], 5_000)).rejects.toThrow('65 files lie there');
  });
});

describe('a record on the disk', () => {
  const record: DiskRecord = {
    ...{ version: 1, state: 'ended', ended: 7, claim: 0, epoch: 7, beat: 'mark-1', takeoverAfterSeconds: 8 },
  };

  test('has a fixed length and comes back as it was', () => {
    expect(encodeRecord(record)).toHaveLength(RECORD_BYTES);
    expect(decodeRecord(encodeRecord(record))).toEqual(record);
  });

  test('is none when any byte of it is torn', () => {
    const other = encodeRecord({ ...record, ended: 8, epoch: 8, beat: 'mark-2' });
    for (let at = 1; at < RECORD_BYTES; at += 1) {
      const torn = Buffer.concat([other.subarray(0, at), encodeRecord(record).subarray(at)]);
      const whole = torn.equals(other) || torn.equals(encodeRecord(record));
      expect(decodeRecord(torn) === undefined, `torn at ${at}`).toBe(!whole);
    }
    expect(decodeRecord(Buffer.alloc(0))).toBeUndefined();
    expect(decodeRecord(Buffer.alloc(RECORD_BYTES))).toBeUndefined();
  });
});

test('a node whose own record cannot be read does not know its disk, and does as soon as it can', async () => {
  const mountPath = newMount();
  const opened = disk(mountPath);
  const file = join(mountPath, '.pointsman', 'test', 'group', 'a');
  mkdirSync(file, { recursive: true });
  const looked = createGroupDisk({ clock: bootClock, disk: () => opened, mountAt, onChange: () => {} });
  const group = { metadata: { name: 'group' }, spec: { sharedDisk: { mountPath, fsTypes: ['tmpfs'] } } };
  const look = () => {
    const seen = looked.look(group as FailoverGroup);
    return seen.state === 'mounted' ? seen : undefined;
  };
  const unread = await until('it has been looked at', () => (look()?.message === undefined ? undefined : look()));
  expect(unread).toMatchObject({ id: undefined, message: expect.stringContaining('EISDIR') });
  expect(looked.mounted()).toBeUndefined();
  rmdirSync(file);
  await opened.writeOwn('group', end(7), 5_000);
  await until('it is known', () => look()?.id);
  expect(looked.ended()).toBe(7);
});

describe('a file access that hangs', () => {
  function hangingPath(): string {
    const path = join(newDirectory(), 'fifo');
    execFileSync('mkfifo', [path]);
    return path;
  }

  function helper(recordFile = join(newDirectory(), 'helper.json')): Helper & { recordFile: string } {
    const opened = createHelper({ script: 'probe-child', subject: 'the disk', recordFile, clock: bootClock });
    onTestFinished(() => opened.close());
    return { ...opened, recordFile };
  }

  const read = (path: string) => ({ method: 'ReadFile', path, size: 1 });
  const good = () => {
    const path = join(newDirectory(), 'file');
    writeFileSync(path, 'x');
    return path;
  };

  test('is given up in time, does not hold up the agent, and the next one works', async () => {
    const opened = helper();
    let turns = 0;
    const loop = setInterval(() => (turns += 1), 10);
    const from = bootClock.nowMs();
    await expect(opened.ask(read(hangingPath()), 400)).rejects.toThrow(Hung);
    clearInterval(loop);
    expect(bootClock.nowMs() - from).toBeLessThan(1_000);
    expect(turns).toBeGreaterThan(15);
    await expect(opened.ask(read(good()), 5_000)).resolves.toMatchObject({ latencyMs: expect.any(Number) });
  });

  test('is not joined by a second one while its process cannot be killed, also not by a later agent', async () => {
    const opened = helper();
    opened.warm();
    await opened.ask(read(good()), 5_000);
    const { pid } = JSON.parse(readFileSync(opened.recordFile, 'utf8')) as { pid: number };
    // A process in the v1 freezer takes SIGKILL as one that waits in the kernel does: when it is let go.
    const freezer = `/sys/fs/cgroup/freezer/pointsman-test-${pid}`;
    mkdirSync(freezer);
    onTestFinished(async () => {
      await until('the freezer is empty', () => remove(freezer));
    });
    writeFileSync(join(freezer, 'cgroup.procs'), String(pid));
    writeFileSync(join(freezer, 'freezer.state'), 'FROZEN');
    onTestFinished(() => writeFileSync(join(freezer, 'freezer.state'), 'THAWED'));
    await expect(opened.ask(read(good()), 300)).rejects.toThrow('no answer within 300 ms');
    await expect(opened.ask(read(good()), 5_000)).rejects.toThrow(`process ${pid} of an earlier access still hangs`);
    await expect(helper(opened.recordFile).ask(read(good()), 5_000)).rejects.toThrow('still hangs');
    writeFileSync(join(freezer, 'freezer.state'), 'THAWED');
    await until('it works again', () => opened.ask(read(good()), 5_000).catch(() => undefined));
  });

  function remove(path: string): boolean {
    try {
      rmdirSync(path);
      return true;
    } catch {
      return false;
    }
  }
});

describe('a DiskMonitor', () => {
  const helpers = () => {
    const directory = newDirectory();
    const recordFile = (path: string) => join(directory, `${path.replaceAll('/', '-')}.json`);
    return createSharedHelpers({ script: 'probe-child', recordFile, clock: bootClock });
  };
  function probe(
    change: Partial<DiskMonitorSpec>,
    more: { obstacle?: string; active?: () => boolean } = {},
  ): DiskProbe {
    const spec = diskMonitorSpec.parse({
      groupRef: { name: 'g' },
      path: '/x',
      interval: '100ms',
      timeout: '1s',
      ...change,
    });
    const opened = createDiskProbe({
      ...{ name: 'm', spec, helper: helpers().open(spec.path), clock: bootClock },
      place: () => (more.obstacle === undefined ? { mountPath: undefined } : { obstacle: more.obstacle }),
      active: more.active ?? (() => false),
      onChange: () => {},
    });
    onTestFinished(() => opened.close());
    return opened;
  }
  const untilState = (opened: DiskProbe, state: string) =>
    until(`it is ${state}`, () => (opened.report().state === state ? opened.report() : undefined));

  test('finds a good disk healthy, however many nodes write the same byte', async () => {
    const path = join(newDirectory(), 'monitor.txt');
    const probes = [1, 1, 3, 70_000].map((size) => probe({ path, size }));
    for (const opened of probes) await untilState(opened, 'Healthy');
    const end = bootClock.nowMs() + 1_500;
    while (bootClock.nowMs() < end) {
      for (const opened of probes) expect(opened.report()).toMatchObject({ state: 'Healthy', failures: 0 });
      await bootClock.sleep(20);
    }
  });

  test('counts a time-out as a failure, and failures up to its threshold', async () => {
    const path = join(newDirectory(), 'fifo');
    execFileSync('mkfifo', [path]);
    const opened = probe({ path, method: 'ReadFile', timeout: '300ms', failureThreshold: 2 });
    const failing = await untilState(opened, 'Failing');
    expect(failing).toMatchObject({ failures: 1, message: expect.stringContaining('no answer within 300 ms') });
    await untilState(opened, 'Failed');
  });

  test('fails without touching anything where nothing is mounted', async () => {
    const path = join(newDirectory(), 'monitor.txt');
    const opened = probe({ path }, { obstacle: 'nothing is mounted there' });
    await untilState(opened, 'Failed');
    expect(existsSync(path)).toBe(false);
  });

  test('that asks for the active node alone is idle on the others', async () => {
    let active = false;
    const opened = probe({ path: join(newDirectory(), 'm'), when: 'Active' }, { active: () => active });
    await untilState(opened, 'Idle');
    active = true;
    await untilState(opened, 'Healthy');
  });

  test('says which byte no node has written', async () => {
    const path = join(newDirectory(), 'm');
    execFileSync('ln', ['-s', '/dev/zero', path]);
    const opened = probe({ path, failureThreshold: 1 });
    expect((await untilState(opened, 'Failed')).message).toBeDefined();
  });
});
