import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { explainDiskError } from '../../src/agent/diskerror.ts';
import { createHelper } from '../../src/agent/helper.ts';
import { createDiskProbe, type DiskProbe } from '../../src/agent/probe.ts';
import type { ProbeRequest } from '../../src/agent/probe-child.ts';
import { createSharedHelpers, type SharedHelpers } from '../../src/agent/sharedhelpers.ts';
import { bootClock } from '../../src/base/clock.ts';
import { type DiskMonitorSpec, diskMonitorSpec } from '../../src/crds/diskmonitor.ts';
import { mountFaulty } from './fuse.ts';
import { until } from './processes.ts';

/** Probes of real file systems that fail in every way, and what is said of each. Needs root. */

const closing: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pointsman-probe-'));
  closing.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

function mount(...args: string[]): string {
  const directory = newDirectory();
  execFileSync('mount', [...args, directory]);
  closing.push(() => void execFileSync('umount', ['--lazy', directory]));
  return directory;
}

const tmpfs = (options = 'size=1m') => mount('-t', 'tmpfs', '-o', options, 'disk');

async function faulty(behaviour: Readonly<Record<string, string>>) {
  const mounted = await mountFaulty();
  closing.push(mounted.close);
  mounted.behave(behaviour);
  return mounted;
}

/** What one probe says, or `good`. */
async function probed(path: string, change: Partial<ProbeRequest> = {}): Promise<string> {
  const recordFile = join(newDirectory(), 'helper.json');
  const helper = createHelper({ script: 'probe-child', subject: path, recordFile, clock: bootClock });
  onTestFinished(() => helper.close());
  const request: ProbeRequest = { method: 'WriteFile', path, size: 1, mountPath: undefined, ...change };
  return helper.ask(request, 20_000).then(
    () => 'good',
    (error: Error) => error.message,
  );
}

describe('a probe says what is the matter and what to do', () => {
  test('of a disk that is full', async () => {
    const disk = tmpfs('size=16k');
    writeFileSync(join(disk, 'data'), Buffer.alloc(16_384));
    const path = join(disk, 'monitor');
    expect(await probed(path)).toBe(
      `Cannot write ${path}: the disk is full (ENOSPC); delete files, or make the file system larger`,
    );
  });

  test('of one that is read-only', async () => {
    const disk = mount('--bind', tmpfs());
    execFileSync('mount', ['-o', 'remount,bind,ro', disk]);
    expect(await probed(join(disk, 'monitor'))).toMatch(/^Cannot open .*: the file system is read-only \(EROFS\); see/);
  });

  test('of a path that is not what it should be', async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, 'file'), 'x');
    expect(await probed(join(directory, 'none', 'm'))).toMatch(/no such file or directory \(ENOENT\); create it/);
    expect(await probed(join(directory, 'none'), { method: 'ReadFile' })).toMatch(/\(ENOENT\); create it/);
    expect(await probed(join(directory, 'file', 'm'))).toMatch(/is no directory \(ENOTDIR\)/);
    expect(await probed(directory)).toMatch(/it is a directory \(EISDIR\); name a file/);
    expect(await probed(join(directory, 'file'), { method: 'ReadFile', size: 2 })).toMatch(/ends after 1 of 2 bytes/);
  });

  test.each([
    ['a quota', { write: 'EDQUOT' }, /Cannot write .*: the quota there is used up \(EDQUOT\); delete files, or raise/],
    [
      'a server that has lost the file',
      { open: 'ESTALE' },
      /\(a stale handle\) \(ESTALE\); unmount it .* mount it again/,
    ],
    ['a disk that fails to read', { read: 'EIO' }, /Cannot read .*: the disk or its server failed \(EIO\); see dmesg/],
    ['a disk that fails to write', { write: 'EIO' }, /Cannot write .*: the disk or its server failed \(EIO\)/],
    ['a disk that fails to sync', { fsync: 'EIO' }, /Cannot write .*: the disk or its server failed \(EIO\)/],
    ['a disk that lets nobody in', { open: 'EACCES' }, /root is not permitted to \(EACCES\); let root in/],
  ])('of %s', async (_, behaviour, says) => {
    const disk = await faulty(behaviour);
    expect(await probed(join(disk.mountPoint, 'monitor'))).toMatch(says);
    disk.behave({});
    expect(await probed(join(disk.mountPoint, 'monitor'))).toMatch(/^good$|is not what any node writes/);
  });

  test('of a mount whose server has ended', async () => {
    const disk = await faulty({});
    await disk.end();
    expect(await probed(join(disk.mountPoint, 'monitor'))).toMatch(/\(ENOTCONN\); unmount it/);
  });

  test('of the bare directory under a mount point, without touching it', async () => {
    const directory = newDirectory();
    const says = await probed(join(directory, 'monitor'), { mountPath: directory });
    expect(says).toBe(`Cannot use ${directory}: nothing is mounted there`);
    expect(await probed(join(directory, 'monitor'), { method: 'ReadFile' })).toMatch(/ENOENT/);
  });

  test('of another disk at the same place, which works', async () => {
    const disk = tmpfs();
    const request = { mountPath: disk, diskId: 'ours' };
    mkdirSync(join(disk, '.pointsman'));
    writeFileSync(join(disk, '.pointsman', 'id'), 'ours\n');
    expect(await probed(join(disk, 'monitor'), request)).toBe('good');
    execFileSync('mount', ['-t', 'tmpfs', 'other', disk]);
    expect(await probed(join(disk, 'monitor'), request)).toMatch(/another disk is mounted there, its id is none, the/);
    execFileSync('umount', [disk]);
    expect(await probed(join(disk, 'monitor'), request)).toBe('good');
  });

  test('of an error that it does not know, in the words of the system', () => {
    expect(explainDiskError(Object.assign(new Error('EXDEV: odd'), { code: 'EXDEV' }), '/x')).toBe('EXDEV: odd');
    expect(explainDiskError('text')).toBe('text');
  });
});

describe('of a disk that hangs, one probe waits in the kernel and no second one joins it', () => {
  function monitor(helpers: SharedHelpers, path: string, change: Partial<DiskMonitorSpec> = {}): DiskProbe {
    const given = { groupRef: { name: 'g' }, path, interval: '100ms', timeout: '300ms', ...change };
    const spec = diskMonitorSpec.parse(given);
    const probe = createDiskProbe({
      ...{ name: 'm', spec, helper: helpers.open(path), clock: bootClock, active: () => true },
      place: () => ({ mountPath: undefined }),
      onChange: () => {},
    });
    closing.push(() => probe.close());
    return probe;
  }
  const untilSays = (probe: DiskProbe, says: string | RegExp) =>
    until(`it says ${says}`, () => probe.report().message?.match(says));

  test('also of several monitors, of a later agent, and after a change of the spec', async () => {
    const disk = await faulty({ read: 'hang' });
    const path = join(disk.mountPoint, 'monitor');
    const recordFile = join(newDirectory(), 'helper.json');
    const agent = () => createSharedHelpers({ script: 'probe-child', recordFile: () => recordFile, clock: bootClock });
    const helpers = agent();
    const probes = [monitor(helpers, path), monitor(helpers, path, { timeout: '500ms' })];
    for (const probe of probes) await until('it has failed', () => probe.report().state === 'Failed');
    for (const probe of probes) await untilSays(probe, /of an earlier access still hangs/);
    probes[0]!.update(diskMonitorSpec.parse({ groupRef: { name: 'g' }, path, method: 'ReadFile', timeout: '1s' }));
    const later = monitor(agent(), path);
    await untilSays(later, /of an earlier access still hangs/);
    for (const probe of [...probes, later]) probe.close();
    const last = monitor(helpers, path);
    await untilSays(last, /of an earlier access still hangs/);
    expect(disk.hanging()).toBe(1);
    // It is let go: the next one comes through, and finds that the server is gone.
    await disk.end();
    await untilSays(last, /ENOTCONN/);
  });
});
