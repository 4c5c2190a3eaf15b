import { failoverGroup } from '../../src/crds/failovergroup.ts';
import { failoverNode } from '../../src/crds/failovernode.ts';
import { vipResource } from '../../src/crds/vipresource.ts';
import { failoverGroups, failoverNodes, leases, vipResources } from '../../src/kube/resources.ts';

/**
 * Every client parses every version of every object that it hears of; here they all get the same object, which nobody
 * changes. It is parsed once, by the real schema, and so is a spec or a status that is the same in many versions.
 */
export function parseOnce(): void {
  const definitions = [failoverGroup, failoverNode, vipResource].flatMap(({ spec, status }) => [spec, status]);
  for (const one of [...definitions, failoverGroups, failoverNodes, leases, vipResources]) remember<object>(one);
}

/** What was parsed in a run that is over is of no use to the next. */
export function forgetParsed(): void {
  for (const parsed of memories) parsed.clear();
}

const memories: Map<object, object>[] = [];

function remember<T extends object>(parser: { parse: (raw: unknown) => T }): void {
  // A WeakMap would forget by itself, and cost the collector of garbage more than all that it lets go of.
  const parsed = new Map<object, T>();
  memories.push(parsed);
  const parse = parser.parse.bind(parser);
  parser.parse = (raw: unknown) => {
    if (typeof raw !== 'object' || raw === null) return parse(raw);
    const known = parsed.get(raw);
    if (known !== undefined) return known;
    const first = parse(raw);
    parsed.set(raw, first);
    return first;
  };
}
