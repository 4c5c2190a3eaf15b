import { expect, onTestFinished, test } from 'vitest';
import { silentLog as log } from '../../src/base/log.ts';
import { watchWorld } from '../../src/controller/world.ts';
import type { Page, Resource, WatchApi, WatchEvent, WatchOptions } from '../../src/kube/api.ts';
import { Unanswered } from '../../src/kube/errors.ts';
import { FakeClock } from '../base/fakeclock.ts';

/** The streams of an API server that a test cuts and heals. Leases are all it has. */
class Streams implements WatchApi {
  readonly leases = new Map<string, number>();
  readonly #held = new Set(['server1', 'server2']);
  #version = 100;
  #away = false;
  #push = new Set<(event: WatchEvent | Error) => void>();

  renew(name: string): void {
    this.#version += 1;
    this.leases.set(name, this.#version);
    if (!this.#away) for (const push of this.#push) push({ type: 'MODIFIED', object: this.#lease(name) });
  }

  cut(): void {
    this.#away = true;
    for (const push of this.#push) push(new Unanswered('cut'));
    this.#push.clear();
  }

  heal(): void {
    this.#away = false;
  }

  async listPage<T>(resource: Resource<T>): Promise<Page> {
    if (this.#away) throw new Unanswered('away');
    const make = { leases: (name: string) => this.#lease(name), failovernodes: nodeOf }[resource.plural];
    const items = make ? [...this.leases.keys()].map(make) : [];
    return { items, resourceVersion: String(this.#version), continue: '' };
  }

  async *watch<T>(
    resource: Resource<T>,
    _: string | undefined,
    { signal, onOpen }: WatchOptions,
  ): AsyncIterable<WatchEvent> {
    if (this.#away) throw new Unanswered('away');
    onOpen?.();
    const events: (WatchEvent | Error)[] = [];
    let wake = () => {};
    const push = (event: WatchEvent | Error) => {
      events.push(event);
      wake();
    };
    signal.addEventListener('abort', () => push(new Error('stopped')), { once: true });
    if (resource.plural === 'leases') this.#push.add(push);
    for (;;) {
      const next = events.shift();
      if (next instanceof Error) throw next;
      if (next) yield next;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }

  fence(name: string): void {
    this.#held.delete(name);
    this.renew(name);
  }

  #lease(name: string): object {
    const metadata = { name, namespace: 'storage', uid: name, resourceVersion: String(this.leases.get(name)) };
    const holderIdentity = this.#held.has(name) ? name : '';
    return { metadata, spec: { holderIdentity, leaseTransitions: 1, leaseDurationSeconds: 8 } };
  }
}

function nodeOf(name: string): object {
  return {
    metadata: { name, namespace: 'storage', uid: name, resourceVersion: '1' },
    spec: { instanceId: 'i-00000001' },
  };
}

function watchLeases() {
  const clock = new FakeClock();
  const api = new Streams();
  api.renew('server1');
  api.renew('server2');
  const woken: string[] = [];
  const nothing = () => {};
  const wakes = {
    group: nothing,
    node: (key: string) => void woken.push(key),
    monitor: nothing,
    follow: nothing,
    vip: nothing,
  };
  const world = watchWorld({ api, namespace: undefined, clock, log, wakes });
  const stop = new AbortController();
  void world.run(stop.signal);
  onTestFinished(() => stop.abort());
  const ageMs = (name: string) => {
    const lease = world.leases.get(`storage/${name}`);
    const age = lease && world.ages.of(`storage/${name}`, lease.metadata.resourceVersion);
    return age && { sinceMs: clock.nowMs() - age.firstSeenMs, changed: age.changedMs !== undefined };
  };
  return { clock, api, world, ageMs, woken };
}

test('a Lease ages from our own first sight of the record, and is seen alive only when we saw it change', async () => {
  const { clock, api, ageMs } = watchLeases();
  await clock.advance(10);
  expect(ageMs('server1')?.changed).toBe(false);
  api.renew('server1');
  await clock.advance(3_000);
  expect(ageMs('server1')).toEqual({ sinceMs: 3_000, changed: true });
  expect(ageMs('server2')?.changed).toBe(false);
});

test('an outage of the API server ages nothing: whoever renews first after it makes nobody else look lost', async () => {
  const { clock, api, ageMs } = watchLeases();
  await clock.advance(10);
  for (const name of ['server1', 'server2']) api.renew(name);
  await clock.advance(1_000);
  api.cut();
  await clock.advance(60_000);
  api.heal();
  await clock.advance(10_000); // the longest pause of a reflector
  const before = ageMs('server2')?.sinceMs ?? Number.NaN;
  expect(before).toBeLessThanOrEqual(10_000);
  expect(ageMs('server2')?.changed).toBe(false);
  api.renew('server1');
  await clock.advance(100);
  expect(ageMs('server1')).toMatchObject({ changed: true });
  expect(ageMs('server2')).toEqual({ sinceMs: before + 100, changed: false });
});

test('a renewal wakes nobody, a change of holder and a return from silence do', async () => {
  const { clock, api, woken } = watchLeases();
  await clock.advance(10);
  api.renew('server1');
  await clock.advance(10);
  woken.length = 0;
  for (let i = 0; i < 5; i++) {
    api.renew('server1');
    await clock.advance(0);
  }
  expect(woken).toEqual([]);
  await clock.advance(4_000); // longer than two renewals apart
  api.renew('server1');
  await clock.advance(0);
  expect(woken).toEqual(['storage/server1']);
  api.fence('server2');
  await clock.advance(0);
  expect(woken).toEqual(['storage/server1', 'storage/server2']);
});
