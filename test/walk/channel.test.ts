import { describe, expect, test } from 'vitest';
import { CHANNEL_RULES, type ChannelRule } from './channelrules.ts';
import { CHANNEL_MUTATIONS, CHANNEL_WALKS } from './channelwalks.ts';
import { channelModel } from './channelworld.ts';
import { explore } from './explore.ts';

describe('the second channel, each write and each read of a file in every order', () => {
  test.each(CHANNEL_WALKS)(
    '$name: never two processes, and the service can always come back',
    ({ options }) => {
      const { violation, whole } = explore(channelModel(options));
      if (violation) expect.fail(`${violation.message}\n${violation.story.join('\n')}`);
      expect(whole).toBe(true);
    },
    300_000,
  );
});

describe('without a rule of the second channel the walk tells how it goes wrong', () => {
  /** What must happen for it, in this order. */
  const stories: Readonly<Record<ChannelRule, readonly RegExp[]>> = {
    'the gate': [/loses the API server/, /^server1 {2}has the answers of its tick/, /^server2 {2}orders its shim/],
    "the gate's round after the claim": [/^server2 {2}has the answers/, /its claim/, /^server2 {2}orders its shim/],
    'age at the gate': [/^server1 {2}has the answers of its tick/, /^server2 {2}reads/, /^server2 {2}orders its shim/],
    "the file's own number": [/its claim/, /^server2 {2}has the answers of its look/, /^server2 {2}orders its shim/],
    'a beat never there before': [/^server2 {2}reads/, /^server1 {2}begins a tick/, /its claim/, /^server2 {2}orders/],
    'no claim or epoch at or above': [/its claim/, /^server1 {2}reads the file/, /^server1 {2}has the answers/],
    'write, then read': [/^server1 {2}has the answers of its tick/, /its claim/, /^server2 {2}orders its shim/],
    'from the start of the tick': [/begins a tick/, /its claim/, /^server1 {2}has the answers of its tick/],
    '`ended` only at an end': [/exits by itself/, /: ended 1/, /^server1 {2}orders its shim/, /^server2 {2}orders/],
    '`idle` passes only by age': [/exits by itself/, /: idle/, /^server1 {2}orders its shim/, /^server2 {2}orders/],
    'every other node': [/^server2 {2}writes that epoch 2 has ended/, /^server3 {2}orders its shim/],
  };

  test.each(CHANNEL_MUTATIONS)(
    '$without',
    ({ options, without }) => {
      const { violation } = explore(channelModel({ ...options, without: [without] }), { checkService: false });
      expect(violation?.message).toMatch(/^two processes live: on server1 under epoch 1, /);
      let rest = violation?.story ?? [];
      for (const wanted of stories[without]) {
        const at = rest.findIndex((line) => wanted.test(line));
        expect(at, `${wanted} in\n${violation?.story.join('\n')}`).toBeGreaterThanOrEqual(0);
        rest = rest.slice(at + 1);
      }
    },
    300_000,
  );

  test('with the rule each of these walks is clean: it is among those above', () => {
    const clean = new Set(CHANNEL_WALKS.map(({ options }) => options));
    expect(CHANNEL_MUTATIONS.filter(({ options }) => !clean.has(options))).toEqual([]);
  });

  test('there is a walk for each rule', () => {
    expect(CHANNEL_MUTATIONS.map(({ without }) => without).toSorted()).toEqual(Object.keys(CHANNEL_RULES).toSorted());
  });
});
