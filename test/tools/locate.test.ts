import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { atLeast, findLacks } from '../../tools/check.ts';
import { cachedPath, toolPath } from '../../tools/locate.ts';
import { silentProgress } from '../../tools/progress.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pointsman-tools-'));
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

async function executable(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, '#!/bin/sh\n');
  await chmod(path, 0o755);
  return path;
}

describe('toolPath()', () => {
  test('takes what the environment names before what is cached', async () => {
    const env = { XDG_CACHE_HOME: join(dir, 'cache'), KUBEBUILDER_ASSETS: join(dir, 'assets'), POINTSMAN_MINIO: '' };
    const cached = await executable(cachedPath('kubectl', env));
    expect(await toolPath('kubectl', { env })).toBe(cached);
    const named = await executable(join(dir, 'assets', 'kubectl'));
    expect(await toolPath('kubectl', { env })).toBe(named);
  });

  test('never takes one that is merely installed, and says everything that was tried', async () => {
    await executable(join(dir, 'bin', 'kubectl'));
    await writeFile(join(dir, 'bin', 'go'), '#!/bin/sh\necho "this go is broken" >&2\nexit 1\n');
    await chmod(join(dir, 'bin', 'go'), 0o755);
    const env = {
      PATH: `${join(dir, 'bin')}:${process.env['PATH']}`,
      XDG_CACHE_HOME: join(dir, 'cache'),
      KUBEBUILDER_ASSETS: join(dir, 'nowhere'),
    };
    const failure = await toolPath('kubectl', { env, progress: silentProgress }).catch((error: Error) => error.message);
    expect(failure).toContain(`KUBEBUILDER_ASSETS names ${join(dir, 'nowhere', 'kubectl')}: not there`);
    expect(failure).toContain(`cache: ${cachedPath('kubectl', env)}: not there`);
    expect(failure).toContain('build: this go is broken');
  });
});

test('a new pin is another place in the cache', () => {
  const env = { XDG_CACHE_HOME: '/c' };
  expect(cachedPath('kube-apiserver', env)).toBe('/c/pointsman/kubernetes-v1.34.4/kube-apiserver');
  expect(cachedPath('moto-python', env)).toMatch(/^\/c\/pointsman\/moto-[0-9a-f]{12}\/venv\/bin\/python$/);
});

test('atLeast() compares versions as numbers', () => {
  expect(atLeast('1.26.8', '1.26.0')).toBe(true);
  expect(atLeast('1.26', '1.26.0')).toBe(true);
  expect(atLeast('1.9', '1.26')).toBe(false);
});

test('findLacks() finds everything that is missing at once, with the command for each', async () => {
  expect(await findLacks()).toEqual([]);
  const path = process.env['PATH'];
  try {
    process.env['PATH'] = join(dir, 'empty');
    const lacks = (await findLacks()).map((lack) => `${lack.what}: ${lack.command}`).join('\n');
    expect(lacks).toMatch(/Go .*none found/);
    expect(lacks).toContain('python3-venv');
  } finally {
    process.env['PATH'] = path;
  }
});
