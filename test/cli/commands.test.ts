import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { build } from '../../build.ts';
import { silentLog as log } from '../../src/base/log.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { toolPath } from '../../tools/locate.ts';
import { agedFor, node, reads, running } from '../decide/build.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { cli, type Said, store } from './cli.ts';
import { HEALTHY, servedSeen, written } from './clusters.ts';

/** Commands that look and change nothing, on a real API server with what the controller writes. */
let server: ApiServerAccess;
let api: KubeClient;
/** All is well in `well`; in `lost` the node that had the group is out of touch; `bare` has nothing. */
let well: string;
let lost: string;
let bare: string;

beforeAll(async () => {
  server = await sharedApiServer();
  api = createKubeClient({ log, kubeconfig: await server.kubeconfig(), fieldManager: 'test' });
  [well, lost, bare] = (await Promise.all(['well', 'lost', 'bare'].map((name) => server.namespace(`cli-${name}`)))) as [
    string,
    string,
    string,
  ];
  await store(api, well, written(servedSeen()));
  const nodes = [
    node('server1', { report: reads('server2', 'unknown'), disks: [HEALTHY] }),
    node('server2', { lease: agedFor(9_000), report: running(3) }),
  ];
  await store(api, lost, written(servedSeen({ nodes })));
});
afterAll(async () => {
  await api?.close();
});

/** With `namespace` as that of the context. */
async function inNamespace(namespace: string, ...args: string[]): Promise<Said> {
  return await cli(args, await server.kubeconfig({ namespace }));
}

describe('kubectl pointsman status', () => {
  it('ends with 0 where everything is Ready, and with 3 and the reasons where it is not', async () => {
    const good = await inNamespace(well, 'status');
    expect(good).toMatchObject({ code: 0, err: '' });
    expect(good.out).toMatch(/^failover {3}server2 {3}True {4}Serving/m);
    expect(good.out).toMatch(/^server1 {3}yes {8}[\d.]+\S* ?s? old +yes +-$/m);
    const bad = await inNamespace(lost, 'status');
    expect(bad.code).toBe(3);
    expect(bad.out).toContain('failovergroup/failover: DiskUnread: server2 does not renew its Lease');
  });

  it('looks where -n, -A and the name say', async () => {
    expect((await inNamespace(bare, 'status', '-n', well)).out).toContain('Serving');
    expect((await inNamespace(bare, '-n', well, 'status', 'failover')).out).toContain('Serving');
    const everywhere = await inNamespace(bare, 'status', '-A');
    for (const namespace of [well, lost]) expect(everywhere.out).toContain(namespace);
    expect(await inNamespace(bare, 'status')).toMatchObject({
      code: 0,
      out: '',
      err: `There is nothing of pointsman in namespace ${bare}; --all-namespaces looks everywhere\n`,
    });
  });

  it('names the groups there are when the one asked for is not', async () => {
    expect(await inNamespace(well, 'status', 'nobody')).toMatchObject({
      code: 1,
      err: `error: Cannot find FailoverGroup "nobody" in namespace ${well}: there is failover\n`,
    });
  });

  it('is the same as data, for programs', async () => {
    const json = await inNamespace(lost, 'status', '-o', 'json');
    expect(json.code).toBe(3);
    expect(JSON.parse(json.out)).toMatchObject({
      ready: false,
      groups: [{ name: 'failover', ready: 'Unknown', reason: 'DiskUnread', assigned: { node: 'server2', epoch: 3 } }],
      nodes: [{ inTouch: 'yes' }, { inTouch: 'no', reason: 'OutOfTouch' }],
    });
    const yaml = await inNamespace(well, 'status', '-o', 'yaml');
    expect(parse(yaml.out)).toMatchObject({ ready: true, vips: [{ address: '10.1.0.20' }] });
    expect((await inNamespace(well, 'status', '-o', 'name')).out.split('\n')).toEqual([
      'failovergroup.pointsman.dev/failover',
      'failovernode.pointsman.dev/server1',
      'failovernode.pointsman.dev/server2',
      'vipresource.pointsman.dev/awsvip',
      'diskmonitor.pointsman.dev/diskw',
      '',
    ]);
  });
});

describe('the command line', () => {
  it('ends with 2 and says what to write where it is wrong', async () => {
    const wrong = async (...args: string[]) => {
      const { code, err } = await inNamespace(well, ...args);
      expect(code).toBe(2);
      return err;
    };
    expect(await wrong('statu')).toContain('There is no command "statu"');
    expect(await wrong('status', 'a', 'b')).toContain('Write: kubectl pointsman status [GROUP]');
    expect(await wrong('status', '--frob')).toContain("Unknown option '--frob'");
    expect(await wrong('history', 'failover', '-A')).toContain('history takes no --all-namespaces');
    expect(await wrong('status', '-o', 'toml')).toContain('it takes wide, json, yaml, name');
    expect(await wrong('status', 'failover', '-A')).toContain('either its name or --all-namespaces');
    expect(await wrong()).toContain('Usage: kubectl pointsman COMMAND');
  });

  it('names the contexts there are, and a kubeconfig that is not', async () => {
    expect((await inNamespace(well, 'status', '--context', 'other')).err).toMatch(
      /^error: Cannot use context "other": .* has none of that name; name one of test\n$/,
    );
    const none = await cli(['status'], '/nowhere/config');
    expect(none).toMatchObject({
      code: 1,
      err: 'error: Cannot connect: KUBECONFIG names /nowhere/config, and there is no such file; correct it\n',
    });
  });

  it('merges the files that KUBECONFIG lists, the first word counting, as kubectl does', async () => {
    const [first, second] = [
      await server.kubeconfig({ namespace: well }),
      await server.kubeconfig({ namespace: bare }),
    ];
    expect((await cli(['status'], `${first}:/nowhere/config:${second}`)).out).toContain('Serving');
    expect((await cli(['status'], `${second}:${first}`)).err).toContain(`in namespace ${bare}`);
  });

  it('says that nobody answers, and does not promise to go on', async () => {
    const nowhere = await server.kubeconfig({ url: 'https://127.0.0.1:2', namespace: bare });
    const { code, err } = await cli(['status'], nowhere);
    expect(code).toBe(1);
    expect(err).toMatch(/^error: Cannot (list|read) .*: no answer from the API server; try again \(.+\)\n$/);
  });

  it('says what a login may not do', async () => {
    await server.kubectl(['create', 'serviceaccount', 'nobody', '-n', bare]);
    const token = await server.serviceAccountToken(bare, 'nobody');
    const { code, err } = await cli(['status'], await server.kubeconfig({ token, namespace: bare }));
    expect(code).toBe(1);
    expect(err).toMatch(/^error: Cannot list \w+ in cli-bare-\w+: .* is forbidden: .*; grant it by RBAC\n$/);
  });
});

describe('the plugin', () => {
  beforeAll(async () => {
    await build();
  });

  it('is found by the real kubectl on the PATH, with its exit code', async () => {
    const dist = join(import.meta.dirname, '../../dist');
    const kubeconfig = await server.kubeconfig({ namespace: lost });
    const child = spawn(await toolPath('kubectl'), ['pointsman', 'status', '-o', 'wide'], {
      env: { PATH: `${dist}:${dirname(process.execPath)}:${process.env['PATH']}`, KUBECONFIG: kubeconfig },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    });
    const code = new Promise((resolve) => child.once('close', resolve));
    expect([await text(child.stdout), await text(child.stderr), await code]).toEqual([
      expect.stringContaining('DiskUnread'),
      '',
      3,
    ]);
  });
});
