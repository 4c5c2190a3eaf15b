/**
 * The rules of docs/protocol.md that a walk can be made without, each with what then happens instead. Nothing in src
 * knows of it: the world around the decisions, or what they are shown, is another one.
 */
export const RULES = {
  'the sum': 'a Lease asks to be left to age for no longer than the process may live',
  'assignment by resourceVersion': 'the server takes an assignment on whatever version there is',
  'renewal conditional': 'the server takes a renewal on whatever version there is',
  'fence conditional': 'the server takes a fence on whatever version there is',
  age: 'a Lease counts as aged at first sight',
  fence: 'an aged Lease is taken for a fenced one',
  'send time': 'a deadline counts from the answer to a renewal',
  'a read never extends': 'a read of the Lease extends the deadline as a renewal does',
  'the kill': 'nobody kills at the deadline',
  'look before exec': 'the shim starts without a look at deadline and incarnation',
  'end everything': 'a new incarnation is taken without ending what ran before',
  'incarnation in condition 1': 'an agent takes every assignment for one to its own incarnation',
  'GET for each epoch': 'what the watch shows is as good as the answer to a GET',
  'above the highest ended': 'an epoch that has ended here may start again',
  '/run before the report': 'the end of an epoch is reported and not kept',
} as const;
export type Rule = keyof typeof RULES;
