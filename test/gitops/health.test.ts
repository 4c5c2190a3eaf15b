import { beforeAll, describe, expect, it } from 'vitest';
import type { Condition } from '../../src/crds/conditions.ts';
import { kinds } from '../../src/crds/kinds.ts';
import { DISK_REASONS, GROUP_REASONS, NODE_REASONS, VIP_REASONS } from '../../src/crds/reasons.ts';
import { AGREES, type Judgement, judge } from './judges.ts';
import { ROWS, STATES, type State, type StoredObject } from './states.ts';

/** Objects as the controller leaves them, judged by what Argo CD runs and by what Flux and Helm call. */

const conditionsOf = ({ object }: State): readonly Condition[] =>
  (object.status as { conditions: readonly Condition[] }).conditions; // every status has them
const conditionOf = (state: State, type: string) => conditionsOf(state).find((one) => one.type === type);

/** The same object in other moments of its life. */
const edited = ({ object }: State): StoredObject => ({ ...object, metadata: { ...object.metadata, generation: 2 } });
const going = ({ object }: State): StoredObject => {
  return { ...object, metadata: { ...object.metadata, deletionTimestamp: '2026-11-23T12:00:00Z' } };
};

let asLeft: Judgement[];
let onceEdited: Judgement[];
let onceGoing: Judgement[];
beforeAll(async () => {
  const moments = [STATES.map(({ object }) => object), STATES.map(edited), STATES.map(going)];
  const judged = await judge(moments.flat());
  [asLeft, onceEdited, onceGoing] = moments.map((_, i) => judged.slice(i * STATES.length, (i + 1) * STATES.length)) as [
    Judgement[],
    Judgement[],
    Judgement[],
  ]; // as many as moments
}, 120_000);

describe('each state', () => {
  it('has a row for every reason there is', () => {
    for (const [rows, reasons] of [
      [ROWS.group, GROUP_REASONS],
      [ROWS.node, NODE_REASONS],
      [ROWS.vip, VIP_REASONS],
      [ROWS.disk, DISK_REASONS],
    ])
      expect(Object.keys(rows ?? {}).sort()).toEqual(Object.keys(reasons ?? {}).sort());
    expect([...new Set(STATES.map(({ object }) => object.kind))].sort()).toEqual(kinds.map(({ kind }) => kind).sort());
  });

  it('is the one its row names', () => {
    for (const state of STATES) expect(conditionOf(state, 'Ready')?.reason, state.name).toBe(state.reason);
  });

  it('is Ready, or under way, or stalled: exactly one of them, so that nobody has to guess', () => {
    for (const state of STATES) {
      const is = ['Ready', 'Reconciling', 'Stalled'].filter((type) => conditionOf(state, type)?.status === 'True');
      expect(is, state.name).toHaveLength(1);
    }
  });
});

describe('Argo CD', () => {
  it.each(STATES.map((state, i) => [state.name, state.health, state, i] as const))(
    'shows %s as %s',
    (_, health, state, i) => {
      const { argocd } = asLeft[i]!; // one for each state
      expect(argocd).toMatchObject({ status: health });
      const decisive = ['Stalled', 'Reconciling', 'Ready'].map((type) => conditionOf(state, type)).find(Boolean);
      expect(argocd.message).toContain(decisive?.message);
      expect(argocd.message).not.toBe('');
      if (state.alsoSays !== undefined) expect(argocd.message).toContain(`; ${state.alsoSays}`);
    },
  );

  it('waits for the controller to see what was changed in Git, whatever it said before', () => {
    for (const { argocd } of onceEdited)
      expect(argocd).toEqual({ status: 'Progressing', message: 'the controller has not looked at it yet' });
  });

  it('takes what is neither ready nor under way for degraded', async () => {
    const { object } = STATES[0]!; // there are some
    const conditions = [{ type: 'Ready', status: 'False', reason: 'Unheard', message: 'it broke' }];
    const [said] = await judge([{ ...object, status: { observedGeneration: 1, conditions } }]);
    expect(said?.argocd).toEqual({ status: 'Degraded', message: 'it broke' });
  });

  it('takes what has no condition at all for unseen', async () => {
    const { object } = STATES[0]!; // there are some
    const said = await judge([
      { ...object, status: undefined },
      { ...object, status: { observedGeneration: 1, conditions: [] } },
    ]);
    expect(said.map(({ argocd }) => argocd.status)).toEqual(['Progressing', 'Progressing']);
  });
});

describe('kstatus, by which Flux and Helm judge,', () => {
  it.each([
    ['as the controller left it', () => asLeft],
    ['once it was edited', () => onceEdited],
    ['while it is deleted', () => onceGoing],
  ])('agrees with Argo CD on every state %s', (_, judged) => {
    STATES.forEach((state, i) => {
      const { argocd, kstatus } = judged()[i]!; // one for each state
      expect(AGREES[argocd.status ?? ''], `${state.name}: ${JSON.stringify({ argocd, kstatus })}`).toContain(
        kstatus.status,
      );
    });
  });
});
