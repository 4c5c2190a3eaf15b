import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS } from '../../sandbox/chaos/faults.ts';
import { meet, type Spell } from '../../sandbox/chaos/meet.ts';
import { startWorld, type World } from '../../sandbox/chaos/world.ts';

/**
 * Each fault by itself, on real parts, one after the other in one sandbox: from a well cluster to a well cluster. What is
 * asserted is what the client saw and what the watch saw from outside. How long it took is told, never asserted.
 */
let world: World;
const told: string[] = [];

beforeAll(async () => {
  world = await startWorld({ policy: 'Lease', heartbeat: true });
}, 300_000);

afterAll(async () => {
  process.stdout.write(`\n| fault | client saw no write for | should obey |\n|---|---|---|\n${told.join('')}`);
  await world?.close();
}, 60_000);

describe.each(Object.entries(FAULTS))('%s: nothing acknowledged is lost, no two run, it serves again', (_, faults) => {
  it.each(faults.map((fault) => [fault.name, fault] as const))(
    'after: %s',
    async (name, fault) => {
      const spell = await meet(world, fault).catch((error: unknown) => {
        showLogs(name);
        throw error;
      });
      told.push(row(spell, fault.sum));
      expect(spell.wrong, 'what the client was told').toEqual([]);
      expect(spell.epochs.after, 'the epoch').toBeGreaterThanOrEqual(spell.epochs.before);
      // Until the timers of one that goes on fire, LeaseExpired covers nothing: docs/protocol.md.
      if (fault.excuses !== 'twoProcesses') expect(spell.twiceMs, 'two processes at once, in ms').toBe(0);
    },
    // Well before, well after, and what lasts in between; each has its own limit and says what it waited for.
    500_000,
  );
});

function row({ faults, outageMs, twiceMs }: Spell, sum: string): string {
  const twice = twiceMs > 0 ? `; two processes for ${twiceMs} ms` : '';
  return `| ${faults.join('; ')} | ${(outageMs / 1000).toFixed(1)} s${twice} | ${sum} |\n`;
}

function showLogs(name: string): void {
  const { controller, server } = world.cluster.sandbox;
  const logs = {
    controller: controller.log(30),
    server1: server('server1').log(20),
    server2: server('server2').log(20),
  };
  for (const [who, text] of Object.entries(logs)) process.stderr.write(`--- ${name}: ${who}\n${text}\n`);
}
