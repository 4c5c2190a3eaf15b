import { expect, test } from 'vitest';
import type { InstanceSeen } from '../../sandbox/ec2.ts';
import { deedFor } from '../../sandbox/hypervisor.ts';

const seen = (change: Partial<InstanceSeen>): InstanceSeen => ({
  instanceId: 'i-1',
  state: 'running',
  lastStop: null,
  reboots: 0,
  ...change,
});
const stopped = (how: object) => ({ force: false, skipOsShutdown: false, hibernate: false, ...how });

test.each<[sentence: string, seen: InstanceSeen, isUp: boolean, deed: ReturnType<typeof deedFor>]>([
  ['a running server is left alone', seen({}), true, undefined],
  ['a server that has lost its power while EC2 says running is left alone', seen({}), false, undefined],
  ['a stop lets the operating system shut down', seen({ state: 'stopping', lastStop: stopped({}) }), true, 'shutDown'],
  ['a forced stop does not', seen({ state: 'stopping', lastStop: stopped({ force: true }) }), true, 'cutPower'],
  [
    'SkipOsShutdown does not',
    seen({ state: 'stopping', lastStop: stopped({ skipOsShutdown: true }) }),
    true,
    'cutPower',
  ],
  ['a terminated server has no power', seen({ state: 'shutting-down' }), true, 'cutPower'],
  ['a started one boots', seen({ state: 'pending' }), false, 'boot'],
  ['a reboot that was asked for once is done', seen({ reboots: 1 }), true, 'reboot'],
])('%s', (_, instance, isUp, deed) => {
  expect(deedFor(instance, 0, isUp)).toBe(deed);
});

test('a reboot is done once', () => {
  expect(deedFor(seen({ reboots: 1 }), 1, true)).toBeUndefined();
});
