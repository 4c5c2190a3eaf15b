import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../../tools/faultproxy/proxy.ts';

let server: Server;
let target: string;
let proxy: FaultProxy;
let reached: number;

beforeEach(async () => {
  reached = 0;
  server = createServer((_, res) => {
    reached += 1;
    res.end(`<ok>${reached}</ok>`);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  target = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // listening on TCP
  proxy = await startFaultProxy({ target });
});
afterEach(async () => {
  await proxy.stop();
  server.closeAllConnections();
  server.close();
});

const call = async (action: string, endpoint = proxy.endpoint) =>
  await fetch(endpoint, { method: 'POST', body: `Action=${action}&RouteTableId=rtb-1` });

test('a bucket lets its size through, throttles the rest as EC2 does, and fills again', async () => {
  proxy.bucket('ReplaceRoute', { size: 2, perSecond: 0 });
  const answers = [await call('ReplaceRoute'), await call('ReplaceRoute'), await call('ReplaceRoute')];
  expect(answers.map((answer) => answer.status)).toEqual([200, 200, 503]);
  expect(await answers[2]?.text()).toContain('<Code>RequestLimitExceeded</Code>');
  expect((await call('DescribeRouteTables')).status).toBe(200);

  proxy.bucket('ReplaceRoute', { size: 1, perSecond: 2 });
  await call('ReplaceRoute');
  await expect.poll(async () => (await call('ReplaceRoute')).status, { timeout: 10_000 }).toBe(200);
});

test('a rule strikes as often as it says, and only the calls that fit', async () => {
  proxy.rule({ action: 'ReplaceRoute', fault: 'unauthorized', contains: 'rtb-1', times: 2 });
  proxy.rule({ action: 'ReplaceRoute', fault: 'internalError', contains: 'rtb-2' });
  const statuses = [];
  for (const action of ['CreateRoute', 'ReplaceRoute', 'ReplaceRoute', 'ReplaceRoute']) {
    statuses.push((await call(action)).status);
  }
  expect(statuses).toEqual([200, 403, 403, 200]);
  expect(proxy.trace().map((traced) => traced.fault)).toEqual([undefined, 'unauthorized', 'unauthorized', undefined]);
});

test('a lost reply has reached its target, a cut connection has not', async () => {
  proxy.rule({ action: 'ReplaceRoute', fault: 'lostReply' });
  await expect(call('ReplaceRoute')).rejects.toThrow();
  expect(reached).toBe(1);
  proxy.rule({ action: 'ReplaceRoute', fault: 'reset' });
  await expect(call('ReplaceRoute')).rejects.toThrow();
  expect(reached).toBe(1);
});

test('a stale answer is the one that the same call had before, of another call it is a true one', async () => {
  const asked = async (action: string) => await (await call(action)).text();
  expect(await asked('DescribeInstances')).toBe('<ok>1</ok>');
  expect(await asked('DescribeInstances')).toBe('<ok>2</ok>');
  proxy.rule({ action: '*', fault: 'stale', times: 3 });
  expect(await asked('DescribeInstances')).toBe('<ok>2</ok>');
  expect(await asked('DescribeRouteTables')).toBe('<ok>3</ok>');
  expect(await asked('DescribeInstances')).toBe('<ok>2</ok>');
  expect(await asked('DescribeInstances')).toBe('<ok>4</ok>');
});

test('a target that is gone is a cut connection, and the proxy lives on', async () => {
  server.closeAllConnections();
  server.close();
  await expect(call('ReplaceRoute')).rejects.toThrow();
  await expect(call('ReplaceRoute')).rejects.toThrow();
});

test('as a process it takes the same by POST /_ctl, and ends at SIGTERM', async () => {
  const main = join(import.meta.dirname, '../../tools/faultproxy/main.ts');
  const child: ChildProcess = spawn(process.execPath, [main, '--target', target], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = (await once(child.stdout!, 'data')) as [Buffer]; // piped above
    const { endpoint } = JSON.parse(line.toString()) as { endpoint: string }; // printed by main.ts
    const rules = [{ action: 'ReplaceRoute', fault: 'throttle' }];
    await fetch(`${endpoint}/_ctl`, { method: 'POST', body: JSON.stringify({ rules }) });
    expect((await call('ReplaceRoute', endpoint)).status).toBe(503);
    const { trace } = (await (await fetch(`${endpoint}/_ctl`)).json()) as { trace: unknown[] };
    expect(trace).toMatchObject([{ action: 'ReplaceRoute', fault: 'throttle' }]);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
  }
});
