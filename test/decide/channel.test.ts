import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Assignment } from '../../src/crds/failovergroup.ts';
import {
  type ChannelRecord,
  type FileRead,
  fallbackAgeMs,
  type Gate,
  type GateAsked,
  highestIn,
  isOpen,
  judgeGate,
  lookAgainAfterMs,
  neighbourState,
  othersOf,
  type Round,
  type Sights,
  sightsAfter,
  tickObstacle,
} from '../../src/decide/channel.ts';

/** What node "a" concludes from the files of the others. */

let beats = 0;
const record = (change: Partial<ChannelRecord> = {}): ChannelRecord => ({
  ...{ state: 'running', ended: 0, claim: 6, epoch: 6, beat: `b-${++beats}`, takeoverAfterSeconds: 8 },
  ...change,
});
const ended = (epoch: number, change: Partial<ChannelRecord> = {}) =>
  record({ state: 'ended', ended: epoch, claim: epoch, epoch, ...change });
const says = (node: string, of: ChannelRecord): FileRead => ({ node, kind: 'record', record: of });
const at = (ms: number, ...reads: FileRead[]): Round => ({ startedMs: ms - 5, answeredMs: ms, reads });
const seenIn = (...rounds: Round[]): Sights => rounds.reduce(sightsAfter, new Map() as Sights);
const failed = (node: string): FileRead => ({ node, kind: 'failed', message: 'EIO' });

describe('a tick of epoch 7', () => {
  const rows: readonly { when: string; reads: readonly FileRead[]; extends: boolean }[] = [
    {
      when: 'all others ran or ended earlier epochs',
      reads: [says('b', ended(6)), says('c', record())],
      extends: true,
    },
    {
      when: 'a node has never written its file',
      reads: [says('b', ended(6)), { node: 'c', kind: 'empty' }],
      extends: true,
    },
    {
      when: 'the next epoch is claimed',
      reads: [says('b', record({ claim: 8 })), says('c', record())],
      extends: false,
    },
    { when: 'its own epoch is claimed', reads: [says('b', record()), says('c', record({ claim: 7 }))], extends: false },
    {
      when: 'somebody is in its own epoch',
      reads: [says('b', record({ epoch: 7 })), says('c', record())],
      extends: false,
    },
    { when: 'somebody has ended a later one', reads: [says('b', ended(9)), says('c', record())], extends: false },
    { when: 'a file cannot be read', reads: [says('b', ended(6)), failed('c')], extends: false },
    { when: 'a file is torn', reads: [says('b', ended(6)), { node: 'c', kind: 'torn', content: 'x' }], extends: false },
    { when: 'a file was missing', reads: [says('b', ended(6)), { node: 'c', kind: 'missing' }], extends: false },
    { when: 'a file was not read', reads: [says('b', ended(6))], extends: false },
    {
      when: 'one that is no node of the group has claimed the next epoch',
      reads: [says('b', ended(6)), says('c', ended(5)), says('gone', record({ claim: 8 }))],
      extends: false,
    },
  ];
  test.each(rows)('when $when: extends $extends', ({ reads, extends: does }) => {
    expect(tickObstacle(at(100, ...reads), ['b', 'c'], 7) === undefined).toBe(does);
  });
});

describe('the gate of epoch 7', () => {
  const asked = (change: Partial<GateAsked> = {}): GateAsked => ({
    epoch: 7,
    others: ['b'],
    own: { claim: 7, epoch: 3, ended: 3 },
    claimedMs: 10_000,
    notBeforeMs: 0,
    open: true,
    fallbackMs: 9_000,
    ...change,
  });
  /** The file was seen so first at 1 s, and has been the same since, up to a round of `ms`. */
  const since = (read: FileRead, ms: number) => {
    const rounds = [at(1_000, read), at(ms, read)];
    return { sights: seenIn(...rounds), round: rounds[1] };
  };
  const look = (read: FileRead, ms = 10_010, change: Partial<GateAsked> = {}): Gate => {
    const { sights, round } = since(read, ms);
    return judgeGate(asked(change), sights, round);
  };
  const EMPTY: FileRead = { node: 'b', kind: 'empty' };
  const MISSING: FileRead = { node: 'b', kind: 'missing' };
  const TORN: FileRead = { node: 'b', kind: 'torn', content: 'x' };

  const rows: readonly { when: string; gate: Gate; is: Partial<Gate> }[] = [
    {
      when: 'its own file is not known',
      gate: look(says('b', ended(6)), 10_010, { own: undefined }),
      is: { state: 'closed' },
    },
    {
      when: 'its claim has not been written',
      gate: look(says('b', ended(6)), 10_010, { own: { claim: 3, epoch: 3, ended: 3 }, claimedMs: undefined }),
      is: { state: 'unclaimed' },
    },
    {
      when: 'its claim may not have come to the disk',
      gate: look(says('b', ended(6)), 10_010, { claimedMs: undefined }),
      is: { state: 'unclaimed' },
    },
    {
      when: 'the last round began before the claim was written',
      gate: look(says('b', ended(6)), 10_004),
      is: { state: 'unread' },
    },
    { when: 'the last round began just after it', gate: look(says('b', ended(6)), 10_005), is: { state: 'passed' } },
    {
      when: 'the last round began before a gap was closed',
      gate: look(says('b', ended(6)), 10_010, { notBeforeMs: 10_006 }),
      is: { state: 'unread' },
    },
    {
      when: 'its own file names a later epoch',
      gate: look(says('b', ended(6)), 10_010, { own: { claim: 9, epoch: 3, ended: 3 } }),
      is: { state: 'outnumbered' },
    },
    { when: 'the epoch before has ended', gate: look(says('b', ended(6))), is: { state: 'passed' } },
    {
      when: 'only an earlier one has',
      gate: look(says('b', ended(5)), 8_999, { claimedMs: 0 }),
      is: { state: 'closed', untilMs: 9_000 },
    },
    { when: 'only an earlier one has, long ago', gate: look(says('b', ended(5))), is: { state: 'passed' } },
    {
      when: 'who has ended it has claimed another since',
      gate: judgeGate(
        asked({ epoch: 8, own: { claim: 8, epoch: 3, ended: 3 } }),
        ...fresh(says('b', ended(6, { claim: 7 }))),
      ),
      is: { state: 'closed' },
    },
    {
      when: 'who says idle has ended it',
      gate: judgeGate(asked(), ...fresh(says('b', ended(6, { state: 'idle' })))),
      is: { state: 'closed' },
    },
    {
      when: 'the next epoch is claimed by another',
      gate: look(says('b', record({ claim: 8 })), 99_000),
      is: { state: 'outnumbered' },
    },
    {
      when: 'the epoch itself is claimed by another',
      gate: look(says('b', record({ claim: 7 })), 99_000),
      is: { state: 'outnumbered' },
    },
    {
      when: 'another runs, and its beat has not aged',
      gate: look(says('b', record()), 8_999, { claimedMs: 0 }),
      is: { state: 'closed' },
    },
    { when: 'the beat has aged', gate: look(says('b', record()), 9_000, { claimedMs: 0 }), is: { state: 'passed' } },
    {
      when: 'the file says that it must age longer',
      gate: look(says('b', record({ takeoverAfterSeconds: 20 })), 10_010),
      is: { state: 'closed', untilMs: 21_000 },
    },
    {
      when: 'a torn file has not aged by the greater number',
      gate: look(TORN, 9_999, { claimedMs: 0 }),
      is: { state: 'closed' },
    },
    { when: 'a torn file has aged', gate: look(TORN, 10_005), is: { state: 'passed' } },
    { when: 'an empty file has not aged', gate: look(EMPTY, 9_999, { claimedMs: 0 }), is: { state: 'closed' } },
    { when: 'an empty file has aged', gate: look(EMPTY, 10_005), is: { state: 'passed' } },
    { when: 'a missing file is new', gate: judgeGate(asked(), ...fresh(MISSING)), is: { state: 'closed' } },
    {
      when: 'nothing is open and a file is empty',
      gate: judgeGate(asked({ open: false }), ...fresh(EMPTY)),
      is: { state: 'passed' },
    },
    {
      when: 'nothing is open and a file was missing',
      gate: judgeGate(asked({ open: false }), ...fresh(MISSING)),
      is: { state: 'passed' },
    },
    {
      when: 'nothing is open and a file is torn',
      gate: judgeGate(asked({ open: false }), ...fresh(TORN)),
      is: { state: 'closed' },
    },
    {
      when: 'nothing is open and another says that it runs',
      gate: judgeGate(asked({ open: false }), ...fresh(says('b', record()))),
      is: { state: 'closed' },
    },
    {
      when: 'a file cannot be read, however long',
      gate: look(failed('b'), 99_000),
      is: { state: 'closed', untilMs: undefined },
    },
    {
      when: 'a file could be read before and cannot now',
      gate: judgeGate(
        asked(),
        seenIn(at(1_000, says('b', ended(6))), at(10_010, failed('b'))),
        at(10_010, failed('b')),
      ),
      is: { state: 'closed' },
    },
    {
      when: 'a node of the basis was not read',
      gate: look(says('b', ended(6)), 10_010, { others: ['b', 'c'] }),
      is: { state: 'closed' },
    },
    {
      when: 'the file of one that is no node of the group has not aged',
      gate: judgeGate(asked(), ...fresh(says('b', ended(6)), says('gone', record()))),
      is: { state: 'closed' },
    },
  ];
  function fresh(...reads: FileRead[]): [Sights, Round] {
    const round = at(10_010, ...reads);
    return [seenIn(round), round];
  }
  test.each(rows)('when $when: $is.state', ({ gate, is }) => {
    expect(gate).toMatchObject(is);
  });

  test('a beat that changes begins its age anew; looks that learn nothing do not', () => {
    const running = says('b', record());
    const sights = seenIn(at(1_000, running), at(2_000, failed('b')), at(3_000, running));
    expect(sights.get('b')?.firstSeenMs).toBe(1_000);
    const changed = seenIn(at(1_000, running), at(2_000, says('b', record())), at(3_000, running));
    expect(changed.get('b')?.firstSeenMs).toBe(3_000);
  });

  test('a file that has been made is the same as an empty one', () => {
    expect(seenIn(at(1_000, MISSING), at(2_000, EMPTY)).get('b')?.firstSeenMs).toBe(1_000);
  });
});

/**
 * The pair of moves: a holder writes its beat and then looks, a claimant writes its claim and then looks. In every order
 * of their steps: once the claimant is through, what was extended before has run out, and no tick of the holder extends
 * anything any more. (That a deadline once missed is final for its process is another belt; here it is not worn.)
 */
test('in every order of writes, looks and waits, never two at a time', () => {
  const FENCE_MS = 5_000;
  const KILL_MS = 1_000;
  const TAKEOVER_S = 7;
  let passes = 0;
  const steps = fc.array(
    fc.record({
      who: fc.constantFrom('holder' as const, 'claimant' as const),
      waitMs: fc.oneof(
        { weight: 3, arbitrary: fc.integer({ min: 1, max: 900 }) },
        fc.constantFrom(2_000, 3_500, 7_000),
      ),
      fails: fc.boolean(),
      claims: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (all) => {
      let now = 20_000;
      let beat = 0;
      let holderFile: FileRead = says('a', record({ beat: '0', takeoverAfterSeconds: TAKEOVER_S }));
      let claimantFile: FileRead = says('b', ended(5));
      let tick: number | undefined; // a beat is written, the look is to come
      let untilMs = now + FENCE_MS;
      let claimedMs: number | undefined;
      let sights: Sights = new Map();
      let through = false;
      for (const { who, waitMs, fails, claims } of all) {
        now += waitMs;
        if (who === 'holder') {
          if (tick === undefined) {
            beat += 1;
            holderFile = says('a', record({ beat: String(beat), takeoverAfterSeconds: TAKEOVER_S }));
            tick = now;
            continue;
          }
          const look = at(now, fails ? failed('b') : claimantFile);
          if (tickObstacle(look, ['b'], 6) === undefined) {
            untilMs = tick + FENCE_MS;
            expect(through && untilMs > now, 'an extension after the gate was passed').toBe(false);
          }
          tick = undefined;
          continue;
        }
        if (through) continue;
        const round: Round = { startedMs: now, answeredMs: now, reads: [fails ? failed('a') : holderFile] };
        sights = sightsAfter(sights, round);
        const own = { claim: claimedMs === undefined ? 5 : 7, epoch: 5, ended: 5 };
        const gate = judgeGate(
          { epoch: 7, others: ['a'], own, claimedMs, notBeforeMs: 0, open: true, fallbackMs: 8_000 },
          sights,
          round,
        );
        if (gate.state === 'unclaimed' && claims) {
          claimedMs = now + 1;
          claimantFile = says('b', record({ state: 'claiming', claim: 7, epoch: 5, ended: 5 }));
        }
        if (gate.state !== 'passed') continue;
        passes += 1;
        through = true;
        expect(untilMs + KILL_MS, 'the deadline of the holder').toBeLessThanOrEqual(now);
      }
    }),
    { numRuns: 20_000, seed: 20_261_128 },
  );
  expect(passes, 'the property must have had something to say').toBeGreaterThan(300);
});

describe('a neighbour', () => {
  const running = says('b', record());
  const rows = [
    { when: 'it was never read', sights: seenIn(), ms: 1_000, is: 'unknown' },
    { when: 'its file could never be read', sights: seenIn(at(1_000, failed('b'))), ms: 1_001, is: 'unknown' },
    { when: 'its file has not been read for fenceAfter', sights: seenIn(at(1_000, running)), ms: 6_001, is: 'unknown' },
    { when: 'it says running', sights: seenIn(at(1_000, running), at(5_000, running)), ms: 8_999, is: 'seen' },
    {
      when: 'its beat has not changed for long',
      sights: seenIn(at(1_000, running), at(5_000, running)),
      ms: 9_000,
      is: 'notSeen',
    },
    { when: 'it says idle', sights: seenIn(at(1_000, says('b', record({ state: 'idle' })))), ms: 1_001, is: 'notSeen' },
    { when: 'it has ended', sights: seenIn(at(1_000, says('b', ended(6)))), ms: 1_001, is: 'notSeen' },
    { when: 'it has never written', sights: seenIn(at(1_000, { node: 'b', kind: 'empty' })), ms: 1_001, is: 'notSeen' },
    {
      when: 'its file is torn',
      sights: seenIn(at(1_000, { node: 'b', kind: 'torn', content: '' })),
      ms: 1_001,
      is: 'notSeen',
    },
    {
      when: 'one look learned nothing',
      sights: seenIn(at(1_000, running), at(2_000, failed('b'))),
      ms: 2_001,
      is: 'seen',
    },
  ] as const;
  test.each(rows)('when $when: $is', ({ sights, ms, is }) => {
    expect(neighbourState(sights.get('b'), ms, 5_000)).toBe(is);
  });
});

test('the highest number is that of any claim or epoch, and names its node', () => {
  expect(
    highestIn(seenIn(at(1, says('b', record({ claim: 3, epoch: 2 })), says('c', record({ claim: 4, epoch: 9 }))))),
  ).toEqual({
    epoch: 9,
    node: 'c',
  });
  expect(highestIn(seenIn(at(1, { node: 'b', kind: 'empty' })))).toBeUndefined();
});

describe('the next look', () => {
  const running = says('b', record());
  const rows = [
    { when: 'nobody runs', sights: seenIn(at(1_000, says('b', ended(6)))), ms: 1_010, afterMs: 1_000 },
    { when: 'a beat has just come', sights: seenIn(at(1_000, running)), ms: 1_010, afterMs: 990 },
    { when: 'a beat is late', sights: seenIn(at(1_000, running)), ms: 2_050, afterMs: 125 },
    { when: 'a beat has not come for long', sights: seenIn(at(1_000, running)), ms: 4_100, afterMs: 1_000 },
  ];
  test.each(rows)('when $when: after $afterMs ms', ({ sights, ms, afterMs }) => {
    expect(lookAgainAfterMs(sights, ms, 1_000)).toBe(afterMs);
  });
});

describe('an assignment', () => {
  const nodes = (...names: string[]) =>
    names.map((name) => ({ name, instanceId: `i-${name}`, takeoverAfterSeconds: name === 'd' ? 30 : 8 }));
  const base = { mountPath: '/mnt/efs', diskId: 'disk-1', heartbeat: true };
  const assignment = (...earlier: Assignment['basis']['earlier']): Assignment => ({
    ...{ node: 'a', incarnation: 1, epoch: 7, state: 'Active' },
    basis: { ...base, nodes: nodes('a', 'b'), earlier },
  });
  const open = { ...base, epoch: 6, node: 'c', nodes: nodes('a', 'c', 'd') };

  test('asks for the files of its own nodes and of those of every open epoch, but never its own', () => {
    expect([...othersOf(assignment(open), 'a')].sort()).toEqual(['b', 'c', 'd']);
    expect(othersOf(assignment(), 'a')).toEqual(['b']);
    expect([...othersOf(assignment(), 'z')].sort()).toEqual(['a', 'b']);
  });
  test('is open by earlier epochs with a second channel alone', () => {
    expect(isOpen(assignment())).toBe(false);
    expect(isOpen(assignment({ ...open, heartbeat: false }))).toBe(false);
    expect(isOpen(assignment(open))).toBe(true);
  });
  test('lets a file without a number age by the greatest of all', () => {
    expect(fallbackAgeMs(assignment(open), 9_000)).toBe(30_000);
    expect(fallbackAgeMs(assignment(), 9_000)).toBe(9_000);
  });
});
