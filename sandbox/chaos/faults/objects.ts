import { NAMESPACE } from '../../cluster.ts';
import { type Fault, forMs, NOTHING_TO_MEND, servedElsewhere } from '../fault.ts';
import type { Situation, World } from '../world.ts';

/** Hands that edit what they should not, and changes that are allowed at the worst moment. */
export const OBJECTS: readonly Fault[] = [
  {
    name: 'timing shortened while it runs',
    sum: 'none',
    lasts: renewedUnder(4),
    begin: (world, before) => timing(world, before, { renewEvery: '500ms', fenceAfter: '2s', takeoverAfter: '4s' }),
  },
  {
    name: 'timing lengthened while it runs',
    sum: 'none',
    lasts: renewedUnder(15),
    begin: (world, before) => timing(world, before, { renewEvery: '1s', fenceAfter: '10s', takeoverAfter: '15s' }),
  },
  {
    name: 'FailoverNode deleted by hand',
    sum: 'until it is there again + start',
    begin: async (world, { active }) => {
      await world.kubectl('delete', `failovernode/${active}`, '--wait=false');
      return () => applyUntilThere(world, `failovernode/${active}`);
    },
  },
  {
    name: 'report of a FailoverNode emptied by hand',
    sum: 'none',
    begin: async (world, { active }) => {
      await world.patch(`failovernode/${active}`, { status: { report: null } }, 'status');
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'Lease deleted by hand',
    sum: 'end of what runs + start',
    lasts: forMs(1_000),
    begin: async (world, { active }) => {
      await world.kubectl('delete', `lease/${active}`, '--wait=false');
      // With its finalizer it would go only when the FailoverNode does.
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'Lease deleted by force',
    sum: 'end of what runs + start',
    lasts: forMs(1_000),
    begin: async (world, { active }) => {
      await world.patch(`lease/${active}`, { metadata: { finalizers: null } });
      await world.kubectl('delete', `lease/${active}`, '--wait=false', '--ignore-not-found');
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'Lease fenced by hand',
    sum: 'end of what runs + start',
    begin: async (world, { active }) => {
      const transitions = await world.kubectl('get', `lease/${active}`, '-o', 'jsonpath={.spec.leaseTransitions}');
      await world.patch(`lease/${active}`, { spec: { holderIdentity: '', leaseTransitions: Number(transitions) + 1 } });
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'status of the group deleted by hand',
    sum: 'none',
    begin: async (world) => {
      await world.patch('failovergroup/failover', { status: null }, 'status');
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'assignment set to Stopping by hand',
    sum: 'a planned move',
    begin: async (world) => {
      await world.patch('failovergroup/failover', { status: { assignment: { state: 'Stopping' } } }, 'status');
      return NOTHING_TO_MEND;
    },
  },
  {
    name: 'node added and removed while a move is under way',
    sum: 'a planned move',
    lasts: servedElsewhere,
    begin: async (world, { other }) => {
      await world.kubectl('annotate', '--overwrite', 'failovergroup/failover', `pointsman.dev/move-to=${other}`);
      await world.cluster.sandbox.kubectl(['apply', '-f', '-'], { input: THIRD_NODE });
      await world.patch('failovergroup/failover', { spec: { nodes: ['server1', 'server2', 'server3'] } });
      await world.patch('failovergroup/failover', { spec: { nodes: ['server1', 'server2'] } });
      return async () => {
        await world.apply();
        await world.kubectl('delete', 'failovernode/server3', '--ignore-not-found', '--timeout=30s');
      };
    },
  },
];

/** No server is behind it. */
const THIRD_NODE = JSON.stringify({
  apiVersion: 'pointsman.dev/v1alpha1',
  kind: 'FailoverNode',
  metadata: { name: 'server3', namespace: NAMESPACE },
  spec: { instanceId: 'i-0123456789abcdef0' },
});

async function timing(world: World, { active, other }: Situation, wanted: object) {
  const set = (what: object) =>
    Promise.all([active, other].map((name) => world.patch(`failovernode/${name}`, { spec: { timing: what } })));
  await set(wanted);
  return async () => void (await set({ renewEvery: '1s', fenceAfter: '5s', takeoverAfter: '8s' }));
}

/** Until the Lease carries the new number. */
function renewedUnder(takeoverAfterSeconds: number) {
  return async ({ cluster, kubectl }: World, { active }: Situation) => {
    await cluster.until('the timing in force', 30_000, async () => {
      const said = await kubectl('get', `lease/${active}`, '-o', 'jsonpath={.spec.leaseDurationSeconds}');
      return Number(said) === takeoverAfterSeconds || said;
    });
  };
}

/** It goes only when it is no longer needed: until then there is nothing to make anew. */
async function applyUntilThere(world: World, object: string): Promise<void> {
  await world.cluster.until(`${object} there again`, 90_000, async () => {
    const deleting = await world.kubectl(
      'get',
      object,
      '--ignore-not-found',
      '-o',
      'jsonpath={.metadata.deletionTimestamp}',
    );
    if (deleting !== '') return `deleted at ${deleting}, and still there`;
    await world.apply();
    return true;
  });
}
