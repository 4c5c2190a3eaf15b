import { describe, expect, it } from 'vitest';
import {
  type InterfaceSeen,
  leadsTo,
  needsRouting,
  olderTwinOf,
  planVip,
  type RouteState,
  type VipSeen,
  vipStatus,
} from '../../src/decide/vip.ts';
import { assignment, group, NOW, vip } from './build.ts';

const one: InterfaceSeen = { node: 'server1', networkInterfaceId: 'eni-00000001', sourceDestCheck: false };
const two: InterfaceSeen = { node: 'server2', networkInterfaceId: 'eni-00000002', sourceDestCheck: false };
const seen = (change: Partial<VipSeen> = {}): VipSeen => ({
  vip: vip(),
  group: group(),
  olderTwin: undefined,
  interfaces: [one, two],
  ...change,
});
const route = (id: string, state: RouteState['state'], target = 'eni-00000009'): RouteState => ({
  id,
  state,
  ...(state === 'InPlace' ? {} : { target }),
});
const [A, B] = ['rtb-00000001', 'rtb-0000000a'];

describe('planVip', () => {
  it('leads to the interface of the node that has the group', () => {
    expect(planVip(seen())).toEqual({ kind: 'route', node: 'server1', networkInterfaceId: 'eni-00000001', epoch: 3 });
  });
  const rows: readonly [string, Partial<VipSeen>, string][] = [
    ['nobody has the group', { group: group({ assignment: undefined }) }, 'NoAssignment'],
    [
      'the node that has it is ending it',
      { group: group({ assignment: assignment({ state: 'Stopping' }) }) },
      'NoAssignment',
    ],
    [
      'the group is stopped, as asked',
      { group: group({ running: false, assignment: assignment({ state: 'Stopping' }) }) },
      'GroupStopped',
    ],
    [
      'the group is not to run and never did',
      { group: group({ running: false, assignment: undefined }) },
      'GroupStopped',
    ],
    ['there is no such group', { group: undefined }, 'GroupMissing'],
    ['the interface is not known', { interfaces: [two] }, 'InterfaceUnknown'],
    ['an older VIP has the address', { olderTwin: { name: 'elder', table: A } }, 'Conflict'],
  ];
  for (const [when, change, reason] of rows) {
    it(`leaves the routes as they are when ${when}`, () => {
      expect(planVip(seen(change))).toMatchObject({ kind: 'leave', reason });
    });
  }
});

describe('olderTwinOf', () => {
  const younger = vip({ uid: 'u2', name: 'younger', created: '2026-11-23T11:30:00Z' });
  it('lets the older of two with one address in one table hold it', () => {
    expect(olderTwinOf(younger, [vip(), younger])).toEqual({ name: 'awsvip', table: A });
    expect(olderTwinOf(vip(), [vip(), younger])).toBeUndefined();
  });
  it('sees no conflict between different tables', () => {
    expect(
      olderTwinOf(vip({ uid: 'u2', tables: ['rtb-000000ff'], created: '2026-11-23T11:30:00Z' }), [vip()]),
    ).toBeUndefined();
  });
});

describe('vipStatus', () => {
  const wish = planVip(seen());
  const conditionsOf = (change: Partial<VipSeen>, routes: RouteState[] | undefined) =>
    vipStatus(seen(change), planVip(seen(change)), routes, NOW).conditions.map(
      ({ type, status, reason }) => `${type}=${status} ${reason}`,
    );

  const rows: readonly [string, RouteState[], string][] = [
    ['every route is in place', [route(A, 'InPlace'), route(B, 'InPlace')], 'Ready=True RoutesInPlace'],
    ['one leads elsewhere', [route(A, 'InPlace'), route(B, 'Elsewhere')], 'Ready=False RoutesMoving'],
    ['one is missing', [route(A, 'InPlace'), route(B, 'Missing')], 'Ready=False RoutesMoving'],
    ['one leads into a black hole', [route(A, 'InPlace'), route(B, 'Blackhole')], 'Ready=False RouteBlackhole'],
    ['one is refused', [route(A, 'InPlace'), route(B, 'Refused')], 'Ready=False RouteRefused'],
    ['AWS does not answer for one', [route(A, 'InPlace'), route(B, 'Unknown')], 'Ready=Unknown AwsUnknown'],
    ['one was not read', [route(A, 'InPlace')], 'Ready=Unknown AwsUnknown'],
  ];
  for (const [when, routes, says] of rows) {
    it(`is ${says} when ${when}`, () => expect(conditionsOf({}, routes)[0]).toBe(says));
  }

  it('does not take back what was read before because AWS does not answer now', () => {
    const status = vipStatus(seen(), wish, [route(A, 'InPlace'), route(B, 'InPlace')], NOW);
    const later = vip({ status });
    expect(conditionsOf({ vip: later }, [route(A, 'Unknown'), route(B, 'Unknown')])[0]).toBe('Ready=True AwsUnknown');
  });

  it('does not claim a table that was never seen in place because AWS does not answer', () => {
    const status = vipStatus(seen(), wish, [route(A, 'InPlace')], NOW);
    const ready = { ...status, conditions: status.conditions.map((one) => ({ ...one, status: 'True' as const })) };
    expect(conditionsOf({ vip: vip({ status: ready }) }, [route(A, 'InPlace')])[0]).toBe('Ready=Unknown AwsUnknown');
  });

  it('is Ready when the group is stopped as asked, without a claim that the routes lead anywhere', () => {
    const stopped = { group: group({ running: false, assignment: assignment({ state: 'Stopping' }) }) };
    expect(conditionsOf(stopped, undefined)[0]).toBe('Ready=True GroupStopped');
    const elsewhere = vip({ status: vipStatus(seen(), wish, [route(A, 'Elsewhere'), route(B, 'InPlace')], NOW) });
    const what = seen({ ...stopped, vip: elsewhere });
    const status = vipStatus(what, planVip(what), undefined, NOW);
    expect(status.target?.epoch).toBe(3);
    expect(leadsTo(vip({ status }), 3)).toBe(false);
  });

  it('does take it back when the group has moved since', () => {
    const status = vipStatus(seen(), wish, [route(A, 'InPlace'), route(B, 'InPlace')], NOW);
    const moved = { vip: vip({ status }), group: group({ assignment: assignment({ node: 'server2', epoch: 4 }) }) };
    expect(conditionsOf(moved, [route(A, 'Unknown'), route(B, 'Unknown')])[0]).toBe('Ready=Unknown AwsUnknown');
  });

  it('claims nothing for a new epoch from what was read for the one before', () => {
    const status = vipStatus(seen(), wish, [route(A, 'InPlace'), route(B, 'InPlace')], NOW);
    const moved = { vip: vip({ status }), group: group({ assignment: assignment({ epoch: 4 }) }) };
    expect(conditionsOf(moved, undefined)[0]).toBe('Ready=Unknown AwsUnknown');
    expect(conditionsOf({ vip: vip({ status }) }, undefined)[0]).toBe('Ready=True RoutesInPlace');
  });

  it('tells a source/destination check that is on, on any node of the group', () => {
    const on = { interfaces: [one, { ...two, sourceDestCheck: true }] };
    expect(conditionsOf(on, [])).toContain('SourceDestCheckOff=False SourceDestCheckOn');
    expect(conditionsOf({}, [])).toContain('SourceDestCheckOff=True SourceDestCheckOff');
    expect(conditionsOf({ interfaces: [one] }, [])).toContain('SourceDestCheckOff=Unknown InterfaceUnknown');
  });

  it('has routes to move after every new assignment, and none when they are known to be in place', () => {
    const placed = vip({
      status: {
        target: { node: 'server1', networkInterfaceId: 'eni-00000001', epoch: 3 },
        routeTables: [route(A, 'InPlace'), route(B, 'InPlace')],
        conditions: [],
      },
    });
    expect(needsRouting(placed, wish)).toBe(false);
    expect(needsRouting(vip(), wish)).toBe(true);
    expect(needsRouting(placed, { kind: 'route', node: 'server2', networkInterfaceId: 'eni-00000002', epoch: 4 })).toBe(
      true,
    );
  });
});
