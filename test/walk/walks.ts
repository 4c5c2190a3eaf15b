import type { Rule } from './rules.ts';
import type { WorldOptions } from './world.ts';

/** The spaces that are walked whole. Each gives time to one part of the world and lets the rest be prompt. */
export interface NamedWalk {
  readonly name: string;
  readonly options: WorldOptions;
}

const LOST = { begins: 'serving', epochs: 2, controllers: 1, steady: [1] } as const;

/** Small enough for every run of the tests. */
export const WALKS: readonly NamedWalk[] = [
  { name: 'a first start', options: { ...LOST, begins: 'new', slow: [], steady: [], budget: {} } },
  { name: 'a planned move', options: { ...LOST, slow: [], budget: { move: 1, lateMessage: 1 } } },
  { name: 'a lost node, whose messages take any time', options: { ...LOST, slow: [0], budget: {} } },
  { name: 'a lost node, and a controller that is behind', options: { ...LOST, slow: ['controllers'], budget: {} } },
  {
    name: 'two controllers that both believe to lead',
    options: { ...LOST, controllers: 2, slow: [], budget: { move: 1, controllerRestart: 1 } },
  },
  { name: 'a node that comes back without its memory', options: { ...LOST, slow: [], budget: { runLost: 1 } } },
  {
    name: 'a node that comes back from a reboot',
    options: { ...LOST, slow: [], budget: { reboot: 1, agentCrash: 1 } },
  },
  {
    name: 'a disk that does not take the end',
    options: { ...LOST, slow: [], budget: { diskRefuses: 1, move: 1 } },
  },
  {
    name: 'a group that is stopped and started again',
    options: { ...LOST, slow: [], budget: { stop: 1, start: 1, reboot: 1 } },
  },
  { name: 'a group that is deleted', options: { ...LOST, slow: [], budget: { remove: 1, reboot: 1 } } },
  {
    name: 'an agent that is started again in the middle of a start',
    options: { ...LOST, begins: 'new', slow: [], steady: [0, 1], budget: { agentCrash: 2, processExit: 1 } },
  },
];

/** Minutes, and gigabytes: `make walk`. */
export const LARGE_WALKS: readonly NamedWalk[] = [
  {
    name: 'a node that comes back and gets the group again',
    options: { ...LOST, slow: [], epochs: 3, budget: { agentCrash: 1, runLost: 1, reboot: 1 } },
  },
  {
    name: 'a first start, both nodes slow to renew',
    options: { ...LOST, begins: 'new', slow: [0], steady: [], budget: {} },
  },
  {
    name: 'a lost node, and another that may be lost as well',
    options: { ...LOST, slow: [0], steady: [], budget: {} },
  },
  { name: 'a lost node whose agent is killed', options: { ...LOST, slow: [0], budget: { agentCrash: 1 } } },
  { name: 'a lost node, a message that lands late', options: { ...LOST, slow: [0], budget: { lateMessage: 1 } } },
  {
    name: 'a planned move, a list from a cache that is behind',
    options: { ...LOST, slow: ['cache'], budget: { agentCrash: 1, move: 1 } },
  },
  {
    name: 'a planned move, a controller that is behind',
    options: { ...LOST, slow: ['controllers'], budget: { move: 1 } },
  },
];

/** Without these rules a violation is found, in the walk that gives time to what they are for. */
export const MUTATIONS: readonly { readonly without: readonly Rule[]; readonly options: WorldOptions }[] = [
  { without: ['the sum'], options: { ...LOST, slow: [], budget: {} } },
  { without: ['age'], options: { ...LOST, slow: [], budget: {} } },
  { without: ['the kill'], options: { ...LOST, slow: [], budget: {} } },
  { without: ['send time'], options: { ...LOST, slow: [0], budget: {} } },
  { without: ['look before exec'], options: { ...LOST, slow: [0], budget: {} } },
  { without: ['incarnation in condition 1'], options: { ...LOST, slow: [0], budget: {} } },
  { without: ['a read never extends'], options: { ...LOST, slow: [0], budget: { lateMessage: 1 } } },
  { without: ['fence'], options: { ...LOST, slow: ['controllers'], budget: {} } },
  { without: ['fence conditional'], options: { ...LOST, slow: ['controllers'], budget: {} } },
  { without: ['renewal conditional'], options: { ...LOST, slow: ['controllers'], budget: {} } },
  {
    without: ['assignment by resourceVersion'],
    options: { ...LOST, controllers: 2, slow: ['controllers'], budget: {} },
  },
  { without: ['end everything'], options: { ...LOST, slow: [], budget: { runLost: 1 } } },
  // Each the other's belt.
  {
    without: ['above the highest ended', 'GET for each epoch'],
    options: { ...LOST, slow: ['cache'], budget: { agentCrash: 1, move: 1 } },
  },
  {
    without: ['/run before the report', 'GET for each epoch'],
    options: { ...LOST, slow: ['cache'], budget: { agentCrash: 1, move: 1 } },
  },
];
