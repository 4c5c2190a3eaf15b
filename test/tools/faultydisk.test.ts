import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type FaultyDisk, mountFaultyDisk } from '../../sandbox/faultydisk.ts';
import { tryRun } from '../../sandbox/run.ts';
import { toolPath } from '../../tools/locate.ts';

/** Two mounts of one directory, as two servers have them, each in a mount namespace that ends with it. */
let directory: string;
let one: FaultyDisk;
let two: FaultyDisk;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pointsman-disk-'));
  await mkdir(join(directory, 'back'));
  await mkdir(join(directory, 'mount'));
  const program = join(directory, 'program');
  await writeFile(
    program,
    `#!/bin/sh\nexec unshare --mount --propagation private ${await toolPath('faultydisk')} "$@"\n`,
  );
  await chmod(program, 0o755);
  const mount = () => mountFaultyDisk(program, join(directory, 'back'), join(directory, 'mount'));
  [one, two] = await Promise.all([mount(), mount()]);
}, 120_000);

afterEach(async () => {
  await Promise.all([one?.end(), two?.end()]);
  await rm(directory, { recursive: true, force: true });
});

/** `@` is the directory as `disk` has it mounted. */
const on = (disk: FaultyDisk, script: string) => {
  const words = script.replaceAll('@', join(directory, 'mount'));
  return ['nsenter', '-t', String(disk.pid), '-m', '--', 'sh', '-c', words];
};
const said = async (disk: FaultyDisk, script: string) => {
  const { stdout, stderr } = await tryRun(on(disk, script));
  return (stdout + stderr).trim();
};
const start = (disk: FaultyDisk, script: string) => {
  const [file = '', ...args] = on(disk, script);
  const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'ignore'] });
  return { child, ended: once(child, 'exit') };
};
const SOON = { timeout: 60_000, interval: 20 };
const waitsForTheDisk = async (pid: number | undefined) =>
  await vi.waitFor(async () => expect(await readFile(`/proc/${pid}/stack`, 'utf8')).toContain('fuse'), SOON);

/** Has a file of the first mount open; so what meets the fault is its write alone. */
async function writer(name: string) {
  const { child, ended } = start(one, `exec 3>>@/${name}; read go && echo written >&3`);
  await vi.waitFor(async () => expect(await said(two, `ls @/${name}`)).not.toContain('cannot'), SOON);
  return {
    child,
    ended,
    write: async () => {
      child.stdin.write('go\n');
      await waitsForTheDisk(child.pid);
    },
  };
}

describe('a disk that fails on command', () => {
  test('is one disk for both servers: content, names, attributes, owners, and locks', async () => {
    expect(
      await said(one, 'echo hello >@/a && mv @/a @/b && chmod 640 @/b && chown 1000:1000 @/b && ln -s b @/c'),
    ).toBe('');
    expect(await said(two, 'cat @/c && stat -c "%a %u" @/b')).toBe('hello\n640 1000');
    expect(await said(two, 'echo again >@/b && rm @/c')).toBe('');
    expect(await said(one, 'cat @/b; ls @')).toBe('again\nb');
    expect(
      await said(one, 'dd if=/dev/zero of=@/d bs=4096 count=3 oflag=direct,sync status=none && stat -c %s @/d'),
    ).toBe('12288');
    const held = start(one, 'exec flock --no-fork -n @/b sh -c "touch @/locked; exec sleep 60"');
    await vi.waitFor(async () => expect(await said(two, 'cat @/locked')).toBe(''), SOON);
    expect(await said(two, 'flock -n @/b echo mine || echo refused')).toBe('refused');
    held.child.kill('SIGKILL');
    await held.ended;
    await vi.waitFor(async () => expect(await said(two, 'flock -n @/b echo mine || echo refused')).toBe('mine'), {
      timeout: 10_000,
    });
  });

  test.each([
    ['fail', 'cat @/a', 'Input/output error'],
    ['stale', 'cat @/a', 'Stale file handle'],
    ['full', '/bin/echo more >>@/a', 'No space left on device'],
    ['readOnly', '/bin/echo more >>@/a', 'Read-only file system'],
    ['readOnly', 'rm @/a', 'Read-only file system'],
    ['full', 'cat @/a', 'kept'],
    ['readOnly', 'cat @/a', 'kept'],
    ['slow', 'cat @/a', 'kept'],
  ])(
    'that is told to %s answers `%s` with: %s, and on the other server nothing is wrong',
    async (fault, script, answer) => {
      await said(one, 'echo kept >@/a');
      await one.set(fault, 5);
      expect(await said(one, script)).toContain(answer);
      expect(await said(two, 'echo well >@/b; cat @/a @/b')).toBe('kept\nwell');
      await one.set('none', 0);
      expect(await said(one, 'cat @/a @/b')).toBe('kept\nwell');
    },
  );

  test('that hangs answers nobody; who is killed meanwhile dies, and what it asked for is never done', async () => {
    const [waiting, killed] = [await writer('waiting'), await writer('killed')];
    await one.set('hang', 0);
    await Promise.all([waiting.write(), killed.write()]);
    killed.child.kill('SIGKILL');
    expect(await killed.ended).toEqual([null, 'SIGKILL']);
    expect(waiting.child.exitCode).toBeNull();
    await one.set('none', 0);
    expect(await waiting.ended).toEqual([0, null]);
    expect(await said(two, 'cat @/waiting; cat @/killed')).toBe('written');
  });

  test('that is stuck holds even the killed, and does what they asked for when it is over', async () => {
    const killed = await writer('late');
    await one.set('stuck', 0);
    await killed.write();
    killed.child.kill('SIGKILL');
    for (let looks = 0; looks < 20; looks++) {
      expect(await said(two, 'cat @/late')).toBe('');
      expect(killed.child.signalCode).toBeNull();
    }
    await one.set('none', 0);
    expect(await killed.ended).toEqual([null, 'SIGKILL']);
    expect(await said(two, 'cat @/late')).toBe('written');
  });

  test('that is mute does what it is asked, and says so only when it is over', async () => {
    const unanswered = await writer('done');
    await one.set('mute', 0);
    await unanswered.write();
    await vi.waitFor(async () => expect(await said(two, 'cat @/done')).toBe('written'), SOON);
    expect(unanswered.child.exitCode).toBeNull();
    await one.set('none', 0);
    expect(await unanswered.ended).toEqual([0, null]);
  });

  test('that ends lets everybody go who waited for it', async () => {
    await one.set('stuck', 0);
    const waiting = start(one, 'exec mkdir @/made');
    await waitsForTheDisk(waiting.child.pid);
    await one.end();
    expect((await waiting.ended)[0]).not.toBe(0);
  });
});
