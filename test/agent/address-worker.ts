import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { addressesOn } from '../../src/agent/address.ts';

/** Runs in a network namespace of its own and prints what it saw; see address.test.ts. */

execFileSync('ip', ['link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1']);
for (const end of ['d0', 'd1']) execFileSync('ip', ['link', 'set', end, 'up']);
execFileSync('ip', ['address', 'add', '10.1.0.99/24', 'dev', 'd0']);
const on = addressesOn('d0');
const seen: Record<string, unknown> = {};
const own = async () => (await on.present()).filter((address) => !address.startsWith('fe80')).sort();
const show = () => execFileSync('ip', ['-o', 'address', 'show', 'dev', 'd0'], { encoding: 'utf8' });

await on.put(['10.1.0.20', 'fd00::20'], 60);
seen['put'] = await own();
seen['shown'] = show();
await on.put(['10.1.0.20', 'fd00::20'], 60);
seen['again'] = await own();
await on.remove(['10.1.0.20', '10.1.0.21']);
seen['removed'] = await own();
await on.remove(['fd00::20']);
await on.put(['10.1.0.20'], 1);
seen['short'] = await own();
for (let look = 0; look < 100 && (await own()).includes('10.1.0.20'); look += 1) await delay(50);
seen['expired'] = await own();
seen['refused'] = await addressesOn('nothing').put(['10.1.0.20'], 60).then(String, String);
process.stdout.write(JSON.stringify(seen));
