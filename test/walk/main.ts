import { CHANNEL_MUTATIONS, CHANNEL_WALKS, LARGE_CHANNEL_WALKS } from './channelwalks.ts';
import { channelModel } from './channelworld.ts';
import { explore, type Walk } from './explore.ts';
import { LARGE_WALKS, MUTATIONS, WALKS } from './walks.ts';
import { worldModel } from './world.ts';

/*
 * `make walk`: every space, the large ones too, with how many states it has and how long it took; `--stories` tells what
 * goes wrong without each rule; `--only=WORDS` takes those whose name has them.
 */

interface Asked {
  readonly name: string;
  readonly walk: () => Walk;
}

const small = process.argv.includes('--small');
const walks: readonly Asked[] = [
  ...[...WALKS, ...(small ? [] : LARGE_WALKS)].map(({ name, options }): Asked => {
    return { name, walk: () => explore(worldModel(options)) };
  }),
  ...[...CHANNEL_WALKS, ...(small ? [] : LARGE_CHANNEL_WALKS)].map(({ name, options }): Asked => {
    return { name: `second channel: ${name}`, walk: () => explore(channelModel(options)) };
  }),
];
const stories: readonly Asked[] = [
  ...MUTATIONS.map(({ without, options }): Asked => {
    const model = () => worldModel({ ...options, without });
    return { name: without.join('", and "'), walk: () => explore(model(), { checkService: false }) };
  }),
  ...CHANNEL_MUTATIONS.map(({ without, options }): Asked => {
    const model = () => channelModel({ ...options, without: [without] });
    return { name: without, walk: () => explore(model(), { checkService: false }) };
  }),
];

let failed = false;
const tell = ({ violation }: Walk) => {
  for (const line of violation?.story ?? []) console.log(`  ${line}`);
};
const only = process.argv.find((argument) => argument.startsWith('--only='))?.slice('--only='.length) ?? '';
if (process.argv.includes('--stories')) {
  for (const { name, walk } of stories.filter((one) => one.name.includes(only))) {
    const done = walk();
    console.log(`\nwithout "${name}", after ${done.states} states: ${done.violation?.message ?? 'nothing found'}`);
    tell(done);
    failed ||= done.violation === undefined;
  }
} else {
  for (const { name, walk } of walks.filter((one) => one.name.includes(only))) {
    const startedMs = performance.now();
    const done = walk();
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const { states, steps, depth, violation } = done;
    console.log(
      `${name}: ${states} states, ${steps} steps, depth ${depth}, ${seconds} s: ${violation?.message ?? 'clean'}`,
    );
    tell(done);
    failed ||= violation !== undefined;
  }
}
process.exitCode = failed ? 1 : 0;
