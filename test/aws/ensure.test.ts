import { beforeEach, expect, test } from 'vitest';
import { ensureRoutes, type RouteWish } from '../../src/aws/routes.ts';
import { FakeEc2 } from '../fakes/ec2.ts';

/** What moto cannot be made to do: an EC2 that shows a change late, and somebody who changes a route in between. */

const VIP = '10.1.0.20/32';
const OPTIONS = { timeoutMs: 20_000, stillMine: () => true };

let ec2: FakeEc2;
let wish: RouteWish;

beforeEach(() => {
  ec2 = new FakeEc2();
  ec2.addTable('rtb-1', 'vpc-1');
  for (const n of [1, 2]) {
    const [id, subnetId, vpcId] = [`eni-${n}`, `subnet-${n}`, 'vpc-1'];
    ec2.addInstance({
      id: `i-${n}`,
      state: 'running',
      zone: 'us-east-1a',
      vpcId,
      subnetId,
      primaryInterfaceId: id,
      interfaces: [{ id, attached: true, sourceDestCheck: false, privateIp: `10.0.${n}.10`, subnetId, vpcId }],
    });
  }
  ec2.setRoute('rtb-1', VIP, 'eni-1');
  wish = { destination: VIP, tableIds: ['rtb-1'], networkInterfaceId: 'eni-2' };
});

test('a change that EC2 accepted and does not show yet is looked at again', async () => {
  ec2.fail({ verb: 'describeRoutes', fault: 'stale', times: 2 });
  expect(await ensureRoutes(ec2, [wish], OPTIONS)).toMatchObject([{ state: 'InPlace', target: 'eni-2' }]);
});

test('a change that EC2 never shows is told as it is seen, soon', async () => {
  ec2.fail({ verb: 'describeRoutes', fault: 'stale', times: 1_000 });
  const findings = await ensureRoutes(ec2, [wish], OPTIONS);
  expect(findings).toMatchObject([{ state: 'Elsewhere', target: 'eni-1' }]);
  expect(findings[0]?.acceptedAfterMs).toBeGreaterThanOrEqual(0);
  expect(ec2.calls.filter((call) => call.verb === 'describeRoutes').length).toBeLessThan(10);
});

test('a route that somebody deletes while it is moved is created', async () => {
  ec2.fail({ verb: 'replaceRoute', fault: 'throttled' });
  const moved = ensureRoutes(ec2, [wish], OPTIONS);
  ec2.setRoute('rtb-1', VIP, undefined);
  expect(await moved).toMatchObject([{ state: 'InPlace', target: 'eni-2' }]);
});

test('no wish asks EC2 nothing', async () => {
  expect(await ensureRoutes(ec2, [], OPTIONS)).toEqual([]);
  expect(ec2.calls).toEqual([]);
});

test('is called off by its signal, and then knows nothing', async () => {
  ec2.fail({ verb: 'replaceRoute', fault: 'hang' });
  const stop = new AbortController();
  const moved = ensureRoutes(ec2, [wish], { ...OPTIONS, timeoutMs: 60_000, signal: stop.signal });
  stop.abort();
  expect(await moved).toMatchObject([{ state: 'Unknown' }]);
});
