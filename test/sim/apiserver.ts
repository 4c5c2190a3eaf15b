import type { Clock } from '../../src/base/clock.ts';
import type {
  CallOptions,
  Draft,
  KubeApi,
  ListOptions,
  Resource,
  Stored,
  WatchApi,
  WatchEvent,
  WatchOptions,
} from '../../src/kube/api.ts';
import { AlreadyExists, Conflict, Expired, NotFound, Unanswered } from '../../src/kube/errors.ts';
import { sameJson } from '../../src/kube/mergepatch.ts';
import type { Chance } from './chance.ts';
import { Actor, type Time } from './time.ts';

/** An object as the server keeps it. Never changed: every write makes another. */
export interface Raw {
  readonly metadata: Readonly<Record<string, unknown>> & {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
  };
  readonly [field: string]: unknown;
}

interface Change {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Raw;
}

/** How the way between one client and the server is. Faults change it. */
export interface Link {
  /** Nothing of what the client sends arrives. */
  cutTo: boolean;
  /** Nothing of what the server answers arrives. */
  cutBack: boolean;
  /** Until then no event arrives, and nobody notices. */
  stuckUntilMs: number;
  /** Of a single request: its chance to be lost, to lose its answer, to arrive when nobody waits any more, or twice. */
  lost: number;
  unheard: number;
  late: number;
  twice: number;
  /** The longest way, one way. Most are short. */
  slowestMs: number;
  /** Lists come from a cache that is no further than this version. */
  listsFrom?: number | undefined;
}

export function openLink(): Link {
  return { cutTo: false, cutBack: false, stuckUntilMs: 0, lost: 0, unheard: 0, late: 0, twice: 0, slowestMs: 8 };
}

/** How late a request may arrive that its sender has long given up. */
const LATEST_MS = 15_000;
const BROKEN_AFTER_MS = 12_000;
const KEPT_CHANGES = 400;

interface Stream {
  readonly link: Link;
  wants(change: Change): boolean;
  tell(change: Change): void;
}

/** A kube-apiserver and its etcd: versions, conflicts, finalizers, watches that lag. Requests may come late or twice. */
export class ApiServer {
  readonly actor = new Actor('the API server');
  readonly #time: Time;
  readonly #chance: Chance;
  readonly #kinds = new Map<string, Map<string, Raw>>();
  readonly #changes = new Map<string, Change[]>();
  readonly #streams = new Map<string, Set<Stream>>();
  #version = 100;
  #uids = 0;
  /** Told of every write, by the invariants. */
  onWrite: (plural: string, before: Raw | undefined, after: Raw | undefined, writer: string) => void = () => {};

  constructor(time: Time) {
    this.#time = time;
    this.#chance = time.chance;
  }

  read(plural: string, namespace: string, name: string): Raw | undefined {
    return this.#kind(plural).get(`${namespace}/${name}`);
  }

  all(plural: string): Raw[] {
    return [...this.#kind(plural).values()];
  }

  /** As it was at `version`, as far as the changes are kept. */
  allAt(plural: string, version: number): Raw[] {
    const changes = this.#changes.get(plural) ?? [];
    const then = new Map(this.#kind(plural));
    for (const { object } of changes) then.delete(`${object.metadata.namespace}/${object.metadata.name}`);
    for (const { version: at, type, object } of changes) {
      if (at <= version && type !== 'DELETED') then.set(`${object.metadata.namespace}/${object.metadata.name}`, object);
      else if (at <= version) then.delete(`${object.metadata.namespace}/${object.metadata.name}`);
    }
    return [...then.values()];
  }

  get version(): string {
    return String(this.#version);
  }

  changesSince(plural: string, version: number): readonly Change[] | undefined {
    const changes = this.#changes.get(plural) ?? [];
    if (changes.length === KEPT_CHANGES && changes[0]!.version > version) return undefined;
    return changes.filter((change) => change.version > version);
  }

  follow(plural: string, stream: Stream): () => void {
    const streams = this.#streams.get(plural) ?? new Set();
    this.#streams.set(plural, streams);
    streams.add(stream);
    return () => streams.delete(stream);
  }

  create(plural: string, namespace: string, body: Draft, writer: string): Raw {
    const key = `${namespace}/${body.metadata.name}`;
    if (this.#kind(plural).has(key)) throw new AlreadyExists(`Cannot create ${plural} ${key}: it is there already`);
    const metadata = { ...body.metadata, namespace, uid: `uid-${++this.#uids}`, generation: 1 };
    return this.#write(plural, undefined, { ...body, metadata: { ...metadata, creationTimestamp: T0 } }, writer);
  }

  /** `checked` false: on whatever version there is, as if the request carried none. */
  change(
    plural: string,
    namespace: string,
    name: string,
    version: unknown,
    to: (before: Raw) => Record<string, unknown>,
    writer: string,
  ): Raw {
    const before = this.read(plural, namespace, name);
    if (before === undefined) throw new NotFound(`Cannot change ${plural} ${namespace}/${name}: there is none`);
    if (version !== undefined && version !== before.metadata.resourceVersion) {
      throw new Conflict(
        `Cannot change ${plural} ${name}: version ${version} is not ${before.metadata.resourceVersion}`,
      );
    }
    const after = to(before);
    if (sameJson(before, after)) return before; // as the server does: no write, no event
    return this.#write(plural, before, after, writer);
  }

  /** With finalizers the object stays, marked. */
  remove(plural: string, namespace: string, name: string, writer: string, force = false): boolean {
    const before = this.read(plural, namespace, name);
    if (before === undefined) return false;
    const finalizers = before.metadata['finalizers'] as string[] | undefined;
    if (!force && finalizers !== undefined && finalizers.length > 0) {
      if (before.metadata['deletionTimestamp'] === undefined) {
        this.#write(plural, before, { ...before, metadata: { ...before.metadata, deletionTimestamp: T0 } }, writer);
      }
      return true;
    }
    this.#drop(plural, before, writer);
    return true;
  }

  #write(plural: string, before: Raw | undefined, after: Record<string, unknown>, writer: string): Raw {
    const { metadata } = after as Raw;
    const stored = { ...after, metadata: { ...metadata, resourceVersion: String(++this.#version) } } as Raw;
    const finalizers = stored.metadata['finalizers'] as string[] | undefined;
    if (stored.metadata['deletionTimestamp'] !== undefined && (finalizers ?? []).length === 0) {
      this.#drop(plural, stored, writer);
      return stored;
    }
    this.#kind(plural).set(`${stored.metadata.namespace}/${stored.metadata.name}`, stored);
    this.onWrite(plural, before, stored, writer);
    this.#announce(plural, { version: this.#version, type: before ? 'MODIFIED' : 'ADDED', object: stored });
    return stored;
  }

  #drop(plural: string, before: Raw, writer: string): void {
    const version = ++this.#version;
    this.#kind(plural).delete(`${before.metadata.namespace}/${before.metadata.name}`);
    this.onWrite(plural, before, undefined, writer);
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } };
    this.#announce(plural, { version, type: 'DELETED', object });
  }

  #announce(plural: string, change: Change): void {
    const changes = this.#changes.get(plural) ?? [];
    this.#changes.set(plural, changes);
    changes.push(change);
    if (changes.length > KEPT_CHANGES) changes.shift();
    for (const stream of this.#streams.get(plural) ?? []) if (stream.wants(change)) stream.tell(change);
  }

  #kind(plural: string): Map<string, Raw> {
    let kind = this.#kinds.get(plural);
    if (kind === undefined) {
      kind = new Map();
      this.#kinds.set(plural, kind);
    }
    return kind;
  }

  get time(): Time {
    return this.#time;
  }

  get chance(): Chance {
    return this.#chance;
  }
}

/** What is sent, as JSON carries it. */
function asJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(asJson) as T;
  const copy: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(value)) if (part !== undefined) copy[key] = asJson(part);
  return copy as T;
}

const T0 = '2026-11-23T11:00:00.000Z';

/** Ways in which a client's requests may be changed on their way, to break a rule on purpose. */
export interface Tampering {
  /** Whether the version that a write carries is looked at. */
  checksVersion?(plural: string, verb: string): boolean;
}

/** The server as one client comes to it. What a dead client has sent still arrives; it hears of nothing any more. */
export class SimKube implements KubeApi, WatchApi {
  readonly #server: ApiServer;
  readonly #actor: Actor;
  readonly #clock: Clock;
  readonly #link: Link;
  readonly #tampering: Tampering;
  readonly #comesThrough: () => boolean;

  /** `comesThrough`: whether the client lives through its next step; it may die before each request and each answer. */
  constructor(
    server: ApiServer,
    actor: Actor,
    clock: Clock,
    link: Link,
    tampering: Tampering,
    comesThrough: () => boolean,
  ) {
    this.#server = server;
    this.#actor = actor;
    this.#clock = clock;
    this.#link = link;
    this.#tampering = tampering;
    this.#comesThrough = comesThrough;
  }

  get = async <T extends Stored>(r: Resource<T>, namespace: string, name: string, o: CallOptions = {}) => {
    const raw = await this.#call(`get ${r.kind} ${name}`, o, () => this.#server.read(r.plural, namespace, name));
    return raw && this.#parse(r, raw);
  };

  list = async <T extends Stored>(r: Resource<T>, namespace: string | undefined, o: ListOptions = {}) => {
    const raws = await this.#call(`list ${r.plural}`, o, () => this.#all(r, namespace, o));
    return { items: raws.map((raw) => this.#parse(r, raw)), unreadable: [] };
  };

  create = async <T extends Stored>(r: Resource<T>, namespace: string, draft: Draft, o: CallOptions = {}) => {
    const body = asJson(draft);
    const doing = `create ${r.kind} ${body.metadata.name}`;
    const raw = await this.#call(
      doing,
      o,
      () => this.#server.create(r.plural, namespace, body, this.#actor.name),
      true,
    );
    return this.#parse(r, raw);
  };

  replace = async <T extends Stored>(r: Resource<T>, namespace: string, draft: Draft, o: CallOptions = {}) => {
    const body = asJson(draft);
    const { name } = body.metadata;
    const version = this.#version(r, 'replace', body.metadata['resourceVersion']);
    const put = (before: Raw) => ({
      ...body,
      metadata: { ...body.metadata, uid: before.metadata.uid, resourceVersion: before.metadata.resourceVersion },
      ...(before['status'] === undefined ? {} : { status: before['status'] }),
    });
    const act = () => this.#server.change(r.plural, namespace, name, version, put, this.#actor.name);
    return this.#parse(r, await this.#call(`replace ${r.kind} ${name}`, o, act, true));
  };

  patchStatus = <T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: Readonly<Record<string, unknown>>,
    o: CallOptions = {},
  ) =>
    this.#patch(r, namespace, name, patch, o, 'patchStatus', (before, patch) => ({
      ...before,
      status: merged(before['status'], patch['status']),
    }));

  patchMetadata = <T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: Readonly<Record<string, unknown>>,
    o: CallOptions = {},
  ) =>
    this.#patch(r, namespace, name, patch, o, 'patchMetadata', (before, patch) => {
      const { resourceVersion: _, ...change } = patch['metadata'] as Record<string, unknown>;
      return { ...before, metadata: merged(before.metadata, change) };
    });

  remove = async <T extends Stored>(r: Resource<T>, namespace: string, name: string, o: CallOptions = {}) =>
    await this.#call(
      `remove ${r.kind} ${name}`,
      o,
      () => this.#server.remove(r.plural, namespace, name, this.#actor.name),
      true,
    );

  listPage = async <T>(
    r: Resource<T>,
    namespace: string | undefined,
    o: ListOptions & { readonly limit: number; readonly continue?: string | undefined },
  ) => {
    const { items, resourceVersion } = await this.#call(`list ${r.plural}`, o, () => {
      const { listsFrom } = this.#link;
      if (listsFrom === undefined) return { items: this.#all(r, namespace, o), resourceVersion: this.#server.version };
      const then = this.#server.allAt(r.plural, listsFrom).filter((raw) => matches(raw, namespace, o));
      return { items: then, resourceVersion: String(listsFrom) };
    });
    return { items, resourceVersion, continue: '' };
  };

  async *watch<T>(r: Resource<T>, namespace: string | undefined, o: WatchOptions): AsyncGenerator<WatchEvent> {
    const { time, chance } = this.#server;
    const from = Number(o.resourceVersion);
    const waiting: (Change | Error | 'end')[] = [];
    let wake = () => {};
    const put = (next: Change | Error | 'end') => {
      waiting.push(next);
      wake();
    };
    await this.#call(`watch ${r.plural}`, { signal: o.signal, timeoutMs: 15_000 }, () => {});
    const past = this.#server.changesSince(r.plural, from);
    if (past === undefined) throw new Expired(`Cannot watch ${r.plural}: version ${from} is too old; listing again`);
    let lastAtMs = 0;
    let broken = false;
    // One connection keeps its order, also where its reader stood still in between.
    const underWay: Change[] = [];
    const stream: Stream = {
      link: this.#link,
      wants: ({ object }) => matches(object, namespace, o),
      tell: (change) => {
        if (broken) return;
        if (this.#link.cutBack) {
          // Silence, until somebody notices.
          broken = true;
          const error = new Unanswered(`Cannot watch ${r.plural}: the stream broke; it is opened again`);
          time.in(chance.between(500, BROKEN_AFTER_MS), this.#actor, () => put(error));
          return;
        }
        lastAtMs = Math.max(
          lastAtMs,
          this.#link.stuckUntilMs,
          time.nowMs + chance.longTail(0.5, this.#link.slowestMs * 2),
        );
        underWay.push(change);
        time.in(lastAtMs - time.nowMs, this.#actor, () => put(underWay.shift()!)); // one for each that was sent
      },
    };
    const leave = this.#server.follow(r.plural, stream);
    const cancelEnd = time.in(o.timeoutSeconds * 1000, this.#actor, () => put('end'));
    const stop = () => put(new Unanswered('the caller has left'));
    o.signal.addEventListener('abort', stop, { once: true });
    o.onOpen?.();
    for (const change of past) if (stream.wants(change)) stream.tell(change);
    try {
      for (;;) {
        const next = waiting.shift();
        if (next === 'end') return;
        if (next instanceof Error) {
          o.signal.throwIfAborted();
          throw next;
        }
        if (next !== undefined) yield { type: next.type, object: next.object };
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      leave();
      cancelEnd();
      o.signal.removeEventListener('abort', stop);
    }
  }

  #all<T>({ plural }: Resource<T>, namespace: string | undefined, o: ListOptions): Raw[] {
    return this.#server.all(plural).filter((raw) => matches(raw, namespace, o));
  }

  async #patch<T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    sent: Readonly<Record<string, unknown>>,
    o: CallOptions,
    verb: string,
    to: (before: Raw, patch: Readonly<Record<string, unknown>>) => Record<string, unknown>,
  ): Promise<T> {
    const patch = asJson(sent);
    const carried = (patch['metadata'] as Record<string, unknown> | undefined)?.['resourceVersion'];
    const version = this.#version(r, verb, carried);
    const change = (before: Raw) => to(before, patch);
    const act = () => this.#server.change(r.plural, namespace, name, version, change, this.#actor.name);
    return this.#parse(r, await this.#call(`${verb} ${r.kind} ${name}`, o, act, true));
  }

  #version<T>({ plural }: Resource<T>, verb: string, carried: unknown): unknown {
    return (this.#tampering.checksVersion?.(plural, verb) ?? true) ? carried : undefined;
  }

  #parse<T extends Stored>(r: Resource<T>, raw: Raw): T {
    return r.parse(raw);
  }

  /** The way there, the deed, the way back; each may fail, and the caller learns of none of it but by waiting. */
  #call<T>(doing: string, o: CallOptions, act: () => T, writes = false): Promise<T> {
    const { time, chance } = this.#server;
    const link = this.#link;
    return new Promise<T>((resolve, reject) => {
      if (!this.#comesThrough()) return;
      if (o.signal?.aborted) return reject(o.signal.reason);
      let over = false;
      const settle = (finish: () => void) => {
        if (over) return;
        over = true;
        cancel();
        o.signal?.removeEventListener('abort', stop);
        finish();
      };
      const stop = () => settle(() => reject(o.signal?.reason));
      o.signal?.addEventListener('abort', stop, { once: true });
      const unanswered = () => new Unanswered(`Cannot ${doing}: no answer from the API server; it is tried again`);
      const cancel = this.#clock.after(o.timeoutMs ?? 5_000, () => settle(() => reject(unanswered())));
      if (link.cutTo || chance.hits(link.lost)) return;
      const arrive = (heard: boolean) => {
        let answer: () => void;
        try {
          const value = act();
          answer = () => resolve(value);
        } catch (error) {
          answer = () => reject(error);
        }
        if (!heard || link.cutBack || chance.hits(link.unheard)) return;
        time.in(chance.longTail(0.3, link.slowestMs), this.#actor, () => {
          if (this.#comesThrough()) settle(answer);
        });
      };
      const late = writes && chance.hits(link.late);
      time.in(late ? chance.between(50, LATEST_MS) : chance.longTail(0.3, link.slowestMs), this.#server.actor, () =>
        arrive(true),
      );
      if (writes && chance.hits(link.twice)) {
        time.in(chance.between(1, LATEST_MS / 3), this.#server.actor, () => arrive(false));
      }
    });
  }
}

function matches({ metadata }: Raw, namespace: string | undefined, o: ListOptions): boolean {
  if (namespace !== undefined && metadata.namespace !== namespace) return false;
  const name = o.fieldSelector?.replace('metadata.name=', '');
  if (name !== undefined && metadata.name !== name) return false;
  const labels = metadata['labels'] as Record<string, string> | undefined;
  return o.labelSelector === undefined || labels?.[o.labelSelector] !== undefined;
}

/** RFC 7396. What it leaves as it is stays the same object, and so is parsed once. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch))
    return sameJson(target, patch) ? target : patch;
  const base = isObject(target) ? target : {};
  let result: Record<string, unknown> | undefined = isObject(target) ? undefined : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) {
      if (!(key in base)) continue;
      result ??= { ...base };
      delete result[key];
    } else {
      const now = merged(base[key], value);
      if (key in base && now === base[key]) continue;
      result ??= { ...base };
      result[key] = now;
    }
  }
  return result ?? base;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
