import type { ChannelTicks } from './channeldecisions.ts';
import {
  BEAT,
  type ChannelBudget,
  type ChannelNode,
  type ChannelWorld,
  CLAIM,
  type Content,
  contentAt,
  contentNumber,
  LEFT,
  LEFT_BY_ANOTHER,
  UNREAD,
  WRITES,
} from './channelstate.ts';

/*
 * What changes on one node of a small world with a second channel: as src/agent/groupchannel.ts and src/agent/group.ts
 * do it around the decisions.
 */

const BLANK_READ = { found: UNREAD, same: 0, current: 0 };
const BLANK_SIGHT = { found: UNREAD, current: 0, stood: 0, failed: 0 };
const NO_ROUND = { has: 0, afterClaim: 0, afterGap: 0, age: 0 };

/** Epoch 1 runs on the first node, and nobody has looked at a file yet. */
export function channelBegins(ticks: readonly ChannelTicks[], budget: Partial<ChannelBudget>): ChannelWorld {
  const nodes = ticks.map(({ fence }, index): ChannelNode => {
    const holds = index === 0;
    const file = holds ? contentNumber({ state: 'running', ended: 0, claim: 1, epoch: 1 }) : 0;
    return {
      ...{ touch: 1, leaseAge: 0, view: 1, stopAsked: 0, confirmed: holds ? 1 : 0 },
      ...{ deadline: holds ? fence : 0, process: holds ? 2 : 0, epoch: holds ? 1 : 0, shim: holds ? fence : 0 },
      ...{ ended: 0, spawned: holds ? 1 : 0, file, own: file, claimed: holds ? 1 : 0, passed: holds ? 1 : 0 },
      ...{ write: 0, ends: 0, work: 0, workAge: 0, hung: 0, afterClaim: 0, afterGap: 0 },
      reads: ticks.map(() => ({ ...BLANK_READ })),
      sights: ticks.map(() => ({ ...BLANK_SIGHT })),
      round: { ...NO_ROUND },
    };
  });
  const none = { cut: 0, back: 0, exit: 0, stop: 0, failedRead: 0, restart: 0, timeout: 0 };
  return { assigned: 1, open: [0, 0, 0, 0, 0], nodes, left: { ...none, ...budget } };
}

/** Nothing can start here any more under what it was assigned. What it had on its way to the disk may still land. */
export function isOut({ touch, deadline, view }: ChannelNode, { assigned, left }: ChannelWorld): boolean {
  return touch === 0 && deadline === 0 && (left.back === 0 || view < assigned);
}

export function forgetAll(node: ChannelNode): void {
  if (node.work !== 0) endWork(node);
  if (node.write === BEAT || node.write === CLAIM || node.write === LEFT_BY_ANOTHER) node.write = LEFT;
  node.hung = 0;
  node.confirmed = 0;
  node.passed = node.view;
  for (const sight of node.sights) Object.assign(sight, BLANK_SIGHT);
  node.round = { ...NO_ROUND };
}

/** Who has passed its gate asks no file for its age; after a gap it has to begin again. */
export function forgetAges(node: ChannelNode): void {
  node.afterClaim = 0;
  node.afterGap = 0;
  node.round = { has: node.round.has, afterClaim: 0, afterGap: 0, age: 0 };
  for (const read of node.reads) {
    read.same = 0;
    read.current = 0;
  }
  for (const sight of node.sights) {
    sight.current = 0;
    sight.stood = 0;
  }
}

export function gone(node: ChannelNode): void {
  node.process = 0;
  node.epoch = 0;
  node.shim = 0;
}

/** By whichever channel; never earlier than it was. One once missed is final for the process. */
export function extend(node: ChannelNode, left: number): void {
  if (left <= node.deadline) return;
  if (node.deadline === 0) {
    node.confirmed = 0;
    node.passed = 0;
    node.afterGap = 0;
    node.round.afterGap = 0;
  }
  node.deadline = left;
  if (node.process !== 0 && node.shim > 0) node.shim = left;
}

export function writes(node: ChannelNode, what: ChannelNode['write'], content: Content): void {
  node.write = what;
  node.own = contentNumber(content);
}

/** The shim confirms a live process of the epoch that is assigned. */
export function lives({ process, epoch, view }: ChannelNode): boolean {
  return process === 2 && epoch === view;
}

export function writesBeat(node: ChannelNode, epoch: number): void {
  node.work = WRITES;
  writes(node, BEAT, { ...contentAt(node.own), state: 'running', epoch });
}

export function writesClaim(node: ChannelNode, epoch: number): void {
  const own = contentAt(node.own);
  node.work = WRITES;
  writes(node, CLAIM, { ...own, state: 'claiming', claim: Math.max(own.claim, epoch) });
}

export function endedContent(own: Content, epoch: number): Content {
  return { ...own, state: 'ended', ended: Math.max(own.ended, epoch), epoch: Math.max(own.epoch, epoch) };
}

export function beginRound(node: ChannelNode, work: number): void {
  node.work = work;
  node.afterClaim = node.view > 0 && node.claimed >= node.view ? 1 : 0;
  node.afterGap = 1;
  for (const read of node.reads) read.found = UNREAD;
}

export function endWork(node: ChannelNode): void {
  node.work = 0;
  node.workAge = 0;
  node.afterClaim = 0;
  node.afterGap = 0;
  for (const read of node.reads) Object.assign(read, BLANK_READ);
}

export function hasAll({ reads }: ChannelNode, index: number): boolean {
  return reads.every(({ found }, other) => other === index || found !== UNREAD);
}

/** Another agent knows nothing, finds the process by its shim, and its own file when nothing is on its way there. */
export function restart(node: ChannelNode): void {
  endWork(node);
  node.hung = 0;
  node.confirmed = 0;
  node.passed = 0;
  if (node.write !== 0) node.write = LEFT_BY_ANOTHER;
  node.claimed = node.write === 0 ? contentAt(node.file).claim : 0;
  node.ends = 0;
  for (const sight of node.sights) Object.assign(sight, BLANK_SIGHT);
  node.round = { ...NO_ROUND };
}
