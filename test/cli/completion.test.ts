import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build } from '../../build.ts';
import { silentLog as log } from '../../src/base/log.ts';
import { candidatesFor } from '../../src/cli/candidates.ts';
import { commands } from '../../src/cli/commands.ts';
import type { Where } from '../../src/cli/connection.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { toolPath } from '../../tools/locate.ts';
import { group } from '../decide/build.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { cli, store } from './cli.ts';
import { servedSeen, written } from './clusters.ts';

const run = promisify(execFile);

describe('the candidates for a word', () => {
  let asked: Where | undefined;
  const found = async (...words: string[]) => {
    const all = await candidatesFor(words, commands, async (where) => {
      asked = where;
      return [group()];
    });
    return all.map((candidate) => candidate.split('\t')[0]);
  };

  it('are commands, groups, then nodes of the group', async () => {
    expect(await found('')).toEqual(commands.map(({ name }) => name));
    expect(await found('st')).toEqual(['status']);
    expect(await found('move', '')).toEqual(['failover']);
    expect(await found('move', 'failover', 'server')).toEqual(['server1', 'server2']);
    expect(await found('history', 'failover', '')).toEqual([]);
    expect(await found('completion', 'z')).toEqual(['zsh']);
  });

  it('are options and their values, wherever they stand', async () => {
    expect(await found('move', '--ti')).toEqual(['--timeout']);
    expect(await found('status', '--ti')).toEqual([]);
    expect(await found('status', '-o', '')).toEqual(['wide', 'json', 'yaml', 'name']);
    expect(await found('-n', '')).toEqual([]);
    expect(await found('-n', 'storage', 'move', '--context=blue', 'fail')).toEqual(['failover']);
    expect(asked).toEqual({ namespace: 'storage', context: 'blue', kubeconfig: undefined });
  });
});

describe('completion', () => {
  let api: KubeClient;
  let kubeconfig: string;
  let env: Record<string, string | undefined>;
  beforeAll(async () => {
    await build();
    const server = await sharedApiServer();
    const namespace = await server.namespace('cli-completion');
    kubeconfig = await server.kubeconfig({ namespace });
    api = createKubeClient({ log, kubeconfig, fieldManager: 'test' });
    await store(api, namespace, written(servedSeen()));
    const dist = join(import.meta.dirname, '../../dist');
    env = { PATH: `${dist}:${dirname(process.execPath)}:${process.env['PATH']}`, KUBECONFIG: kubeconfig };
  });
  afterAll(async () => {
    await api?.close();
  });

  it('is what the real kubectl asks for', async () => {
    const { stdout } = await run(await toolPath('kubectl'), ['__complete', 'pointsman', 'move', 'failover', ''], {
      env,
    });
    expect(stdout).toBe('server1\nserver2\n:4\n');
  });

  it('is what the script for bash asks for', async () => {
    const { out } = await cli(['completion', 'bash'], kubeconfig);
    const typed = 'COMP_WORDS=(kubectl-pointsman explain ""); COMP_CWORD=2; _kubectl_pointsman; printf %s "$COMPREPLY"';
    const { stdout } = await run('bash', ['-c', `${out}${typed}`], { env });
    expect(stdout).toBe('failover');
  });

  it('has a script for each shell, and none for another', async () => {
    expect((await cli(['completion', 'fish'], kubeconfig)).out).toContain('complete -c kubectl-pointsman');
    expect((await cli(['completion', 'zsh'], kubeconfig)).out).toContain('compdef _kubectl_pointsman');
    expect(await cli(['completion', 'tcsh'], kubeconfig)).toMatchObject({
      code: 2,
      err: 'error: There is no completion for "tcsh"; there is bash, zsh, fish\n',
    });
  });

  it('says nothing where the API server cannot be asked', async () => {
    expect(await cli(['__complete', 'move', ''], '/nowhere/config')).toEqual({ code: 0, out: ':4\n', err: '' });
  });
});
