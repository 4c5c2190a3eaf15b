import 'zod/compile'; // before any schema is made: each is compiled at its first use
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { editSource } from './edits.ts';
import type { Rule } from './rules.ts';
import type { Run } from './world.ts';

/*
 * Runs seeds, one after another, and tells how it went:
 *
 *   main.ts --seeds 1000 [--from 1] [--jobs 2] many seeds, on so many cores; each that fails is named
 *   main.ts --seed 17                          one seed, told
 *   main.ts --without RULE [--seeds 20000]     how many seeds it takes to find that the rule is off
 *   main.ts --without RULE --without RULE2     the same where each keeps what the other keeps; the hunt is the first's
 *   main.ts --hunt RULE                        the faults of that hunt, with the rule on
 *   main.ts --api [--seeds 1000]               the API server away, which nobody may notice
 *   main.ts --rules                            the names of the rules
 */

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    without: { type: 'string', multiple: true, default: [] },
    hunt: { type: 'string' },
    api: { type: 'boolean', default: false },
    rules: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
  },
});

const broken = new Set(values.without as Rule[]); // checked below
editSource(broken);
const { HUNTS } = await import('./hunts.ts');
const { RULES } = await import('./rules.ts');
const { API_AWAY } = await import('./faults.ts');
const { allBeat, shapeFrom } = await import('./shape.ts');
const { run } = await import('./world.ts');
for (const name of values.without) toRule(name);
const [rule = values.hunt === undefined ? undefined : toRule(values.hunt)] = broken;
const profile = rule && HUNTS[rule];
const options = (seed: number) => ({
  ...{ seed, broken, ...(profile ? { profile } : {}) },
  ...(values.api ? { profile: API_AWAY, shape: allBeat(shapeFrom(seed)), faultyMs: 120_000 } : {}),
});
if (values.rules) for (const [name, instead] of Object.entries(RULES)) console.log(`${name.padEnd(32)} ${instead}`);
else if (values.seed !== undefined) await one(Number(values.seed));
else if (Number(values.jobs) > 1) await parallel(Number(values.from), Number(values.seeds), Number(values.jobs));
else await many(Number(values.from), Number(values.seeds));

/** A process for each job, each with its share of the seeds; what they say is passed on. */
async function parallel(from: number, count: number, jobs: number): Promise<void> {
  const share = Math.ceil(count / jobs);
  const rest = values.without.flatMap((name) => ['--without', name]);
  if (values.hunt !== undefined) rest.push('--hunt', values.hunt);
  if (values.api) rest.push('--api');
  const children = [...Array(jobs).keys()].map((job) => {
    const first = from + job * share;
    const size = Math.min(share, from + count - first);
    const range = ['--from', String(first), '--seeds', String(Math.max(0, size))];
    return spawn(process.execPath, [import.meta.filename, ...range, ...rest], { stdio: 'inherit' });
  });
  const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]));
  process.exitCode = codes.some((code) => code !== 0) ? 1 : 0;
}

async function one(seed: number): Promise<void> {
  const result = await run({ ...options(seed), told: true });
  console.log(result.story.join('\n'));
  console.log(summary(result));
  process.exitCode = result.violation ? 1 : 0;
}

async function many(from: number, count: number): Promise<void> {
  const beganMs = performance.now();
  const before = process.cpuUsage();
  const failed: Run[] = [];
  let [events, simulatedMs, epochs, seeds] = [0, 0, 0, 0];
  for (let seed = from; seed < from + count; seed += 1) {
    const result = await run(options(seed));
    seeds += 1;
    events += result.events;
    simulatedMs += result.simulatedMs;
    epochs += result.epochs;
    // A rule is hunted for what it keeps safe.
    if (!result.violation || (broken.size > 0 && result.violation.invariant === 'not served')) continue;
    failed.push(result);
    console.log(summary(result));
    if (broken.size > 0 && !values.all) break;
  }
  const heapMb = Math.round(process.memoryUsage().heapUsed / 1e6);
  const seconds = (performance.now() - beganMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  const cpuMs = Math.round((user + system) / 1000 / Math.max(1, seeds));
  const hours = simulatedMs / 3_600_000;
  console.log(
    `${seeds} seeds, ${failed.length} failed; ${events} events, ${epochs} epochs, ${hours.toFixed(1)} hours of simulated time in ${seconds.toFixed(1)} s, ${cpuMs} ms of processor a seed; ${heapMb} MB`,
  );
  process.exitCode = failed.length > 0 ? 1 : 0;
}

function summary({ seed, violation, events, simulatedMs, epochs }: Run): string {
  const what = violation ? `${violation.invariant}: ${violation.message}` : 'clean';
  return `seed ${seed}: ${what} (${events} events, ${epochs} epochs, ${Math.round(simulatedMs / 1000)} s)`;
}

function toRule(name: string): Rule {
  if (name in RULES) return name as Rule; // checked
  throw new Error(`Cannot switch off "${name}": there is no such rule; --rules lists them`);
}
