import { describe, expect, it } from 'vitest';
import { type FailoverGroup, MOVE_TO_ANNOTATION } from '../../src/crds/failovergroup.ts';
import { planFailover } from '../../src/decide/failover.ts';
import { groupStatus } from '../../src/decide/groupstatus.ts';
import type { GroupSeen } from '../../src/decide/seen.ts';
import { mergePatch } from '../../src/kube/mergepatch.ts';
import { assignment, group, NOW, node, report, running, seen } from '../decide/build.ts';
import { type Answer, actionScripts, ask, discoveryScript } from './judges.ts';
import { SEEN, type StoredObject, stored } from './states.ts';

/** The action `move` as Argo CD offers and runs it, on objects as the controller leaves them. */

const objectOf = (what: GroupSeen): StoredObject =>
  stored('FailoverGroup', what.group, groupStatus(what, planFailover(what, NOW), NOW));

async function offered(objects: readonly object[]): Promise<(NonNullable<Answer['actions']>[string] | undefined)[]> {
  const answers = await ask(objects.map((object) => ({ ask: 'actions', lua: discoveryScript, object })));
  return answers.map(({ actions, error }) => {
    expect(error).toBeUndefined();
    return actions?.['move'];
  });
}

async function move(object: object, params: Record<string, string> = {}): Promise<Answer> {
  const [answer] = await ask([{ ask: 'act', lua: actionScripts.get('move') ?? '', object, params }]);
  return answer!; // one for each question
}

/** What Argo CD then sends to the API server. */
async function patchOf(object: object, params?: Record<string, string>): Promise<unknown> {
  const { resources, error } = await move(object, params);
  expect(error).toBeUndefined();
  expect(resources?.map(({ operation }) => operation)).toEqual(['patch']);
  return mergePatch(object, resources?.[0]?.resource);
}
const wish = (to: string) => ({ metadata: { annotations: { [MOVE_TO_ANNOTATION]: to } } });

const served = node('server1', { report: running(3) });
const three = { nodes: ['server1', 'server2', 'server3'] };
const ofTwo = objectOf(seen({ nodes: [served, node('server2')] }));
const ofThree = objectOf(seen({ group: group(three), nodes: [served, node('server2'), node('server3')] }));
const unfit = report({ fit: false, reason: 'DiskNotMounted', message: 'mount it' });

describe('the action move', () => {
  it('is offered by the name of the one node that can take the group, and asks for nothing', async () => {
    const [move] = await offered([ofTwo]);
    expect(move).toMatchObject({ disabled: false, displayName: 'Move to server2' });
    expect(move?.params).toBeUndefined();
  });

  it('asks for the node where there are several, and names those that are fit alone', async () => {
    const nodes = [served, node('server2', { report: unfit }), node('server3'), node('server4')];
    const object = objectOf(seen({ group: group({ nodes: nodes.map(({ name }) => name) }), nodes }));
    const [move] = await offered([object]);
    expect(move).toMatchObject({ displayName: 'Move to server3 or server4', params: [{ name: 'node' }] });
  });

  const rows: readonly [string, FailoverGroup | undefined, Partial<GroupSeen>][] = [
    ['no other node is fit', undefined, { nodes: [served, node('server2', { report: unfit })] }],
    ['the group is not to run', group({ running: false }), { nodes: [served, node('server2')] }],
    ['the group is being deleted', group({ deleting: true }), { nodes: [served, node('server2')] }],
    ['it has never run', group({ assignment: undefined }), { nodes: [] }],
    [
      'the node that has it is ending it',
      group({ assignment: assignment({ state: 'Stopping' }) }),
      { nodes: [served, node('server2')] },
    ],
  ];
  it.each(rows)('is not on offer when %s, and does nothing when it is run all the same', async (_, one, what) => {
    const object = objectOf(seen({ nodes: [], ...what, ...(one === undefined ? {} : { group: one }) }));
    const [offer] = await offered([object]);
    expect(offer?.disabled).toBe(true);
    expect(await move(object)).toEqual({ error: 'Cannot move failover: no other node can take it now' });
  });

  it('is not on offer before the controller has seen the group', async () => {
    const [offer] = await offered([{ ...ofTwo, status: { observedGeneration: -1, nodes: [], conditions: [] } }]);
    expect(offer?.disabled).toBe(true);
  });

  it('sets the annotation and changes nothing else, empty lists and objects least of all', async () => {
    expect(await patchOf(ofTwo)).toEqual(wish('server2'));
    const { annotations: _, ...bare } = ofTwo.metadata;
    expect(await patchOf({ ...ofTwo, metadata: bare })).toEqual(wish('server2'));
    const other = { ...ofTwo, metadata: { ...bare, annotations: { other: 'kept' }, labels: {}, finalizers: [] } };
    expect(await patchOf(other)).toEqual(wish('server2'));
  });

  it('goes to the node that is asked for, or to the first when none is', async () => {
    expect(await patchOf(ofThree, { node: 'server3' })).toEqual(wish('server3'));
    expect(await patchOf(ofThree, { node: '' })).toEqual(wish('server2'));
    expect(await patchOf(ofThree)).toEqual(wish('server2'));
  });

  it.each(['server1', 'server9'])('refuses to go to %s, and says where it can go', async (to) => {
    const error = `Cannot move failover to ${to}: only server2 or server3 can take it now`;
    expect(await move(ofThree, { node: to })).toEqual({ error });
  });

  it('is offered when the controller would carry it out, and only then', async () => {
    const offers = await offered(SEEN.map(({ seen: what }) => objectOf(what)));
    expect(new Set(offers.map((offer) => offer?.disabled))).toEqual(new Set([true, false]));
    SEEN.forEach(({ name, seen: what }, i) => {
      const status = groupStatus(what, planFailover(what, NOW), NOW);
      const carriedOut = what.group.spec.nodes.filter((to) => {
        if (to === status.assignment?.node) return false;
        const metadata = { ...what.group.metadata, annotations: { [MOVE_TO_ANNOTATION]: to } };
        const { reason } = planFailover({ ...what, group: { ...what.group, metadata, status } }, NOW);
        // Where the node is lost, it is fenced first.
        return reason === 'Requested' || reason === 'NodeLost';
      });
      const named = offers[i]?.disabled ? 'Move: no other node can take it' : `Move to ${carriedOut.join(' or ')}`;
      expect(offers[i]?.displayName, name).toBe(named);
      if (offers[i]?.disabled) expect(carriedOut, name).toEqual([]);
    });
  });

  it('knows no annotation but the one that the controller knows', () => {
    const scripts = [discoveryScript, ...actionScripts.values()].join('\n');
    expect([...new Set(scripts.match(/pointsman\.dev\/[a-z-]+/g))]).toEqual([MOVE_TO_ANNOTATION]);
  });
});
