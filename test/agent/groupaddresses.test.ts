import { expect, test } from 'vitest';
import type { Addresses } from '../../src/agent/address.ts';
import { createGroupAddresses, type GroupAddresses } from '../../src/agent/groupaddresses.ts';
import { vipsOf } from '../../src/agent/vips.ts';
import { bootClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { VipResource } from '../../src/crds/vipresource.ts';

/** The addresses of a group on an interface that takes its time, and keeps lifetimes as the kernel does. */

class Interface implements Addresses {
  readonly until = new Map<string, number>();
  readonly lifetimes: number[] = [];
  broken = false;

  async put(addresses: readonly string[], lifetimeSeconds: number): Promise<void> {
    await bootClock.sleep(5);
    this.lifetimes.push(lifetimeSeconds);
    for (const address of addresses) this.until.set(address, bootClock.nowMs() + lifetimeSeconds * 1000);
  }

  async remove(addresses: readonly string[]): Promise<void> {
    await bootClock.sleep(5);
    if (this.broken) throw new Error('ip does not answer');
    for (const address of addresses) this.until.delete(address);
  }

  async present(): Promise<string[]> {
    return this.there();
  }

  there(): string[] {
    return [...this.until].filter(([, untilMs]) => bootClock.nowMs() < untilMs).map(([address]) => address);
  }
}

const A = '10.1.0.20';
const B = '10.1.0.21';
const inMs = (ms: number) => bootClock.nowMs() + ms;

function open(on: Addresses, earlierLifetimeMs = 0): GroupAddresses {
  return createGroupAddresses({
    ...{ addresses: () => on, clock: bootClock, log: silentLog, onChange: () => {} },
    earlierLifetimeMs: () => earlierLifetimeMs,
  });
}

async function serving(on: Interface, addresses: GroupAddresses, lifeMs: number): Promise<void> {
  addresses.want([A], [A], inMs(lifeMs));
  while (!on.there().includes(A) || !addresses.present().includes(A)) await bootClock.sleep(2);
}

test('an epoch does not count as ended before its address is taken away, however often that fails first', async () => {
  const on = new Interface();
  const addresses = open(on);
  await serving(on, addresses, 60_000);
  on.broken = true;
  addresses.want([], [A], inMs(60_000));
  let settled = false;
  const ending = addresses.settled().then(() => {
    settled = true;
  });
  await bootClock.sleep(800); // one try has failed, and the next
  expect([settled, on.there()]).toEqual([false, [A]]);
  on.broken = false;
  await ending;
  expect(on.there()).toEqual([]);
});

test('nor before its lifetime is over where it cannot be taken away, and then it does', async () => {
  const on = new Interface();
  const addresses = open(on);
  await serving(on, addresses, 1_000);
  on.broken = true;
  addresses.want([], [A], inMs(1_000));
  await addresses.settled();
  expect(on.there()).toEqual([]);
});

test('what an earlier agent has left there is waited for as well', async () => {
  const on = new Interface();
  await on.put([A], 1);
  on.broken = true;
  const addresses = open(on, 1_000);
  addresses.want([], [A], inMs(1_000));
  await addresses.settled();
  expect(on.there()).toEqual([]);
});

test('an address outlives the deadline by less than the second that a lifetime is counted in', async () => {
  const on = new Interface();
  await serving(on, open(on), 4_900);
  expect(on.lifetimes).toEqual([5]);
});

test('one that is taken away and put there again is taken away again', async () => {
  const on = new Interface();
  const addresses = open(on);
  for (let round = 0; round < 2; round += 1) {
    await serving(on, addresses, 60_000);
    addresses.want([], [A, B], inMs(60_000));
    await addresses.settled();
    expect(on.there()).toEqual([]);
  }
});

test('an address that another group of this node is served by stays when one of the two ends', async () => {
  const on = new Interface();
  const [first, second] = [open(on), open(on)];
  await serving(on, first, 60_000);
  await serving(on, second, 60_000);
  first.want([], [A], inMs(60_000), second.wanted());
  await first.settled();
  expect(on.there()).toEqual([A]);
  second.want([], [A], inMs(60_000), first.wanted());
  await second.settled();
  expect(on.there()).toEqual([]);
});

test('of two groups with one address the one with the older VipResource has it', () => {
  const vip = (name: string, group: string, address: string) => ({
    metadata: { name, namespace: 'test', uid: name, creationTimestamp: `2026-01-01T00:00:0${name.length}Z` },
    spec: { address, groupRef: { name: group }, routeTableIds: ['rtb-1'] },
  });
  const vips = [vip('ab', 'younger', A), vip('a', 'older', A), vip('abc', 'younger', B)] as unknown as VipResource[];
  expect(vipsOf(vips, 'older')).toEqual({ all: [A], held: [A] });
  expect(vipsOf(vips, 'younger')).toEqual({ all: [A, B], held: [B] });
});

test('an end waits for the list of VIPs: an earlier agent may have left any of them there', async () => {
  const on = new Interface();
  await on.put([A], 60);
  const addresses = open(on, 60_000);
  addresses.want([], undefined, inMs(60_000));
  let settled = false;
  const ending = addresses.settled().then(() => {
    settled = true;
  });
  await bootClock.sleep(200); // its own look at what is left comes every 50 ms
  expect([settled, on.there()]).toEqual([false, [A]]);
  addresses.want([], [A], inMs(60_000));
  await ending;
  expect(on.there()).toEqual([]);
});
