import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { FailoverNode, NodeReport } from '../crds/failovernode.ts';
import type { KubeApi, MergePatch } from '../kube/api.ts';
import { Conflict } from '../kube/errors.ts';
import { sameJson } from '../kube/mergepatch.ts';
import { failoverNodes } from '../kube/resources.ts';

/** Writes this node's report. It is on the way of every planned move, so it goes out at once; never two at a time. */
export interface Reporter {
  /** Something may have changed: what is composed now is written, unless it is what is stored already. */
  poke(): void;
  /** Resolves when what is to be said has been said, or the signal aborts. For tests and for the end. */
  settled(): Promise<void>;
}

export interface ReporterOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly node: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Undefined: there is nothing to say yet. */
  readonly compose: () => NodeReport | undefined;
  /** As last heard of by the watch; may be old. */
  readonly stored: () => FailoverNode | undefined;
}

/**
 * A process that starts or stops is the next moment something else, and the report of that would wait for the one under
 * way. So nothing that is only passing is written before it has lasted this long.
 */
const PASSING_MS = 50;
const WRITE_LIMIT_MS = 2_000;
const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1_000;

export function createReporter(options: ReporterOptions): Reporter {
  const { api, namespace, node, clock, log, signal } = options;
  let writing: Promise<void> | undefined;
  /** Newer than the watch's, once we have written. */
  let known: FailoverNode | undefined;
  let cancelPassing: (() => void) | undefined;

  function poke(): void {
    if (writing !== undefined || signal.aborted) return;
    const report = unsaid(newest());
    if (report === undefined) return;
    if (!isPassing(newest()?.status?.report, report)) {
      write();
      return;
    }
    cancelPassing ??= clock.after(PASSING_MS, () => {
      cancelPassing = undefined;
      write();
    });
  }

  function write(): void {
    cancelPassing?.();
    cancelPassing = undefined;
    writing ??= writeUntilSaid().finally(() => {
      writing = undefined;
      if (newest() !== undefined) poke();
    });
  }

  async function writeUntilSaid(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    // What is poked for in one turn of the loop goes out in one report.
    await new Promise((resolve) => setImmediate(resolve));
    while (!signal.aborted) {
      try {
        if (newest() === undefined) known = await readNode();
        const base = newest();
        const report = unsaid(base);
        if (base === undefined || report === undefined) return;
        known = await api.patchStatus(failoverNodes, namespace, node, patchFor(base, report), limits());
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        // The controller has written its conditions meanwhile: read, and try at once.
        const conflict = error instanceof Conflict;
        if (!conflict) log.warn('cannot write the report', { error: describeError(error) });
        known = await readNode().catch(() => undefined);
        if (!conflict || known === undefined) {
          await clock.sleep(retryMs, signal).catch(() => {});
          retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
        }
      }
    }
  }

  /** What has to be said and is not what is stored. */
  function unsaid(base: FailoverNode | undefined): NodeReport | undefined {
    const report = options.compose();
    if (report === undefined || base === undefined) return report;
    return sameJson(base.status?.report, report) ? undefined : report;
  }

  function newest(): FailoverNode | undefined {
    const watched = options.stored();
    if (known === undefined || watched === undefined) return known ?? watched;
    if (watched.metadata.uid !== known.metadata.uid) return watched;
    // Versions may be compared since Kubernetes 1.35 (KEP-5504); before, they were numbers of etcd all the same. Taking
    // the wrong one costs a conflict and a read.
    return BigInt(watched.metadata.resourceVersion) >= BigInt(known.metadata.resourceVersion) ? watched : known;
  }

  const limits = () => ({ signal, timeoutMs: WRITE_LIMIT_MS });
  const readNode = () => api.get(failoverNodes, namespace, node, limits());

  return { poke, settled: async () => writing };
}

/** A merge patch: what a report no longer has must be named as null (RFC 7396). Lists are replaced whole. */
function patchFor(base: FailoverNode, report: NodeReport): MergePatch {
  const gone = Object.keys(base.status?.report ?? {}).filter((key) => !(key in report));
  return {
    metadata: { resourceVersion: base.metadata.resourceVersion },
    status: { report: { ...Object.fromEntries(gone.map((key) => [key, null])), ...report } },
  };
}

/** Whether all that is new is that processes are starting or stopping. */
function isPassing(stored: NodeReport | undefined, report: NodeReport): boolean {
  if (stored === undefined || !sameJson({ ...stored, groups: [] }, { ...report, groups: [] })) return false;
  return report.groups.every((group) => {
    const before = stored.groups.find(({ name }) => name === group.name);
    if (before === undefined || before.fit !== group.fit || before.ended !== group.ended)
      return sameJson(before, group);
    return group.state === 'Starting' || group.state === 'Stopping' || sameJson(before, group);
  });
}
