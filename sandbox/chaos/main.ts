import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../src/base/errors.ts';
import { monotonicMs } from '../prober.ts';
import { SERVERS } from '../topology.ts';
import type { Fault, Mend } from './fault.ts';
import { ALL_FAULTS } from './faults.ts';
import { judge } from './judge.ts';
import { type Spell as Met, settle, WELL_LIMIT_MS } from './meet.ts';
import { type Spell, schedule } from './schedule.ts';
import { startWorld } from './world.ts';

/**
 * `make chaos MINUTES=30 SEED=1 [POLICY=Instance] [HEARTBEAT=false]`: random schedules on the sandbox, then a verdict.
 * Ends with 1 when an acknowledged write is lost, older or torn, when two processes ran at once outside what the policy
 * does not cover, or when the service did not come back.
 */
const env = process.env;
const minutes = Number(env['MINUTES'] || 30);
const seed = Number(env['SEED'] || 1);
const policy = env['POLICY'] === 'Instance' ? 'Instance' : 'Lease';
const only = env['ONLY'];
const faults = ALL_FAULTS.filter(({ name }) => only === undefined || new RegExp(only).test(name));
if (!(minutes > 0) || !Number.isInteger(seed) || faults.length === 0) {
  process.stderr.write('Cannot run: MINUTES must be above 0, SEED a whole number, ONLY fit the name of a fault\n');
  process.exit(2);
}

const say = (text: string) => process.stdout.write(`${text}\n`);
const startedMs = monotonicMs();
const world = await startWorld({ policy, heartbeat: env['HEARTBEAT'] !== 'false' });
process.once('SIGINT', () => void world.close().then(() => process.exit(130)));
const met: Met[] = [];
const problems: string[] = [];
say(`seed ${seed}, ${minutes} min, policy ${policy}, heartbeat ${world.options.heartbeat}, ${faults.length} faults`);

try {
  for (const spell of schedule(seed, faults.length)) {
    if (monotonicMs() - startedMs > minutes * 60_000) break;
    await play(spell);
    if (problems.length > 0) break;
  }
  await world.client.readBack('ever', 120_000);
  problems.push(...judge(world.client.attempts()).wrong.map(({ key, message }) => `${key}: ${message}`));
} catch (error) {
  problems.push(describeError(error));
  const { controller, server } = world.cluster.sandbox;
  say(`--- controller\n${controller.log(40)}`);
  for (const name of SERVERS) say(`--- ${name}\n${server(name).log(30)}`);
} finally {
  await world.close();
}
say(verdict());
process.exit(problems.length > 0 ? 1 : 0);

async function play(spell: Spell): Promise<void> {
  const before = await world.well(WELL_LIMIT_MS);
  const chosen = spell.faults.map((one) => ({ ...one, fault: faults[one.index]! })); // schedule() was given their count
  say(
    `${clock()} ${chosen.map(({ fault, beginAfterMs, mendAfterMs }) => `${fault.name} (${beginAfterMs}+${mendAfterMs} ms)`).join('; ')}`,
  );
  const fromMs = monotonicMs();
  await Promise.all(
    chosen.map(async ({ fault, beginAfterMs, mendAfterMs }) => {
      await delay(beginAfterMs);
      const mend = await begun(fault, () => fault.begin(world, before));
      await delay(mendAfterMs);
      await mended(fault, mend);
    }),
  );
  const names = chosen.map(({ fault }) => fault.name);
  const spellMet = await settle(world, names, before, fromMs);
  met.push(spellMet);
  say(
    `${clock()}   away ${(spellMet.outageMs / 1000).toFixed(1)} s, epoch ${spellMet.epochs.before} → ${spellMet.epochs.after}, ${spellMet.acknowledged} acknowledged`,
  );
  const excused = policy === 'Lease' && chosen.some(({ fault }) => fault.excuses === 'twoProcesses');
  if (spellMet.twiceMs > 0 && !excused) problems.push(`two processes for ${spellMet.twiceMs} ms: ${names.join('; ')}`);
  problems.push(...spellMet.wrong.map(({ key, message }) => `${key}: ${message}: ${names.join('; ')}`));
}

/** Beside another fault it may find nothing to hurt, or nobody to ask: that is no problem. */
async function begun(fault: Fault, begin: () => Promise<Mend>): Promise<Mend> {
  return await begin().catch((error: unknown) => {
    say(`${clock()}   not begun: ${fault.name}: ${describeError(error).slice(0, 200)}`);
    return async () => {};
  });
}

/** The same; but what is not mended would stay, so it is tried again. */
async function mended(fault: Fault, mend: Mend): Promise<void> {
  const endMs = monotonicMs() + WELL_LIMIT_MS;
  for (;;) {
    try {
      return await mend();
    } catch (error) {
      if (monotonicMs() > endMs) throw new Error(`Cannot mend ${fault.name}`, { cause: error });
      await delay(500);
    }
  }
}

function verdict(): string {
  const byFault = new Map<string, number[]>();
  for (const { faults: names, outageMs } of met) {
    for (const name of names) byFault.set(name, [...(byFault.get(name) ?? []), outageMs]);
  }
  const rows = [...byFault]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([name, all]) => {
      const sorted = all.toSorted((a, b) => a - b);
      const s = (ms: number | undefined) => ((ms ?? 0) / 1000).toFixed(1);
      return `| ${name} | ${all.length} | ${s(sorted[Math.floor(sorted.length / 2)])} | ${s(sorted.at(-1))} |`;
    });
  const { acknowledged, unknown, keys } = judge(world.client.attempts());
  return [
    '',
    '| fault, alone or with others | spells | outage, median s | longest s |',
    '|---|---|---|---|',
    ...rows,
    '',
    `${met.length} spells in ${((monotonicMs() - startedMs) / 60_000).toFixed(1)} min, seed ${seed}, policy ${policy}`,
    `${acknowledged} writes acknowledged, ${unknown} of unknown end, ${keys} keys; epochs ${met[0]?.epochs.before} to ${met.at(-1)?.epochs.after}`,
    `two processes outside what is excused: ${problems.filter((one) => one.startsWith('two processes')).length}; excused: ${met.reduce((sum, { twiceMs }) => sum + twiceMs, 0)} ms`,
    problems.length === 0 ? 'CLEAN' : `NOT CLEAN\n${problems.join('\n')}`,
  ].join('\n');
}

function clock(): string {
  return `${((monotonicMs() - startedMs) / 1000).toFixed(0).padStart(5)} s`;
}
