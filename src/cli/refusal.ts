import { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import { type FailoverGroup, MOVE_TO_ANNOTATION } from '../crds/failovergroup.ts';
import { objectMeta } from '../crds/kind.ts';
import type { GroupReason } from '../crds/reasons.ts';
import type { CallOptions, KubeApi, Resource } from '../kube/api.ts';
import { Forbidden } from '../kube/errors.ts';
import { events } from '../kube/events.ts';

/** The controller says why it refuses a move in an Event, and nowhere else. */
export interface RefusalEvents {
  /** The words of a refusal that was not there before; undefined when none comes in time, or Events may not be read. */
  wait(timeoutMs: number): Promise<string | undefined>;
}

/** Looks at the refusals there are, so that a later one can be told from them. */
export async function watchRefusals(
  api: KubeApi,
  clock: Clock,
  { metadata: { namespace, name } }: FailoverGroup,
  o: CallOptions,
): Promise<RefusalEvents> {
  const before = new Set((await list()).map(({ version }) => version));
  return {
    async wait(timeoutMs) {
      const endMs = clock.nowMs() + timeoutMs;
      for (;;) {
        const found = (await list()).find(({ version }) => !before.has(version));
        if (found) return found.note;
        if (clock.nowMs() >= endMs) return undefined;
        await clock.sleep(LOOK_EVERY_MS, o.signal);
      }
    },
  };

  async function list(): Promise<{ version: string; note: string }[]> {
    try {
      const fieldSelector = `reason=${'MoveRefused' satisfies GroupReason}`;
      const { items } = await api.list(refusals, namespace, { ...o, fieldSelector });
      return items
        .filter(({ regarding }) => regarding.kind === 'FailoverGroup' && regarding.name === name)
        .map(({ metadata, note }) => ({ version: `${metadata.uid}/${metadata.resourceVersion}`, note }));
    } catch (error) {
      if (error instanceof Forbidden) return [];
      throw error;
    }
  }
}

const LOOK_EVERY_MS = 200;

const refusal = z.looseObject({
  metadata: objectMeta,
  note: z.string().default(''),
  regarding: z.looseObject({ kind: z.string().default(''), name: z.string().default('') }).prefault({}),
});

const refusals: Resource<z.output<typeof refusal>> = { ...events, parse: (raw) => refusal.parse(raw) };

/** What the status says of a node that a move was refused to: the Event's words, without the Event. */
export function refusalByStatus({ spec, status }: FailoverGroup, to: string): string {
  if (!spec.running) return 'the group is stopped; set spec.running to true first';
  if (!spec.nodes.includes(to)) return `spec.nodes does not name it; name one of ${spec.nodes.join(', ')}`;
  const node = status?.nodes.find(({ name }) => name === to);
  if (node && !node.fit) return `${node.reason}: ${node.message}`;
  return `somebody has taken the annotation ${MOVE_TO_ANNOTATION} off, or ${to} was not fit a moment ago; try again`;
}
