import type { ObjectMeta } from '../crds/kind.ts';

/** A kind as the API server serves it, and how its objects are read. */
export interface Resource<T> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: true;
  /** Reads an object as the server returned it; throws where it does not have the shape of the kind. */
  parse(raw: unknown): T;
}

/** Whatever a {@link Resource} parses to. */
export interface Stored {
  readonly metadata: ObjectMeta;
}

export interface CallOptions {
  /** Ends the call at once; it then throws the signal's reason, and a write may or may not have happened. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the call with `Unanswered`. Default 5 000. */
  readonly timeoutMs?: number | undefined;
}

export interface ListOptions extends CallOptions {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface RemoveOptions extends CallOptions {
  /** Remove only this very object, and not another of the same name. */
  readonly uid?: string | undefined;
}

export interface Listed<T> {
  readonly items: readonly T[];
  /** Objects that do not have the shape of their kind. */
  readonly unreadable: readonly { readonly key: string; readonly message: string }[];
}

/** A JSON merge patch (RFC 7396): `null` removes, arrays are replaced whole. */
export type MergePatch = Readonly<Record<string, unknown>>;

/** An object to create or to put; `apiVersion`, `kind` and the namespace are filled in. */
export interface Draft {
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string };
  readonly [field: string]: unknown;
}

/**
 * The few verbs we use. Every read is answered by a quorum of etcd (no `resourceVersion` is sent, see
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list), never by a cache.
 *
 * All throw the errors of `errors.ts`, `Unreadable` included. A patch or a replacement that carries
 * `metadata.resourceVersion` takes effect only on that very version and throws `Conflict` otherwise.
 */
export interface KubeApi {
  /** Undefined when there is none. */
  get<T extends Stored>(r: Resource<T>, namespace: string, name: string, o?: CallOptions): Promise<T | undefined>;
  /** All pages. `namespace` undefined lists all namespaces. */
  list<T extends Stored>(r: Resource<T>, namespace: string | undefined, o?: ListOptions): Promise<Listed<T>>;
  /** Throws `AlreadyExists` when the name is taken. */
  create<T extends Stored>(r: Resource<T>, namespace: string, body: Draft, o?: CallOptions): Promise<T>;
  /** PUT of the whole object; `body.metadata.resourceVersion` is required. */
  replace<T extends Stored>(r: Resource<T>, namespace: string, body: Draft, o?: CallOptions): Promise<T>;
  /** Merge patch of the status subresource: only `status` (and `metadata.resourceVersion`) has an effect. */
  patchStatus<T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: MergePatch,
    o?: CallOptions,
  ): Promise<T>;
  /** Merge patch of the object, for finalizers, annotations and labels: `{metadata: {…}}`. */
  patchMetadata<T extends Stored>(
    r: Resource<T>,
    namespace: string,
    name: string,
    patch: MergePatch & { readonly metadata: MergePatch },
    o?: CallOptions,
  ): Promise<T>;
  /** False when there was none. With finalizers the object stays, marked as being deleted. */
  remove<T extends Stored>(r: Resource<T>, namespace: string, name: string, o?: RemoveOptions): Promise<boolean>;
}

/** What a reflector needs: objects as the server sent them. */
export interface WatchApi {
  /** One page of a list, answered by a quorum. */
  listPage<T>(
    r: Resource<T>,
    namespace: string | undefined,
    o: ListOptions & { readonly limit: number; readonly continue?: string | undefined },
  ): Promise<Page>;
  /**
   * The events after `resourceVersion`, bookmarks included. Ends when the server ends the stream; throws the errors of
   * `errors.ts`, and `Unanswered` when nothing at all came for `idleMs`.
   */
  watch<T>(r: Resource<T>, namespace: string | undefined, o: WatchOptions): AsyncIterable<WatchEvent>;
}

export interface Page {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
  /** Passed on for the next page; empty on the last. */
  readonly continue: string;
}

export interface WatchOptions extends Pick<ListOptions, 'labelSelector' | 'fieldSelector'> {
  readonly signal: AbortSignal;
  readonly resourceVersion: string;
  /** The server ends the stream by itself after so long. */
  readonly timeoutSeconds: number;
  /** The stream is given up when nothing came for so long, bookmarks included. */
  readonly idleMs: number;
  /** Called once the server has accepted the watch. */
  readonly onOpen?: () => void;
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  /** The object; of an ERROR a Status. */
  readonly object: unknown;
}
