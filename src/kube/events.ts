import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { objectMeta } from '../crds/kind.ts';
import type { KubeApi, Resource, Stored } from './api.ts';
import { Invalid, NotFound } from './errors.ts';
import { microTime } from './microtime.ts';

export interface Regarding {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** One CamelCase word, from the table of reasons. */
  readonly reason: string;
  /** What was done or tried, one CamelCase word. */
  readonly action: string;
  /** For people; cut at 1 kB. */
  readonly note: string;
}

export interface RecorderOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly log: Log;
  /** `pointsman.dev/controller`. */
  readonly controller: string;
  /** Which of them: the name of the pod or node. */
  readonly instance: string;
}

export interface Recorder {
  /** Notes an event and returns at once; it is written when the API server takes it, or dropped and counted. */
  event(regarding: Regarding, happening: Happening): void;
  /** Writes until `signal` aborts; what is then unwritten is dropped. Never throws. */
  run(signal: AbortSignal): Promise<void>;
  /** Events lost to a bound or to failure. */
  dropped(): number;
}

/** Events for `kubectl describe` and `kubectl events`. They inform; nothing may wait for them or rest on them. */
export function createRecorder(options: RecorderOptions): Recorder {
  return new EventRecorder(options);
}

/** An Event as far as we look at it again. */
export const events: Resource<Stored> = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  parse: (raw) => z.looseObject({ metadata: objectMeta }).parse(raw),
};

const MAX_UNWRITTEN = 256;
const MAX_REMEMBERED = 1_024;
/** The server takes 1 024 bytes (`NoteLengthLimit`, pkg/apis/core/validation/events.go). */
const MAX_NOTE_BYTES = 1_024;
/** The same again within so long is a repeat (client-go `tools/events/event_broadcaster.go`). */
const SERIES_MS = 360_000;
/** A repeat is written no more often than this. */
const REPEAT_EVERY_MS = 10_000;
const RETRY_MS = 5_000;
const MAX_TRIES = 3;
/** A fault that repeats with ever new words must not fill etcd: so many at once per object, then one a minute. */
const BURST = 25;
const REFILL_MS = 60_000;

interface Series {
  readonly id: string;
  readonly regarding: Regarding;
  readonly happening: Happening;
  readonly firstTime: string;
  lastTime: string;
  lastMs: number;
  count: number;
  /** The Event's name, once it is written. */
  name: string | undefined;
  dueMs: number;
  tries: number;
}

class EventRecorder implements Recorder {
  readonly #o: RecorderOptions;
  /** By id, the least recent first. */
  readonly #series = new Map<string, Series>();
  readonly #unwritten = new Map<string, Series>();
  readonly #budgets = new Map<string, { tokens: number; atMs: number }>();
  #wake = new AbortController();
  #dropped = 0;

  constructor(options: RecorderOptions) {
    this.#o = options;
  }

  dropped(): number {
    return this.#dropped;
  }

  event(regarding: Regarding, happening: Happening): void {
    const series = this.#note(regarding, { ...happening, note: cut(happening.note) });
    if (!series) {
      this.#dropped += 1;
      return;
    }
    this.#unwritten.set(series.id, series);
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o;
    const stop = () => this.#wake.abort();
    signal.addEventListener('abort', stop, { once: true });
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const next = this.#next();
      const waitMs = next ? next.dueMs - clock.nowMs() : RETRY_MS;
      if (next && waitMs <= 0) await this.#write(next, signal);
      else await clock.sleep(waitMs, this.#wake.signal).catch(() => {});
    }
    this.#dropped += this.#unwritten.size;
    this.#unwritten.clear();
  }

  /** The series this belongs to, or undefined when there is no room or budget for it. */
  #note(regarding: Regarding, happening: Happening): Series | undefined {
    const { clock } = this.#o;
    const nowMs = clock.nowMs();
    const id = JSON.stringify([regarding.uid, regarding.kind, regarding.name, ...Object.values(happening)]);
    const known = this.#series.get(id);
    if (!known && this.#unwritten.size >= MAX_UNWRITTEN) return undefined;
    if (known && nowMs - known.lastMs < SERIES_MS) {
      known.count += 1;
      known.lastMs = nowMs;
      known.lastTime = microTime(clock);
      return known;
    }
    if (!this.#spend(regarding, nowMs)) return undefined;
    const time = microTime(clock);
    const series: Series = {
      id,
      regarding,
      happening,
      firstTime: time,
      lastTime: time,
      lastMs: nowMs,
      count: 1,
      name: undefined,
      dueMs: nowMs,
      tries: 0,
    };
    remember(this.#series, id, series);
    return series;
  }

  #spend({ uid, name }: Regarding, nowMs: number): boolean {
    const id = uid || name;
    const old = this.#budgets.get(id) ?? { tokens: BURST, atMs: nowMs };
    const tokens = Math.min(BURST, old.tokens + (nowMs - old.atMs) / REFILL_MS);
    remember(this.#budgets, id, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: nowMs });
    return tokens >= 1;
  }

  #next(): Series | undefined {
    let first: Series | undefined;
    for (const series of this.#unwritten.values()) if (!first || series.dueMs < first.dueMs) first = series;
    return first;
  }

  async #write(series: Series, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#o;
    this.#unwritten.delete(series.id);
    try {
      await this.#put(series, signal);
      series.tries = 0;
      series.dueMs = clock.nowMs() + REPEAT_EVERY_MS;
    } catch (error) {
      if (signal.aborted) return;
      series.tries += 1;
      series.dueMs = clock.nowMs() + RETRY_MS;
      if (error instanceof Invalid || series.tries >= MAX_TRIES) {
        this.#dropped += 1;
        this.#series.delete(series.id);
        log.warn('an event is dropped', { reason: series.happening.reason, error: describeError(error) });
      } else {
        this.#unwritten.set(series.id, series);
      }
    }
  }

  async #put(series: Series, signal: AbortSignal): Promise<void> {
    const { api } = this.#o;
    const { namespace } = series.regarding;
    if (series.name !== undefined) {
      const patch = { metadata: {}, series: { count: series.count, lastObservedTime: series.lastTime } };
      try {
        await api.patchMetadata(events, namespace, series.name, patch, { signal });
        return;
      } catch (error) {
        // Events live an hour (`--event-ttl`); then it is told anew.
        if (!(error instanceof NotFound)) throw error;
      }
    }
    series.name = undefined;
    const created = await api.create(events, namespace, this.#draft(series), { signal });
    series.name = created.metadata.name;
  }

  #draft({ regarding, happening, firstTime, lastTime, count }: Series) {
    return {
      metadata: { name: `${regarding.name.slice(0, 200)}.${randomUUID().slice(0, 13)}` },
      eventTime: firstTime,
      reportingController: this.#o.controller,
      reportingInstance: this.#o.instance.slice(0, 128),
      regarding: { ...regarding },
      ...happening,
      ...(count > 1 ? { series: { count, lastObservedTime: lastTime } } : {}),
    };
  }
}

function remember<V>(map: Map<string, V>, id: string, value: V): void {
  map.delete(id);
  map.set(id, value);
  const [oldest] = map.keys();
  if (map.size > MAX_REMEMBERED && oldest !== undefined) map.delete(oldest);
}

/** Cut by bytes, at the end of a character. */
function cut(note: string): string {
  const bytes = Buffer.from(note);
  if (bytes.length <= MAX_NOTE_BYTES) return note;
  const mark = '…';
  const kept = bytes.subarray(0, MAX_NOTE_BYTES - Buffer.byteLength(mark)).toString();
  // A character cut in half decodes to a replacement character.
  return `${kept.replace(/\uFFFD$/, '')}${mark}`;
}
