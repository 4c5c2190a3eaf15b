import { describe, expect, it } from 'vitest';
import { type Attempt, judge, outagesOf } from '../../sandbox/chaos/judge.ts';

/** One history of a key, a word for each attempt: `put1` was acknowledged, `put1?` unknown, `put1-` never sent. */
function history(text: string, key = 'k'): Attempt[] {
  return text.split(' ').map((word, i) => {
    const [, operation, what = '', end] = /^(put|get)(\w+)([?-]?)$/.exec(word) ?? [];
    const outcome = end === '?' ? 'unknown' : end === '-' ? 'notSent' : 'done';
    const times = { startMs: i * 10, endMs: i * 10 + 5 };
    if (operation === 'put') return { key, operation, version: Number(what), outcome, ...times };
    const found = what === 'None' ? 'missing' : what === 'Torn' ? 'torn' : Number(what);
    return { key, operation: 'get', version: 0, outcome, found, ...times };
  });
}

const GOOD: Readonly<Record<string, string>> = {
  'the last acknowledged write': 'put1 put2 get2',
  'nothing before the first write': 'getNone put1 get1',
  'an unknown write that took effect': 'put1 put2? get2',
  'an unknown write that did not': 'put1 put2? get1',
  'an unknown write that took effect between two reads': 'put1 put2? get1 get2',
  'an unknown first write that did not': 'put1? getNone',
  'an unknown write that took effect after a later one was acknowledged': 'put1 put2? put3 get2',
  'an unknown write that was overwritten': 'put1 put2? put3 get3',
  'a write that was never sent': 'put1 put2- get1',
  'a read that was not answered': 'put1 get0? get1',
};

const BAD: Readonly<Record<string, readonly [history: string, kind: string]>> = {
  'an acknowledged object is gone': ['put1 getNone', 'lost'],
  'an acknowledged object is gone after it was seen': ['put1 get1 getNone', 'lost'],
  'an acknowledged overwrite is undone': ['put1 put2 get1', 'older'],
  'an older one comes back after the newer was read': ['put1 put2? get2 get1', 'older'],
  'an unknown write takes effect twice': ['put1 put2? get2 put3 get2', 'older'],
  'bytes of two versions': ['put1 put2 getTorn', 'torn'],
  'torn under an unknown write': ['put1 put2? getTorn', 'torn'],
  'a version nobody wrote': ['put1 get7', 'neverWritten'],
  'a write that was never sent takes effect': ['put1 put2- get2', 'neverWritten'],
  'nobody looked at the end': ['put1 get1 put2', 'notRead'],
  'nobody got an answer at the end': ['put1 get0?', 'notRead'],
};

describe('the judge', () => {
  it.each(Object.entries(GOOD))('finds nothing wrong with %s', (_, text) => {
    expect(judge(history(text)).wrong).toEqual([]);
  });

  it.each(Object.entries(BAD))('sees when %s', (_, [text, kind]) => {
    expect(judge(history(text)).wrong.map((wrong) => wrong.kind)).toEqual([kind]);
  });

  it('judges each key by its own history, and names the one', () => {
    const verdict = judge([...history('put1 get1', 'a'), ...history('put1 put2 get1', 'b')]);
    expect(verdict).toMatchObject({ acknowledged: 3, unknown: 0, keys: 2 });
    expect(verdict.wrong.map(({ key, kind }) => `${key} ${kind}`)).toEqual(['b older']);
  });

  it('refuses a log in which two attempts on one key overlap, of which it could not say what is right', () => {
    const [one, two] = history('put1 put2');
    expect(() => judge([one!, { ...two!, startMs: 3 }])).toThrow(/one by one/); // a history of two
  });
});

describe('an outage', () => {
  const at = (startMs: number, endMs: number, outcome: Attempt['outcome'], operation: Attempt['operation'] = 'put') =>
    ({ key: `k${startMs}`, operation, version: 1, startMs, endMs, outcome }) satisfies Attempt;

  it('lasts from the last acknowledged write before to the first one after', () => {
    expect(
      outagesOf([at(0, 10, 'done'), at(20, 520, 'unknown'), at(530, 540, 'notSent'), at(900, 910, 'done')]),
    ).toEqual([{ fromMs: 10, toMs: 910, ms: 900, failed: 2 }]);
  });

  it('is none where nothing failed, however far apart the writes', () => {
    expect(outagesOf([at(0, 10, 'done'), at(5_000, 5_010, 'done')])).toEqual([]);
  });

  it('is none where another write succeeded all the while', () => {
    expect(outagesOf([at(0, 10, 'done'), at(5, 2_000, 'unknown'), at(20, 30, 'done'), at(40, 50, 'done')])).toEqual([]);
  });

  it('is that of writes: reads may be answered from what a server remembers', () => {
    expect(outagesOf([at(0, 10, 'done'), at(20, 30, 'unknown', 'get'), at(40, 50, 'done')])).toEqual([]);
  });
});
