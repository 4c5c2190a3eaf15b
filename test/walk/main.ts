import { explore } from './explore.ts';
import { LARGE_WALKS, MUTATIONS, WALKS } from './walks.ts';
import { worldModel } from './world.ts';

/*
 * `make walk`: every space, the large ones too, with how many states it has and how long it took; `--stories` tells what
 * goes wrong without each rule.
 */

let failed = false;
if (process.argv.includes('--stories')) {
  for (const { without, options } of MUTATIONS) {
    const { violation, states } = explore(worldModel({ ...options, without }), { checkService: false });
    console.log(
      `\nwithout "${without.join('", and "')}", after ${states} states: ${violation?.message ?? 'nothing found'}`,
    );
    for (const line of violation?.story ?? []) console.log(`  ${line}`);
    failed ||= violation === undefined;
  }
} else {
  for (const { name, options } of process.argv.includes('--small') ? WALKS : [...WALKS, ...LARGE_WALKS]) {
    const startedMs = performance.now();
    const { states, steps, depth, violation } = explore(worldModel(options));
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(
      `${name}: ${states} states, ${steps} steps, depth ${depth}, ${seconds} s: ${violation?.message ?? 'clean'}`,
    );
    for (const line of violation?.story ?? []) console.log(`  ${line}`);
    failed ||= violation !== undefined;
  }
}
process.exitCode = failed ? 1 : 0;
