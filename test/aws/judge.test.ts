import { describe, expect, test } from 'vitest';
import type { RouteTable } from '../../src/aws/ec2.ts';
import { type Attempt, judgeRoute, type RouteState, type Seen } from '../../src/aws/routes.ts';

const ORDER = { tableId: 'rtb-1', destination: '10.1.0.20/32', networkInterfaceId: 'eni-1' };

const ACCEPTED: Attempt = { outcome: 'accepted', afterMs: 7 };
const REFUSED: Attempt = { outcome: 'refused', message: 'Cannot replace: no' };
const UNANSWERED: Attempt = { outcome: 'unanswered', message: 'Cannot replace: silence' };
const UNREAD: Seen = { unread: 'Cannot read: silence' };

function table(...routes: RouteTable['routes']): Seen {
  return new Map([['rtb-1', { id: 'rtb-1', vpcId: 'vpc-1', routes }]]);
}
const OURS = table({ destination: '10.1.0.20/32', target: 'eni-1', state: 'active' });
const HOLE = table({ destination: '10.1.0.20/32', target: 'eni-1', state: 'blackhole' });
const THEIRS = table({ destination: '10.1.0.20/32', target: 'eni-2', state: 'active' });
const NEIGHBOUR = table({ destination: '10.1.0.21/32', target: 'eni-1', state: 'active' });
const GONE: Seen = new Map([['rtb-1', 'missing']]);

const CASES: [string, Seen, Attempt | undefined, RouteState][] = [
  ['a route to our interface is in place', OURS, undefined, 'InPlace'],
  ['in place is in place, although the answer was lost', OURS, UNANSWERED, 'InPlace'],
  ['in place is in place, although changing it was refused', OURS, REFUSED, 'InPlace'],
  ['a route to our interface that takes no traffic is a black hole', HOLE, ACCEPTED, 'Blackhole'],
  ['a route to another interface leads elsewhere', THEIRS, undefined, 'Elsewhere'],
  ['elsewhere, and AWS did not answer: elsewhere', THEIRS, UNANSWERED, 'Elsewhere'],
  ['elsewhere, and AWS said no: refused', THEIRS, REFUSED, 'Refused'],
  ['elsewhere, and not ours to change: elsewhere', THEIRS, { outcome: 'notMine' }, 'Elsewhere'],
  ['the route of a neighbouring address is not ours', NEIGHBOUR, undefined, 'Missing'],
  ['no route, and AWS said no: refused', table(), REFUSED, 'Refused'],
  ['no route, and AWS did not answer: missing', table(), UNANSWERED, 'Missing'],
  ['no table: refused, for a person must correct the spec', GONE, REFUSED, 'Refused'],
  ['not read: unknown', UNREAD, undefined, 'Unknown'],
  ['not read after AWS accepted it: unknown all the same', UNREAD, ACCEPTED, 'Unknown'],
  ['not read after AWS did not answer: unknown', UNREAD, UNANSWERED, 'Unknown'],
  ['not read after AWS said no: refused, for that is known', UNREAD, REFUSED, 'Refused'],
];

describe('judgeRoute()', () => {
  test.each(CASES)('%s', (_, seen, attempt, state) => {
    const finding = judgeRoute(ORDER, seen, attempt);
    expect(finding.state).toBe(state);
    expect(finding.message === undefined).toBe(state === 'InPlace');
  });

  test('tells when AWS accepted the change', () => {
    expect(judgeRoute(ORDER, OURS, ACCEPTED).acceptedAfterMs).toBe(7);
    expect(judgeRoute(ORDER, OURS, UNANSWERED).acceptedAfterMs).toBeUndefined();
  });

  test('compares IPv6 networks, not their spelling', () => {
    const seen = table({ destination: 'fd00::20/128', target: 'eni-1', state: 'active' });
    expect(judgeRoute({ ...ORDER, destination: 'fd00:0:0::20/128' }, seen, undefined).state).toBe('InPlace');
    expect(judgeRoute({ ...ORDER, destination: 'fd00::21/128' }, seen, undefined).state).toBe('Missing');
    expect(judgeRoute({ ...ORDER, destination: 'fd00::20/127' }, seen, undefined).state).toBe('Missing');
  });
});
