import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { historyText } from '../../src/cli/history.ts';
import { verdict } from '../../src/cli/move.ts';
import { bestOther, heldBy, type MoveProgress, progressOf, stepLines, whyNoOther } from '../../src/cli/moveprogress.ts';
import { refusalByStatus } from '../../src/cli/refusal.ts';
import type { Condition } from '../../src/crds/conditions.ts';
import type { Move } from '../../src/crds/failovergroup.ts';
import { assignment, type GroupChange, group, NOW, node, running } from '../decide/build.ts';
import { LOSS, MOVE, NOW_MS, servedSeen, written } from './clusters.ts';

const before = group({ assignment: assignment() }); // server1, epoch 3

function ready(status: Condition['status'], reason = 'Serving', message = ''): Condition {
  return { type: 'Ready', status, reason, message, lastTransitionTime: NOW.iso };
}

describe('how far a move has come', () => {
  const stopping = assignment({ state: 'Stopping' });
  const arrived = assignment({ node: 'server2', epoch: 4 });
  const elsewhere = assignment({ node: 'server3', epoch: 4 });
  const rows: [string, GroupChange, MoveProgress['state']][] = [
    ['the wish stands', { wish: 'server2' }, 'waiting'],
    ['the wish is gone, and nothing was done', {}, 'refused'],
    ['somebody has asked for another node', { wish: 'server3' }, 'overruled'],
    ['the old node is told to stop; the wish is still there', { wish: 'server2', assignment: stopping }, 'underWay'],
    ['the old node is told to stop', { assignment: stopping }, 'underWay'],
    ['the group is stopped on purpose', { assignment: stopping, running: false }, 'refused'],
    ['the new node has it and starts', { assignment: arrived, conditions: [ready('False', 'Starting')] }, 'underWay'],
    ['the new node serves', { assignment: arrived, conditions: [ready('True')] }, 'done'],
    ['a third node serves', { assignment: elsewhere, conditions: [ready('True')] }, 'elsewhere'],
    ['a third one serves for now', { wish: 'server2', assignment: elsewhere, conditions: [ready('True')] }, 'underWay'],
    ['the status is lost', { wish: 'server2', assignment: undefined }, 'waiting'],
  ];
  it.each(rows)('%s', (_, change, state) => {
    expect(progressOf(before, 'server2', group(change)).state).toBe(state);
  });

  it('is told step by step, each once, in the order in which they came', () => {
    const partly: Move = { ...MOVE, steps: { detectedMs: 0, releasedMs: 90 } };
    expect(stepLines(LOSS, partly)).toEqual([
      '    0 ms  decided: moving from server1 to server2, as requested',
      '   90 ms  released: server1 has ended the process',
    ]);
    expect(stepLines(partly, MOVE)).toEqual([
      '   96 ms  assigned: server2 has it, as epoch 3',
      '  260 ms  routed: every route leads to server2',
      '  300 ms  started: the process runs on server2',
      '  570 ms  ready: the process is ready',
    ]);
    expect(stepLines(MOVE, MOVE)).toEqual([]);
  });

  it('names what holds it, and not what every move goes through', () => {
    expect(heldBy(group({ conditions: [ready('False', 'Stopping', 'waiting')] }))).toBeUndefined();
    expect(heldBy(group({ conditions: [ready('False', 'ProcessStuck', 'pid 7 hangs')] }))).toBe(
      'ProcessStuck: pid 7 hangs',
    );
  });

  it('ends with a verdict', () => {
    expect(verdict('failover', 'server2', { node: 'server2', move: MOVE })).toBe(
      'failover is served from server2, 570 ms after the first sign of the move (epoch 3, proof Released)',
    );
    expect(verdict('failover', 'server1', { node: 'server2', move: LOSS })).toBe(
      'failover is served from server2, 8.45 s after the first sign of the move (epoch 2, proof LeaseExpired), not from server1: the Lease of server1 aged and was fenced',
    );
  });
});

describe('the best other node', () => {
  it('is the first of the spec that the controller calls fit', () => {
    const [fit] = written(servedSeen()).groups;
    expect(bestOther(fit!)).toBe('server1'); // there is one group
    const nodes = [node('server1', { schedulable: false }), node('server2', { report: running(3) })];
    const [unfit] = written(servedSeen({ nodes })).groups;
    expect(bestOther(unfit!)).toBeUndefined(); // there is one group
    expect(whyNoOther(unfit!)).toMatch(/^server1: Cordoned: spec.schedulable/);
    expect(refusalByStatus(unfit!, 'server1')).toMatch(/^Cordoned: spec.schedulable/);
  });
});

describe('the history of a group', () => {
  it('has a line for each move, then its reason and timeline, as docs/cli.md shows it', () => {
    const text = historyText([MOVE, LOSS], NOW_MS, false);
    expect(`\n${text}`).toMatchInlineSnapshot(`
      "
      EPOCH   AGO   FROM      TO        WHY         PROOF          SERVED AFTER
      3       2m    server1   server2   Requested   Released       570 ms
      2       24h   server1   server2   NodeLost    LeaseExpired   8.45 s

      epoch 3, 2026-11-23T11:58:00.000Z: moving from server1 to server2, as requested
        detected 0 ms → released 90 ms → assigned 96 ms → routed 260 ms → started 300 ms → ready 570 ms
      epoch 2, 2026-11-22T12:00:00.000Z: the Lease of server1 aged and was fenced
        detected 8.00 s → fenced 8.01 s → assigned 8.03 s → started 8.18 s → routed 8.25 s → ready 8.45 s
      "
    `);
    expect(readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')).toContain(text);
  });

  it('calls the newest one under way until it is served', () => {
    const text = historyText([{ ...MOVE, steps: { detectedMs: 0 } }], NOW_MS, false);
    expect(text).toMatch(/Released +under way\n/);
  });
});
