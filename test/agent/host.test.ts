import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { judgeMount, parseMountinfo } from '../../src/agent/mounts.ts';
import { commandProblem, lookUpAccount, readPolicy, refusal } from '../../src/agent/policy.ts';
import { lockRunDir, openRunDir } from '../../src/agent/rundir.ts';
import { failoverGroupSpec } from '../../src/crds/failovergroup.ts';

/** What the host says: mounts, policy, users, and the agent's memory in /run. */

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pointsman-host-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

describe('mountinfo', () => {
  const text = [
    '22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw',
    '90 22 0:45 / /mnt/efs rw,relatime shared:30 master:1 - nfs4 127.0.0.1:/ rw,vers=4.1',
    '91 22 0:46 / /mnt/with\\040space\\134 rw - nfs4 127.0.0.1:/a\\011b rw',
    '92 22 0:47 / /mnt/plain rw - tmpfs none rw',
    '93 22 0:48 / /mnt/twice rw - nfs4 127.0.0.1:/ rw',
    '94 93 0:49 / /mnt/twice rw - tmpfs none rw',
    '95 22 0:50 / /srv/hidden rw - nfs4 127.0.0.1:/ rw',
    '96 22 0:51 / /srv rw - tmpfs none rw',
    '',
  ].join('\n');
  const mounts = parseMountinfo(text);
  const judge = (path: string) => judgeMount(mounts, path, ['nfs4']);

  test('a mount of an allowed type at the very path is one', () => {
    expect(judge('/mnt/efs')).toMatchObject({
      state: 'mounted',
      mount: { id: 90, device: '0:45', source: '127.0.0.1:/' },
    });
    expect(judge('/mnt/with space\\')).toMatchObject({ state: 'mounted', mount: { source: '127.0.0.1:/a\tb' } });
  });

  test.each([
    ['/mnt/efs/below', 'nothing is mounted there'],
    ['/mnt', 'nothing is mounted there'],
    ['/mnt/plain', 'a file system of type tmpfs is mounted there'],
    ['/mnt/twice', 'a file system of type tmpfs is mounted there'],
    ['/srv/hidden', 'the mount at /srv hides it'],
  ])('%s is not: %s', (path, message) => {
    expect(judge(path)).toMatchObject({ state: 'notMounted', message: expect.stringContaining(message) });
  });
});

describe('the policy of the host', () => {
  const spec = (process: object) =>
    failoverGroupSpec.parse({
      nodes: ['a'],
      sharedDisk: { mountPath: '/mnt/efs' },
      process: { command: ['/work/minio', 'server'], user: 'minio', ...process },
    }).process;
  const policy = { commands: ['/work/minio'], users: ['minio'] };
  const file = '/etc/pointsman/agent.yaml';

  test('lets what it lists run', () => {
    expect(refusal(spec({}), policy, file)).toBeUndefined();
  });

  test.each([
    [{ command: ['/usr/bin/python3'] }, 'CommandNotAllowed', `add the line "- /usr/bin/python3" under commands`],
    [{ command: ['/work/minio/../../bin/sh'] }, 'CommandNotAllowed', 'does not list it'],
    [{ user: 'root' }, 'UserNotAllowed', 'add the line "- root" under users'],
    [{ env: [{ name: 'LD_PRELOAD', value: '/mnt/efs/x.so' }] }, 'CommandNotAllowed', 'Cannot set "LD_PRELOAD"'],
  ])('refuses %j', (process, reason, message) => {
    expect(refusal(spec(process), policy, file)).toMatchObject({ reason, message: expect.stringContaining(message) });
  });

  test('allows nothing where it cannot be read, and says why', () => {
    const missing = join(newDirectory(), 'agent.yaml');
    expect(readPolicy(missing)).toMatchObject({
      policy: { commands: [], users: [] },
      problem: expect.stringContaining('ENOENT'),
    });
    for (const text of ['commands: [/work/minio]\nuser: [minio]\n', 'commands: /work/minio\n', '- minio\n']) {
      writeFileSync(missing, text);
      const { problem, policy } = readPolicy(missing);
      expect(policy).toEqual({ commands: [], users: [] });
      expect(problem).toMatch(/^Cannot use .*: .*(user|commands|expected).*; write it as \{ commands: \[/);
      expect(problem).not.toMatch(/[\n\r]|"code"/);
    }
    writeFileSync(missing, 'commands: [\n');
    expect(readPolicy(missing).problem).toMatch(/^Cannot use [^\n]* no YAML: [^\n]*$/);
    writeFileSync(missing, '# nothing yet\n');
    expect(readPolicy(missing)).toEqual({ policy: { commands: [], users: [] } });
  });

  test('a command that is not there, or is none, is missing', () => {
    expect(commandProblem('/bin/sleep')).toBeUndefined();
    expect(commandProblem('/nonexistent')).toMatchObject({ reason: 'CommandMissing' });
    expect(commandProblem('/etc/passwd')).toMatchObject({ reason: 'CommandMissing' });
    expect(commandProblem('/bin')).toMatchObject({ reason: 'CommandMissing' });
  });

  test('users are those of the host', async () => {
    expect(await lookUpAccount('root')).toMatchObject({ uid: 0, gid: 0, home: '/root' });
    expect(await lookUpAccount('nobody-here')).toBeUndefined();
  });
});

describe('/run', () => {
  test('remembers within a boot and forgets with it', () => {
    const root = newDirectory();
    const first = openRunDir(root, 'ns', 'a', 'boot-1');
    expect(first.incarnation()).toBeUndefined();
    first.setIncarnation(4);
    first.setGroup('g', { ended: 6, settled: true, spawned: 7 });
    const again = openRunDir(root, 'ns', 'a', 'boot-1');
    expect([again.incarnation(), again.group('g')]).toEqual([4, { ended: 6, settled: true, spawned: 7 }]);
    expect(openRunDir(root, 'ns', 'a', 'boot-2').incarnation()).toBeUndefined();
    again.setIncarnation(undefined);
    expect(again.incarnation()).toBeUndefined();
  });

  test('is not remembered when the directory is gone, and can be written again', () => {
    const root = newDirectory();
    const opened = openRunDir(root, 'ns', 'a', 'boot-1');
    opened.setIncarnation(4);
    rmSync(join(root, 'ns'), { recursive: true });
    expect(opened.incarnation()).toBeUndefined();
    opened.setIncarnation(5);
    opened.setGroup('g', { ended: 0, settled: true, spawned: 0 });
    expect(opened.incarnation()).toBe(5);
  });

  test('gives every group a socket whose name the kernel takes', () => {
    const opened = openRunDir(newDirectory(), 'n'.repeat(60), 'a'.repeat(60), 'boot-1');
    const paths = ['g'.repeat(250), 'g'.repeat(251), 'g'].map((group) => opened.socket(group));
    for (const path of paths) expect(Buffer.byteLength(path)).toBeLessThan(108);
    expect(new Set(paths).size).toBe(3);
  });

  test('remembers a group with the longest name there is, and finds its shim', () => {
    const opened = openRunDir(newDirectory(), 'n'.repeat(60), 'a'.repeat(60), 'boot-1');
    const names = ['g'.repeat(252), 'g'.repeat(253), 'g'];
    names.forEach((name, ended) => {
      opened.setGroup(name, { ended, settled: true, spawned: 3 });
      writeFileSync(opened.accepted(name), '{}');
    });
    expect(names.map((name) => opened.group(name)?.ended)).toEqual([0, 1, 2]);
    expect(opened.groupsWithShims().sort()).toEqual([...names].sort());
  });

  test('has one agent at a time', async () => {
    const path = newDirectory();
    await lockRunDir(path, 1);
    await expect(lockRunDir(path, 1)).rejects.toThrow('another one holds');
  });
});
