import { expect, onTestFinished, test } from 'vitest';
import { silentLog as log } from '../../src/base/log.ts';
import { healthOf, serveHealth } from '../../src/controller/health.ts';
import { watchWorld } from '../../src/controller/world.ts';
import type { Page, Resource, WatchApi, WatchEvent, WatchOptions } from '../../src/kube/api.ts';
import { Unanswered } from '../../src/kube/errors.ts';
import { FakeClock } from '../base/fakeclock.ts';

/** An empty API server that sends bookmarks when a test says so. Each kind is away until the test says that it is there. */
class Bookmarks implements WatchApi {
  readonly there = new Set<string>();
  readonly #wakes = new Map<string, (event: WatchEvent | undefined) => void>();

  /** Of these kinds, or of all that are watched. */
  send(kinds: Iterable<string> = this.#wakes.keys()): void {
    for (const kind of [...kinds]) this.#wakes.get(kind)?.({ type: 'BOOKMARK', object: BOOKMARK });
  }

  /** All streams break, and none can be opened. */
  cut(): void {
    this.there.clear();
    for (const wake of [...this.#wakes.values()]) wake(undefined);
  }

  async listPage<T>({ plural }: Resource<T>): Promise<Page> {
    if (!this.there.has(plural)) throw new Unanswered('away');
    return { items: [], resourceVersion: '1', continue: '' };
  }

  async *watch<T>({ plural }: Resource<T>, _: string | undefined, o: WatchOptions): AsyncIterable<WatchEvent> {
    if (!this.there.has(plural)) throw new Unanswered('away');
    o.onOpen?.();
    o.signal.addEventListener('abort', () => this.#wakes.get(plural)?.(undefined), { once: true });
    for (;;) {
      const event = await new Promise<WatchEvent | undefined>((resolve) => this.#wakes.set(plural, resolve));
      if (event === undefined) throw new Unanswered('cut');
      yield event;
    }
  }
}

const BOOKMARK = { metadata: { resourceVersion: '2' } };
const KINDS = ['failovergroups', 'failovernodes', 'vipresources', 'diskmonitors', 'leases'];
const OK = { status: 200, text: 'ok\n' };
const DEAF = { status: 503, text: 'the event loop or a watch stands still\n' };
const NOT_LISTED = { status: 503, text: 'the API server has not been listed yet\n' };

async function serve() {
  const api = new Bookmarks();
  const clock = new FakeClock();
  const nothing = () => {};
  const wakes = { group: nothing, node: nothing, monitor: nothing, follow: nothing, vip: nothing };
  const world = watchWorld({ api, namespace: undefined, clock, log, wakes });
  const stop = new AbortController();
  void world.run(stop.signal);
  const server = await serveHealth(0, healthOf(world, clock));
  onTestFinished(() => {
    stop.abort();
    server.close();
  });
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    return { status: response.status, text: await response.text() };
  };
  return { api, clock, ask };
}

/** The same with everything listed. */
async function serveListed() {
  const served = await serve();
  for (const kind of KINDS) served.api.there.add(kind);
  await served.clock.advance(10_000); // the longest pause of a reflector, and more
  return served;
}

test('is not ready before every kind was listed once', async () => {
  const { api, clock, ask } = await serve();
  for (const kind of KINDS) {
    await clock.advance(10_000);
    expect(await ask('/readyz')).toEqual(NOT_LISTED);
    api.there.add(kind);
  }
  await clock.advance(10_000);
  expect(await ask('/readyz')).toEqual(OK);
});

test('is healthy before that, however long it takes: a restart would not help', async () => {
  const { clock, ask } = await serve();
  await clock.advance(600_000);
  expect(await ask('/healthz')).toEqual(OK);
});

test('is both while the watches are in step', async () => {
  const { api, clock, ask } = await serveListed();
  for (let minute = 0; minute < 10; minute += 1) {
    await clock.advance(60_000);
    api.send();
  }
  await clock.advance(60_000);
  expect([await ask('/healthz'), await ask('/readyz')]).toEqual([OK, OK]);
});

test.each(KINDS)(
  'is not healthy once nothing was heard of %s for 150 s, and is again when something is',
  async (kind) => {
    const { api, clock, ask } = await serveListed();
    const others = KINDS.filter((other) => other !== kind);
    api.send();
    await clock.advance(149_999);
    api.send(others);
    await clock.advance(0);
    expect(await ask('/healthz')).toEqual(OK);
    await clock.advance(1);
    expect([await ask('/healthz'), await ask('/readyz')]).toEqual([DEAF, OK]);
    api.send([kind]);
    await clock.advance(0);
    expect(await ask('/healthz')).toEqual(OK);
  },
);

test('is not healthy once the API server has been away for 150 s, and is when it is back', async () => {
  const { api, clock, ask } = await serveListed();
  api.cut();
  await clock.advance(130_000);
  expect(await ask('/healthz')).toEqual(OK);
  await clock.advance(30_000);
  expect([await ask('/healthz'), await ask('/readyz')]).toEqual([DEAF, OK]);
  for (const kind of KINDS) api.there.add(kind);
  await clock.advance(10_000);
  expect(await ask('/healthz')).toEqual(OK);
});

test('takes a query, and knows no other page', async () => {
  const { ask } = await serveListed();
  expect(await ask('/readyz?verbose')).toEqual(OK);
  expect((await ask('/')).status).toBe(404);
});
