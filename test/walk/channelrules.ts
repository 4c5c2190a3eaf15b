/**
 * The rules of the second channel that a walk can be made without, each with what then happens instead. Nothing in src
 * knows of it: what the decisions are shown, or what is made of their answer, is another thing.
 */
export const CHANNEL_RULES = {
  'the gate': 'a new holder starts without a look at the disk',
  "the gate's round after the claim": 'a round that began before the claim counts for the gate',
  'age at the gate': 'the file of a node that has not ended passes at first sight',
  "the file's own number": 'a reader lets a file age by its own number',
  'a beat never there before': 'a write that changes nothing else leaves the same bytes',
  'no claim or epoch at or above': 'nobody looks at the numbers in the files of others',
  'from the start of the tick': 'the deadline counts from the end of a tick',
  '`ended` only at an end': 'a node whose process has died writes `ended`, and may start it again',
  '`idle` passes only by age': 'a file that says `idle` passes like one that says `ended`',
  'write, then read': 'a tick reads the files of the others before it writes its own',
  'every other node': 'the gate asks for the file of the last holder alone',
} as const;
export type ChannelRule = keyof typeof CHANNEL_RULES;
