import { CALM, type FaultName, type Profile, QUICK, SHORTEST } from './faults.ts';
import type { Rule } from './rules.ts';
import { ONE_GROUP } from './shape.ts';

const BEATING = { shape: { nodes: 2, groups: [{ name: 'group', heartbeat: true }] } };
const BY_INSTANCE = { shape: { nodes: 2, groups: [{ name: 'group', heartbeat: false, policy: 'Instance' as const }] } };
const BEATING_THREE = { shape: { nodes: 3, groups: [{ name: 'group', heartbeat: true }] } };

const HOLDER_CUT_OFF: Profile = {
  ...among(['the holder is cut off'], 6_000),
  ...{ shape: ONE_GROUP, locks: false, spellMs: [8_000, 15_000] },
};

const RESTART_BEHIND: Profile = {
  ...among(['a restart behind the news'], 8_000),
  ...{ shape: ONE_GROUP, timing: QUICK, locks: false, spellMs: [5_000, 10_000] },
};

/** For each rule the faults among which its absence shows soonest. One without an entry is hunted by all faults. */
export const HUNTS: Readonly<Partial<Record<Rule, Profile>>> = {
  'assignment by resourceVersion': {
    ...among(['controller is killed', 'a move is asked for', 'process ends', 'a way is cut'], 600),
    controllerRequests: { ...CALM.requests, late: 0.5 },
    spellMs: [500, 9_000],
  },
  'incarnation in condition 1': {
    ...among(['/run is lost', 'machine reboots', 'agent is killed', 'a way is cut'], 1_500),
    controllerRequests: { ...CALM.requests, slowestMs: 3_000 },
    spellMs: [4_000, 12_000],
  },
  'renewal conditional': {
    ...among(['a way is cut', 'a watch is stuck'], 3_000),
    requests: { ...CALM.requests, late: 0.1 },
    controllerRequests: { ...CALM.requests, slowestMs: 3_000 },
    spellMs: [3_000, 14_000],
  },
  'send time': {
    ...among(['a way is cut'], 3_000),
    requests: { ...CALM.requests, slowestMs: 2_000 },
    controllerRequests: CALM.requests,
    timing: SHORTEST,
    spellMs: [7_000, 12_000],
  },
  'a read never extends': {
    ...among(['a way is cut', 'agent is killed'], 2_500),
    requests: { ...CALM.requests, lost: 0.2, unheard: 0.3 },
    controllerRequests: CALM.requests,
    timing: SHORTEST,
    spellMs: [6_000, 12_000],
  },
  'look before exec': { ...among(['a standstill in a start'], 3_000), spellMs: [8_000, 15_000] },
  'the kill': { ...among(['agent is killed'], 4_000), spellMs: [9_000, 15_000] },
  PDEATHSIG: { ...among(['agent is killed', 'shim is killed'], 1_500), spellMs: [9_000, 15_000] },
  'the agent kills too': { ...among(['shim is stopped', 'a way is cut'], 2_000), spellMs: [8_000, 15_000] },
  'a silent shim is killed': {
    ...among(['shim is stopped', 'agent is killed'], 1_000),
    spellMs: [2_000, 6_000],
  },
  'end everything': { ...among(['/run is lost', 'Lease is deleted', 'a way is cut'], 2_500), spellMs: [3_000, 9_000] },
  fence: { ...among(['a watch is stuck', 'a way is cut'], 3_000), spellMs: [6_000, 15_000] },
  'fence conditional': { ...among(['a watch is stuck'], 3_000), spellMs: [6_000, 15_000] },
  age: { ...among(['a way is cut'], 4_000), spellMs: [5_000, 12_000] },
  'Rejoined needs a holder': { ...among(['the holder stands still'], 12_000), locks: false, spellMs: [8_000, 15_000] },
  'timing cut': {
    ...among(['a cut with new timing'], 4_000),
    requests: { ...CALM.requests, unheard: 0.3 },
    controllerRequests: CALM.requests,
    spellMs: [6_000, 12_000],
  },
  // Only with one another, and 'look before exec': each keeps from starting what the others would start.
  'the gap': HOLDER_CUT_OFF,
  'the deadline test': HOLDER_CUT_OFF,
  'a missing Lease is no proof': among(['Lease is deleted'], 3_000),
  'EC2 read before the proof': {
    ...among(['an instance is stopped by hand', 'a move is asked for', 'machine stands still'], 3_000),
    ...BY_INSTANCE,
    troubles: [{ kind: 'slow', chance: 0.7 }],
    spellMs: [4_000, 12_000],
  },
  'EC2 asked to stop it': {
    ...among(['an instance is stopped by hand', 'machine stands still'], 4_000),
    ...BY_INSTANCE,
    troubles: [{ kind: 'stale', chance: 0.7 }],
    spellMs: [4_000, 12_000],
  },
  'the gate': { ...among(['a way is cut', 'files are unreadable'], 3_000), ...BEATING, spellMs: [8_000, 20_000] },
  'every other node': {
    ...among(['a move from a node that is cut off', 'a move is asked for'], 9_000),
    ...BEATING_THREE,
    locks: false,
    spellMs: [12_000, 20_000],
  },
  "the file's own number": {
    ...among(['a node with longer numbers is cut off'], 25_000),
    ...BEATING,
    timing: QUICK,
    locks: false,
    spellMs: [15_000, 25_000],
  },
  'age at the gate': {
    ...among(['a way is cut', 'files are unreadable'], 3_000),
    ...BEATING,
    spellMs: [8_000, 20_000],
  },
  'ended only at an end': {
    ...among(['a way is cut', 'process ends', 'files are unreadable', 'disk is slow'], 1_500),
    ...BEATING,
    spellMs: [4_000, 15_000],
  },
  // With 'the GET', which would show that the group is another's.
  'ended kept': RESTART_BEHIND,
  'ended before the report': RESTART_BEHIND,
  // With 'the GET': whoever ends an epoch believes nothing that it was told before.
  'n above the highest ended': {
    ...among(['a move from a node that is cut off'], 14_000),
    ...BEATING,
    locks: false,
    spellMs: [12_000, 20_000],
  },
  'a beat never there before': {
    ...among(['a way is cut', 'disk is slow', 'files are unreadable'], 2_000),
    ...BEATING,
    spellMs: [6_000, 15_000],
  },
  'no claim or epoch at or above': {
    ...among(['a late tick of a node that is cut off'], 8_000),
    ...BEATING,
    timing: SHORTEST,
    locks: false,
    spellMs: [14_000, 20_000],
  },
  'deadline from the start of the tick': {
    ...among(['slow ticks of a node that is cut off'], 8_000),
    ...BEATING,
    timing: SHORTEST,
    locks: false,
    spellMs: [14_000, 25_000],
  },
  "the gate's round after the claim": {
    ...among(['a late tick of a node that is cut off'], 8_000),
    ...BEATING,
    timing: SHORTEST,
    locks: false,
    spellMs: [14_000, 20_000],
  },
};

function among(names: readonly FaultName[], everyMs: number): Profile {
  const { keeps: _, ...calm } = CALM;
  return { ...calm, everyMs, weights: Object.fromEntries(names.map((name) => [name, 1])) };
}
