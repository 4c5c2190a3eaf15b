import {
  ApiException,
  type ConfigurationOptions,
  CoreV1Api,
  CustomObjectsApi,
  Observable,
  type ObservableMiddleware,
  PatchStrategy,
  type RequestContext,
  setHeaderOptions,
} from '@kubernetes/client-node';
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import type { Log } from '../base/log.ts';
import type {
  CallOptions,
  Draft,
  KubeApi,
  Listed,
  ListOptions,
  MergePatch,
  Page,
  RemoveOptions,
  Resource,
  Stored,
  WatchApi,
  WatchEvent,
  WatchOptions,
} from './api.ts';
import { withDeadline } from './deadline.ts';
import { kubeError, NotFound, Unauthorized, unreadable } from './errors.ts';
import { rawKey } from './key.ts';
import { PooledKubeConfig } from './login.ts';
import { openWatch } from './watch.ts';

export interface KubeClientOptions {
  readonly log: Log;
  /** A kubeconfig file, or several that are merged. Without one: the pod's own account. */
  readonly kubeconfig?: string | readonly string[] | undefined;
  /** The context to use. Default: the current one. */
  readonly context?: string | undefined;
  /** Stands in `managedFields` for what this process wrote. */
  readonly fieldManager: string;
}

/** A token of a ServiceAccount, new from the server. */
export interface IssuedToken {
  readonly token: string;
  /** How long it holds, counted from the request. */
  readonly lifeMs: number;
}

export interface KubeClient extends KubeApi, WatchApi {
  /** The TokenRequest API: a token for `account`, which lives for about `lifeSeconds`. */
  issueToken(namespace: string, account: string, lifeSeconds: number, o?: CallOptions): Promise<IssuedToken>;
  /** Where the token of this login is read from, if it comes from a file. */
  readonly tokenPath: string | undefined;
  /** The namespace that the context names, if it names one. */
  readonly contextNamespace: string | undefined;
  /** Ends all connections; for the end of the process. */
  close(): Promise<void>;
}

/** Throws when the kubeconfig cannot be read. Connects only when called. */
export function createKubeClient(options: KubeClientOptions): KubeClient {
  return new Client(options);
}

/** client-go's page size. */
const PAGE_SIZE = 500;

class Client implements KubeClient {
  readonly #config: PooledKubeConfig;
  readonly #server: string;
  readonly #objects: CustomObjectsApi;
  readonly #core: CoreV1Api;
  readonly #fieldManager: string;

  constructor({ log, kubeconfig, context, fieldManager }: KubeClientOptions) {
    this.#config = new PooledKubeConfig(log);
    if (kubeconfig === undefined) this.#config.loadFromCluster();
    else this.#config.loadFromFiles(typeof kubeconfig === 'string' ? [kubeconfig] : kubeconfig, context);
    const cluster = this.#config.getCurrentCluster();
    if (!cluster) throw new Error(`Cannot use kubeconfig ${kubeconfig}: it has no current context; set one`);
    this.#server = cluster.server.replace(/\/$/, '');
    this.#objects = this.#config.makeApiClient(CustomObjectsApi);
    this.#core = this.#config.makeApiClient(CoreV1Api);
    this.#fieldManager = fieldManager;
  }

  get tokenPath(): string | undefined {
    return this.#config.tokenPath;
  }

  get contextNamespace(): string | undefined {
    return this.#config.getContextObject(this.#config.getCurrentContext())?.namespace;
  }

  async get<T extends Stored>(r: Resource<T>, namespace: string, name: string, o: CallOptions = {}) {
    const doing = `read ${r.kind} ${namespace}/${name}`;
    try {
      const raw = await this.#call(doing, o, (c) =>
        this.#objects.getNamespacedCustomObject({ ...place(r, namespace), name }, c),
      );
      return parse(r, doing, raw);
    } catch (error) {
      if (error instanceof NotFound) return undefined;
      throw error;
    }
  }

  async list<T extends Stored>(r: Resource<T>, namespace: string | undefined, o: ListOptions = {}) {
    const items: T[] = [];
    const problems: Listed<T>['unreadable'][number][] = [];
    let next = '';
    do {
      const page: Page = await this.listPage(r, namespace, { ...o, limit: PAGE_SIZE, continue: next });
      for (const raw of page.items) {
        try {
          items.push(r.parse(raw));
        } catch (error) {
          const key = rawKey(raw);
          problems.push({ key, message: unreadable(`read ${r.kind} ${key}`, error).message });
        }
      }
      next = page.continue;
    } while (next !== '');
    return { items, unreadable: problems };
  }

  async listPage<T>(
    r: Resource<T>,
    namespace: string | undefined,
    o: ListOptions & { readonly limit: number; readonly continue?: string | undefined },
  ): Promise<Page> {
    const doing = `list ${r.plural} in ${namespace ?? 'all namespaces'}`;
    const query = {
      group: r.group,
      version: r.version,
      limit: o.limit,
      ...(o.continue ? { _continue: o.continue } : {}),
      ...(o.labelSelector === undefined ? {} : { labelSelector: o.labelSelector }),
      ...(o.fieldSelector === undefined ? {} : { fieldSelector: o.fieldSelector }),
    };
    const raw = await this.#call(doing, o, (c) =>
      namespace === undefined
        ? this.#objects.listCustomObjectForAllNamespaces({ ...query, resourcePlural: r.plural }, c)
        : this.#objects.listNamespacedCustomObject({ ...query, namespace, plural: r.plural }, c),
    );
    const list = rawList.safeParse(raw);
    if (!list.success) throw kubeError(doing, list.error);
    const { items, metadata } = list.data;
    // The items of a typed list carry neither kind nor apiVersion, and no schema of ours asks for them.
    return { items: items ?? [], resourceVersion: metadata.resourceVersion, continue: metadata.continue ?? '' };
  }

  async *watch<T>(r: Resource<T>, namespace: string | undefined, o: WatchOptions): AsyncGenerator<WatchEvent> {
    const doing = `watch ${r.plural} in ${namespace ?? 'all namespaces'}`;
    const scope = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`;
    const url = new URL(`${this.#server}/apis/${r.group}/${r.version}/${scope}${r.plural}`);
    url.search = new URLSearchParams({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: o.resourceVersion,
      timeoutSeconds: String(o.timeoutSeconds),
      ...(o.labelSelector === undefined ? {} : { labelSelector: o.labelSelector }),
      ...(o.fieldSelector === undefined ? {} : { fieldSelector: o.fieldSelector }),
    }).toString();
    try {
      yield* await this.#openWatch(doing, url, o);
    } catch (error) {
      if (!(error instanceof Unauthorized)) throw error;
      this.#config.forgetToken();
      yield* await this.#openWatch(doing, url, o);
    }
  }

  async #openWatch(doing: string, url: URL, o: WatchOptions): Promise<AsyncGenerator<WatchEvent>> {
    try {
      const { headers, dispatcher } = await withDeadline({ signal: o.signal }, () => this.#config.login('watches'));
      return openWatch({ doing, url, headers: { ...headers, accept: 'application/json' }, dispatcher }, o);
    } catch (error) {
      o.signal.throwIfAborted();
      throw kubeError(doing, error);
    }
  }

  async create<T extends Stored>(r: Resource<T>, namespace: string, body: Draft, o: CallOptions = {}) {
    const doing = `create ${r.kind} ${namespace}/${body.metadata.name}`;
    const param = { ...place(r, namespace), body: whole(r, namespace, body), fieldManager: this.#fieldManager };
    return parse(r, doing, await this.#call(doing, o, (c) => this.#objects.createNamespacedCustomObject(param, c)));
  }

  async replace<T extends Stored>(r: Resource<T>, namespace: string, body: Draft, o: CallOptions = {}) {
    const { name, resourceVersion } = body.metadata;
    assert(resourceVersion, `a replacement of ${r.kind} ${namespace}/${name} carries its resourceVersion`);
    const doing = `replace ${r.kind} ${namespace}/${name}`;
    const param = { ...place(r, namespace), name, body: whole(r, namespace, body), fieldManager: this.#fieldManager };
    return parse(r, doing, await this.#call(doing, o, (c) => this.#objects.replaceNamespacedCustomObject(param, c)));
  }

  async patchStatus<T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: MergePatch,
    o: CallOptions = {},
  ) {
    const doing = `patch the status of ${r.kind} ${namespace}/${name}`;
    const param = { ...place(r, namespace), name, body: patch, fieldManager: this.#fieldManager };
    const raw = await this.#call(doing, o, (c) =>
      this.#objects.patchNamespacedCustomObjectStatus(param, mergePatch(c)),
    );
    return parse(r, doing, raw);
  }

  async patchMetadata<T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: MergePatch & { readonly metadata: MergePatch },
    o: CallOptions = {},
  ) {
    const doing = `patch ${r.kind} ${namespace}/${name}`;
    const param = { ...place(r, namespace), name, body: patch, fieldManager: this.#fieldManager };
    const raw = await this.#call(doing, o, (c) => this.#objects.patchNamespacedCustomObject(param, mergePatch(c)));
    return parse(r, doing, raw);
  }

  async remove<T extends Stored>(r: Resource<T>, namespace: string, name: string, o: RemoveOptions = {}) {
    const doing = `delete ${r.kind} ${namespace}/${name}`;
    const body = o.uid === undefined ? {} : { body: { preconditions: { uid: o.uid } } };
    try {
      await this.#call(doing, o, (c) =>
        this.#objects.deleteNamespacedCustomObject({ ...place(r, namespace), name, ...body }, c),
      );
      return true;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  }

  async issueToken(namespace: string, account: string, lifeSeconds: number, o: CallOptions = {}): Promise<IssuedToken> {
    const doing = `create a token of ServiceAccount ${namespace}/${account}`;
    const param = {
      namespace,
      name: account,
      body: { spec: { audiences: [], expirationSeconds: lifeSeconds } },
      fieldManager: this.#fieldManager,
    };
    const answer = await this.#call(doing, o, (c) => this.#core.createNamespacedServiceAccountToken(param, c));
    if (!answer.status?.token) throw kubeError(doing, new Error('the answer has no token'));
    // The server may grant less, or more (`--service-account-extend-token-expiration`), and says so in the spec.
    return { token: answer.status.token, lifeMs: (answer.spec?.expirationSeconds ?? lifeSeconds) * 1000 };
  }

  async close(): Promise<void> {
    await this.#config.closeConnections();
  }

  /** One call with its time-out; a 401 reads the token anew and asks once more, at once. */
  async #call<R>(doing: string, o: CallOptions, send: (c: ConfigurationOptions) => Promise<R>): Promise<R> {
    try {
      return await withDeadline(o, async (signal) => {
        try {
          return await send(withSignal(signal));
        } catch (error) {
          if (!(error instanceof ApiException) || error.code !== 401) throw error;
          this.#config.forgetToken();
          return await send(withSignal(signal));
        }
      });
    } catch (error) {
      o.signal?.throwIfAborted();
      throw kubeError(doing, error);
    }
  }
}

function place<T>(r: Resource<T>, namespace: string) {
  return { group: r.group, version: r.version, namespace, plural: r.plural };
}

function whole<T>(r: Resource<T>, namespace: string, body: Draft): Draft {
  return {
    ...body,
    apiVersion: `${r.group}/${r.version}`,
    kind: r.kind,
    metadata: { ...body.metadata, namespace, managedFields: undefined },
  };
}

function parse<T>(r: Resource<T>, doing: string, raw: unknown): T {
  try {
    return r.parse(raw);
  } catch (error) {
    throw unreadable(doing, error);
  }
}

const rawList = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});

/** Given to the request by a middleware, because the generated calls take no signal. */
function withSignal(signal: AbortSignal): ConfigurationOptions {
  return eachRequest((context) => context.setSignal(signal));
}

/** The generated patches are JSON patches unless the header says otherwise. */
function mergePatch(options: ConfigurationOptions): ConfigurationOptions {
  return setHeaderOptions('Content-Type', PatchStrategy.MergePatch, options);
}

function eachRequest(change: (context: RequestContext) => void): ConfigurationOptions {
  const middleware: ObservableMiddleware = {
    pre(context) {
      change(context);
      return new Observable(Promise.resolve(context));
    },
    post: (response) => new Observable(Promise.resolve(response)),
  };
  return { middleware: [middleware], middlewareMergeStrategy: 'append' };
}
