import type { ChannelTicks } from './channeldecisions.ts';
import type { ChannelRule } from './channelrules.ts';
import type { ChannelOptions } from './channelworld.ts';

/*
 * The smallest durations that keep the sum: (2 + 1) x 1.002 + 0.5 is below 4, and so on. The deadline must outlast a tick
 * that takes its time. With three the time that a round may take is longer than what a file must age beyond the deadline,
 * as it is with the defaults (5, 1 and 8 seconds).
 */
const TWO: ChannelTicks = { fence: 2, takeover: 4 };
const THREE: ChannelTicks = { fence: 3, takeover: 5 };
const ONE: ChannelTicks = { fence: 1, takeover: 3 };

const PAIR: ChannelOptions = { ticks: [TWO, TWO], budget: { cut: 1 } };
const LONG: ChannelOptions = { ...PAIR, ticks: [THREE, THREE] };
const WATCHED: ChannelOptions = { ...PAIR, watchful: [1] };
const LONG_AND_SHORT: ChannelOptions = { ...PAIR, ticks: [THREE, ONE] };
const EXITS: ChannelOptions = { ...PAIR, budget: { cut: 1, exit: 1 } };
const TRIO: ChannelOptions = { ticks: [TWO, TWO, TWO], budget: { cut: 2 } };
const TOLD_TO_STOP: ChannelOptions = { ...TRIO, budget: { cut: 2, stop: 1 }, prompt: [0, 1, 2] };

export interface ChannelWalk {
  readonly name: string;
  readonly options: ChannelOptions;
}

/** Small enough for every run of the tests. */
export const CHANNEL_WALKS: readonly ChannelWalk[] = [
  { name: 'a holder cut from the API server, and its successor', options: PAIR },
  { name: 'the same, with long deadlines', options: LONG },
  { name: 'a successor that has looked for long', options: WATCHED },
  { name: 'a holder with longer durations than its successor', options: LONG_AND_SHORT },
  { name: 'a holder with shorter durations than its successor', options: { ...PAIR, ticks: [ONE, THREE] } },
  { name: 'a holder whose process exits', options: EXITS },
  {
    name: 'a holder that comes back to the API server',
    options: { ...PAIR, budget: { cut: 1, back: 1 }, prompt: [1] },
  },
  {
    name: 'an agent that is started again, and a read that fails, the holder slow',
    options: { ...PAIR, budget: { cut: 1, restart: 1, failedRead: 1 }, prompt: [1] },
  },
  {
    name: 'an agent that is started again, the successor slow',
    options: { ...PAIR, budget: { cut: 1, restart: 1 }, prompt: [0] },
  },
  { name: 'two holders cut one after the other, the first slow', options: { ...TRIO, prompt: [1, 2] } },
  { name: 'a holder that is cut, and one that is told to stop', options: TOLD_TO_STOP },
];

/** More of the same: `make walk`. */
export const LARGE_CHANNEL_WALKS: readonly ChannelWalk[] = [
  { name: 'a read that fails, both slow', options: { ...PAIR, budget: { cut: 1, failedRead: 1 } } },
  { name: 'a process that exits, a holder told to stop', options: { ...PAIR, budget: { cut: 1, exit: 1, stop: 1 } } },
  { name: 'a holder that comes back, both slow', options: { ...PAIR, budget: { cut: 1, back: 1 } } },
  {
    name: 'an agent that is started again, both slow',
    options: { ...PAIR, budget: { cut: 1, restart: 1 } },
  },
  { name: 'two holders cut one after the other, the last slow', options: { ...TRIO, prompt: [0, 1] } },
  {
    name: 'two holders cut or told to stop, the last slow',
    options: { ...TRIO, budget: { cut: 2, stop: 1 }, prompt: [0, 1] },
  },
];

/** Without one of these rules two processes live, in the walk above that shows it soonest. */
export const CHANNEL_MUTATIONS: readonly { readonly without: ChannelRule; readonly options: ChannelOptions }[] = [
  { without: 'the gate', options: PAIR },
  { without: "the gate's round after the claim", options: WATCHED },
  { without: 'age at the gate', options: PAIR },
  { without: "the file's own number", options: LONG_AND_SHORT },
  { without: 'a beat never there before', options: PAIR },
  { without: 'no claim or epoch at or above', options: LONG },
  { without: 'write, then read', options: LONG },
  { without: 'from the start of the tick', options: PAIR },
  { without: '`ended` only at an end', options: EXITS },
  { without: '`idle` passes only by age', options: EXITS },
  { without: 'every other node', options: TOLD_TO_STOP },
];
