import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bootClock as clock } from '../../src/base/clock.ts';
import { silentLog as log } from '../../src/base/log.ts';
import { watchRefusals } from '../../src/cli/refusal.ts';
import { tookWords } from '../../src/cli/words.ts';
import { MOVE_TO_ANNOTATION } from '../../src/crds/failovergroup.ts';
import { createRecorder } from '../../src/kube/events.ts';
import { failoverGroups } from '../../src/kube/resources.ts';
import type { ApiServerAccess } from '../kube/apiserver.ts';
import { sharedApiServer } from '../kube/shared.ts';
import { type Bench, startBench } from './bench.ts';
import { cli, startCli, store } from './cli.ts';
import { servedSeen, written } from './clusters.ts';

/** Moves by the real controller, on a real API server; the nodes do at once as they are told. */
let server: ApiServerAccess;
let bench: Bench;

beforeAll(async () => {
  server = await sharedApiServer();
  bench = await startBench(server);
  await served('server1');
});
afterAll(async () => {
  await bench?.stop();
});

const group = async (namespace = bench.namespace) => (await bench.api.get(failoverGroups, namespace, 'failover'))!; // made before every test

async function served(node: string): Promise<void> {
  await vi.waitFor(async () => expect((await group()).status).toMatchObject({ activeNode: node }), {
    timeout: 60_000,
    interval: 50,
  });
}

const pointsman = (...args: string[]) => cli(args, bench.kubeconfig);
/** With all the time there is: how long it takes on this machine is not the question. */
const LONG = ['--timeout', '10m'];

describe('kubectl pointsman move', () => {
  it('moves the group to the node asked for, and tells each step as the controller measures it', async () => {
    const before = await group();
    const { code, out, err } = await pointsman('move', 'failover', 'server2', ...LONG);
    expect(err).toMatch(/^failover is to move from server1 to server2\n/);
    expect(code).toBe(0);
    const now = await group();
    const { steps, epoch } = now.status?.move ?? {};
    expect(out).toMatch(
      new RegExp(
        `^failover is served from server2, .* after the first sign of the move \\(epoch ${epoch}, proof Released\\)\n$`,
      ),
    );
    for (const step of ['decided', 'released', 'assigned', 'routed', 'started', 'ready'])
      expect(err.match(new RegExp(`^ *\\d\\S*( m?s)?  ${step}: `, 'gm')), step).toHaveLength(1);
    expect(err).toContain(`${tookWords(steps?.releasedMs ?? -1)}  released: server1 has ended the process`);
    expect(now.status?.activeNode).toBe('server2');
    expect(now.metadata.annotations).not.toHaveProperty(MOVE_TO_ANNOTATION);
    expect(now.metadata.generation).toBe(before.metadata.generation);
  });

  it('goes to the first other node that is fit where none is named, and tells it as data', async () => {
    const from = (await group()).status?.activeNode;
    const { code, out } = await pointsman('move', 'failover', '-o', 'json', ...LONG);
    expect(code).toBe(0);
    const to = from === 'server1' ? 'server2' : 'server1';
    expect(JSON.parse(out)).toMatchObject({
      group: 'failover',
      askedFor: to,
      servedFrom: to,
      move: { from, to, proof: 'Released', servedAfterMs: expect.any(Number) },
    });
  });

  it('does nothing where the group is there already', async () => {
    const { status, metadata } = await group();
    const node = status?.assignment?.node ?? '';
    expect(await pointsman('move', 'failover', node)).toEqual({
      code: 0,
      out: `failover is on ${node} already: Serving: ${node} serves the group\n`,
      err: '',
    });
    const after = await group();
    expect(after.metadata.annotations).toEqual(metadata.annotations);
    expect(after.status?.assignment).toEqual(status?.assignment);
  });

  it('shows why the controller refuses, each time', async () => {
    const epoch = (await group()).status?.assignment?.epoch;
    const cordoned = await pointsman('move', 'failover', 'server3');
    expect(cordoned.code).toBe(1);
    expect(cordoned.err).toMatch(
      /error: Cannot move failover: the controller refuses: Cannot move to "server3": Cordoned: spec.schedulable .*\n$/,
    );
    const unknown = await pointsman('move', 'failover', 'server9');
    expect(unknown).toMatchObject({ code: 1, out: '' });
    expect(unknown.err).toContain(
      'Cannot move to "server9": spec.nodes does not name it; name one of server1, server2, server3',
    );
    const again = await pointsman('move', 'failover', 'server3');
    expect(again.err).toContain('Cannot move to "server3": Cordoned: ');
    expect((await group()).status?.assignment).toMatchObject({ epoch, state: 'Active' });
  });

  it('hears the reason of a refusal from its Event, and from none that was there before', async () => {
    const stop = new AbortController();
    const recorder = createRecorder({ api: bench.api, clock, log, controller: 'pointsman.dev/test', instance: 'test' });
    const writing = recorder.run(stop.signal);
    const [asked, { metadata }] = [await server.namespace('cli-events'), await group()];
    const other = { ...(await group()), metadata: { ...metadata, namespace: asked } };
    const refuse = (note: string) => {
      const regarding = {
        apiVersion: 'pointsman.dev/v1alpha1',
        kind: 'FailoverGroup',
        namespace: asked,
        name: 'failover',
      };
      recorder.event(
        { ...regarding, uid: metadata.uid },
        { type: 'Warning', reason: 'MoveRefused', action: 'Move', note },
      );
    };
    const first = await watchRefusals(bench.api, clock, other, {});
    refuse('too early');
    expect(await first.wait(60_000)).toBe('too early');
    const second = await watchRefusals(bench.api, clock, other, {});
    expect(await second.wait(0)).toBeUndefined();
    refuse('too late');
    expect(await second.wait(60_000)).toBe('too late');
    stop.abort();
    await writing;
  });

  it('only asks with --wait=false', async () => {
    const from = (await group()).status?.activeNode;
    const to = from === 'server1' ? 'server2' : 'server1';
    expect(await pointsman('move', 'failover', to, '--wait=false')).toEqual({
      code: 0,
      out: 'failovergroup/failover annotated\n',
      err: `failover is to move from ${from} to ${to}\n`,
    });
    await served(to);
  });

  it('says that no controller is there, and how to withdraw the wish, when the time is up', async () => {
    const namespace = await server.namespace('cli-alone');
    const kubeconfig = await server.kubeconfig({ namespace });
    await store(bench.api, namespace, written(servedSeen()));
    const { code, err } = await cli(['move', 'failover', 'server1', '--timeout', '400ms'], kubeconfig);
    expect(code).toBe(1);
    expect(err).toBe(
      `failover is to move from server2 to server1\nerror: Cannot see failover served from "server1" within 400 ms: Serving: server2 serves the group; no controller has taken the wish up, and it stands; to withdraw it: kubectl annotate failovergroup failover -n ${namespace} pointsman.dev/move-to-\n`,
    );
    expect((await group(namespace)).metadata.annotations).toMatchObject({ [MOVE_TO_ANNOTATION]: 'server1' });
    const interrupted = startCli(['move', 'failover', 'server1'], kubeconfig);
    await vi.waitFor(() => expect(interrupted.said.err).not.toBe(''), { timeout: 60_000, interval: 10 });
    interrupted.interrupt();
    expect(await interrupted.ended).toMatchObject({
      code: 1,
      err: expect.stringContaining('error: Stopped by Ctrl-C'),
    });
  });

  it('names the groups there are, and takes no time for a duration that is none', async () => {
    expect((await pointsman('move', 'nobody')).err).toContain(
      `error: Cannot find FailoverGroup "nobody" in namespace ${bench.namespace}: there is failover\n`,
    );
    expect(await pointsman('move', 'failover', '--timeout', 'soon')).toMatchObject({
      code: 2,
      err: 'error: "soon" is no duration; write for example 500ms, 5s or 2m\n',
    });
  });
});

describe('kubectl pointsman history', () => {
  it('has every move with its proof and its steps, the newest first', async () => {
    const { code, out } = await pointsman('history', 'failover', '-o', 'json');
    expect(code).toBe(0);
    const epochs = (JSON.parse(out) as { epoch: number }[]).map(({ epoch }) => epoch); // as the view has it
    expect(epochs.at(-1)).toBe(1);
    expect(epochs).toEqual([...epochs].sort((a, b) => b - a));
    expect((await pointsman('history', 'failover')).out).toMatch(/^1 +\S+ +- +server1 +Startup +- +\d+/m);
  });
});

describe('kubectl pointsman explain', () => {
  it('sees by itself who renews, and what the controller would then do', async () => {
    const from = (await group()).status?.activeNode;
    const to = from === 'server1' ? 'server2' : 'server1';
    const { code, out } = await pointsman('explain', 'failover');
    expect(out).toMatch(new RegExp(`^If ${from} died now, ${to} would serve failover after about \\d`));
    expect(out).toContain(`90s  the Lease of ${from} ages (takeoverAfter)\n`);
    expect(code).toBe(0);
    const data = await pointsman('explain', 'failover', '-o', 'json');
    expect(JSON.parse(data.out)).toMatchObject({ node: from, takenOver: { by: to, proof: 'LeaseExpired' } });
  });
});
