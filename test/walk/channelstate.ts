import type { ChannelRecord } from '../../src/decide/channel.ts';

/** All that a small world with a second channel is made of, as whole numbers. Durations are ticks from now. */
export interface ChannelWorld {
  /** The highest epoch that is assigned. Epoch 1 is the first node's, epoch 2 the second's, and so on. */
  assigned: number;
  /** The earlier epochs that the basis of each epoch lists as open, as bits. By epoch. */
  open: number[];
  nodes: ChannelNode[];
  /** What chance and people may still do. */
  left: ChannelBudget;
}

export interface ChannelBudget {
  /** A node loses the API server; it comes back to it. */
  cut: number;
  back: number;
  /** The process ends by itself. */
  exit: number;
  /** The holder is told to stop. */
  stop: number;
  /** A read of a file fails. */
  failedRead: number;
  /** The agent is killed and comes back at once. */
  restart: number;
  /** A write or a round takes longer than it may. */
  timeout: number;
}

export interface ChannelNode {
  /** The API server: 0 out of reach, 1 the Lease is renewed in every tick, 2 in reach, and the Lease is lost. */
  touch: number;
  /** Ticks since the last renewal, as the controller sees it. */
  leaseAge: number;
  /** The newest assignment it knows of, by epoch; 0: none. */
  view: number;
  /** Whether it was told to stop. */
  stopAsked: number;
  /** A GET since the last gap has shown this assignment. */
  confirmed: number;
  /** The group's deadline, by the later of the two channels; 0: it has passed. */
  deadline: number;
  /** 0 none, 1 ordered and not started yet, 2 alive, 3 stopping. */
  process: number;
  epoch: number;
  /** The shim's deadline; below 0: since it has passed. */
  shim: number;
  ended: number;
  spawned: number;
  /** What its file says, and what was asked of the disk last. */
  file: number;
  own: number;
  /** The claim that the disk is known to have. */
  claimed: number;
  /** The epoch whose gate it has passed since the last gap. */
  passed: number;
  write: Write;
  /** The epoch that is being ended. */
  ends: number;
  /** 0 nothing, 1 waits for its write, 2 reads for a tick, 3 only looks. */
  work: number;
  workAge: number;
  /** No beat before a round comes back. */
  hung: number;
  /** The round under way began after the claim was on the disk, and after the last gap in the deadline. */
  afterClaim: number;
  afterGap: number;
  reads: Read[];
  sights: SightOf[];
  /** The last round that came back; and ticks since then. */
  round: { has: number; afterClaim: number; afterGap: number; age: number };
}

/** 0 none; then what is on its way to the disk. */
export type Write = 0 | 1 | 2 | 3 | 4 | 5 | 6;
export const BEAT = 1;
export const CLAIM = 2;
export const END = 3;
export const IDLE = 4;
/** Nobody waits for it any more. The second: whoever finds it on the disk is another agent. */
export const LEFT = 5;
export const LEFT_BY_ANOTHER = 6;

export const WRITES = 1;
export const TICKS = 2;
export const LOOKS = 3;

/** How one file was read in the round under way. */
export interface Read {
  /** A record's number. */
  found: number;
  /** Whether the beat is that of the last sight; whether it is still the file's. */
  same: number;
  current: number;
}
export const UNREAD = -1;
export const FAILED = -2;

export interface SightOf {
  /** A record's number; UNREAD: never seen. */
  found: number;
  /** Whether the file has still this beat. */
  current: number;
  /** Ticks between the first sight of it and the last round. */
  stood: number;
  failed: number;
}

export type Content = Pick<ChannelRecord, 'state' | 'ended' | 'claim' | 'epoch'>;

/** The contents of files, by number; 0 is a file that its node has never written. */
const contents: Content[] = [{ state: 'idle', ended: 0, claim: 0, epoch: 0 }];
const numbers = new Map<string, number>();

export function contentNumber({ state, ended, claim, epoch }: Content): number {
  const key = `${state},${ended},${claim},${epoch}`;
  const known = numbers.get(key);
  if (known !== undefined) return known;
  contents.push({ state, ended, claim, epoch });
  numbers.set(key, contents.length - 1);
  return contents.length - 1;
}

export function contentAt(number: number): Content {
  const content = contents[number];
  if (content === undefined) throw new Error(`Cannot find content ${number}: there are ${contents.length}`);
  return content;
}

export function contentWords(content: number): string {
  const { state, ended, claim, epoch } = contentAt(content);
  if (state === 'claiming') return `claiming ${claim}`;
  return state === 'ended' ? `ended ${ended}` : `${state}, epoch ${epoch}`;
}

export function copyOf(world: ChannelWorld): ChannelWorld {
  return {
    ...world,
    open: [...world.open],
    nodes: world.nodes.map((node) => ({
      ...node,
      reads: node.reads.map((read) => ({ ...read })),
      sights: node.sights.map((sight) => ({ ...sight })),
      round: { ...node.round },
    })),
    left: { ...world.left },
  };
}

/** The node by its index: callers count along the same list. */
export function nodeAt(world: ChannelWorld, index: number): ChannelNode {
  const node = world.nodes[index];
  if (node === undefined) throw new Error(`Cannot find node ${index}: there are ${world.nodes.length}`);
  return node;
}

export function serverName(index: number): string {
  return `server${index + 1}`;
}
