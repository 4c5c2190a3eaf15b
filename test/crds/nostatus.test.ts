import { expect, it } from 'vitest';
import { NO_STATUS_YET, parseObject } from '../../src/crds/kind.ts';
import { kinds } from '../../src/crds/kinds.ts';
import { group, monitor, node, vip } from '../decide/build.ts';

const objects = { FailoverGroup: group(), FailoverNode: node('a').node, VipResource: vip(), DiskMonitor: monitor() };

it.each(kinds.map((kind) => [kind.kind, kind] as const))(
  'the status that the API server shows of a %s nobody has looked at is none: a group without one may be new, or have lost it',
  (name, kind) => {
    const { metadata, spec } = objects[name as keyof typeof objects]!; // there is one of every kind
    const filledIn = kind.status.parse(NO_STATUS_YET);
    expect(parseObject(kind, { metadata, spec, status: NO_STATUS_YET }).status).toBeUndefined();
    expect(parseObject(kind, { metadata, spec, status: filledIn }).status).toBeUndefined();
    expect(parseObject(kind, { metadata, spec, status: { observedGeneration: 1 } }).status).toBeDefined();
  },
);

it('what an agent reported before the controller looked is not lost', () => {
  const { metadata, spec, status } = node('a').node!; // the builder makes one
  const raw = { metadata, spec, status: { ...NO_STATUS_YET, report: status?.report } };
  expect(parseObject(kinds[1]!, raw).status).toMatchObject({ report: { groups: [{ name: 'failover' }] } }); // FailoverNode
});
