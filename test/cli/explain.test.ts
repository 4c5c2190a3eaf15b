import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { explainText } from '../../src/cli/explaintext.ts';
import { type Explanation, explain } from '../../src/cli/explanation.ts';
import type { Condition } from '../../src/crds/conditions.ts';
import type { GroupSeen, NodeSeen } from '../../src/decide/seen.ts';
import { agedFor, assignment, group, lease, NOW, node, onDisk, reads, report, running } from '../decide/build.ts';
import { HEALTHY, LOSS, MOVE, servedSeen } from './clusters.ts';

/** The Lease of each was seen to change half a second ago. */
function explained(at: GroupSeen): Explanation {
  return explain(at, at.group.status!.assignment!, NOW); // every group here has one
}

const server2 = node('server2', { report: running(3), disks: [HEALTHY] });
const withNodes = (...nodes: NodeSeen[]) => explained(servedSeen({ nodes }));

describe('what would happen if the active node died', () => {
  it('is the sum of what the decision waits for and what the last moves took, as docs/cli.md shows it', () => {
    const text = explainText(explained(servedSeen()));
    expect(`\n${text}`).toMatchInlineSnapshot(`
      "
      If server2 died now, server1 would serve failover after about 8.48 s:

          8.00 s  the Lease of server2 ages (takeoverAfter); so does its record on the shared disk, meanwhile
            6 ms  server2 is fenced, and server1 assigned epoch 4 (as in epoch 3, to server2)
          474 ms  the process starts on server1 and is ready, and every route leads there (as in epoch 3, to server2)
          8.48 s  in all, from the last sign of life of server2, which may be 1.00 s older than its death

      What the controller would say, from the last sign of life of server2 on:
            0 ms  Serving: server2 serves the group
          5.00 s  SeenOnDisk: server2 is out of touch with the API server, but server1 sees it live on the shared disk: it serves on, and nothing is moved
          8.00 s  NodeLost: server2 has not renewed its Lease for 8000 ms; it is fenced
          8.00 s  Starting: server1 is assigned epoch 4: the Lease of server2 aged and was fenced
      "
    `);
    expect(readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')).toContain(text);
  });

  it('has no term that was never measured in the sum, and says so', () => {
    const bare = servedSeen();
    const { status, ...rest } = bare.group;
    const { move: _, history: __, ...unmoved } = status!; // it has one
    const text = explainText(explained({ ...bare, group: { ...rest, status: { ...unmoved, history: [] } } }));
    expect(text).toContain('server1 would serve failover after 8.00 s, and what was never measured yet:');
    expect(text).toMatch(/^ {9}\? {2}the process starts on server1/m);
  });

  it('says why nobody else could take the group', () => {
    const { held, takenOver } = withNodes(node('server1', { schedulable: false, disks: [HEALTHY] }), server2);
    expect(takenOver).toBeUndefined();
    expect(held?.reason).toBe('NoFitNode');
    expect(held?.message).toContain('server1: Cordoned: spec.schedulable');
  });

  it('names the other nodes with what is wrong with each', () => {
    const text = explainText(withNodes(node('server1', { lease: lease({ holder: '' }), disks: [HEALTHY] }), server2));
    expect(text).toContain(
      'nothing would take over failover:\n\n  AllNodesOutOfTouch: Cannot move the group from server2, whose Lease aged: ',
    );
    expect(text).toContain(
      '\nThe other nodes, as they are now:\n  server1: Fenced: its Lease was fenced and the agent has not come back\n',
    );
    const alone = servedSeen({
      group: group({ assignment: onDisk({ node: 'server2' }), nodes: ['server2'] }),
      nodes: [server2],
    });
    expect(explainText(explained(alone))).toContain('\nIt has no other node.\n');
  });

  it('waits for ever where nobody could tell from the disk', () => {
    const { held } = withNodes(node('server1', { report: reads('server2', 'unknown'), disks: [HEALTHY] }), server2);
    expect(held?.reason).toBe('DiskUnread');
  });

  it('moves nothing while no other node renews its Lease either', () => {
    const silent = node('server1', { lease: agedFor(6_000), report: reads('server2', 'seen'), disks: [HEALTHY] });
    expect(withNodes(silent, server2).held?.reason).toMatch(/^(AllNodesOutOfTouch|DiskUnread)$/);
  });

  it('waits for the number that the Lease itself carries', () => {
    const slow = node('server2', { lease: lease({ takeoverAfterMs: 20_000 }), report: running(3), disks: [HEALTHY] });
    const one = node('server1', { report: reads('server2', 'seen'), disks: [HEALTHY] });
    expect(withNodes(one, slow).takenOver?.terms[0]).toMatchObject({ name: 'aging', ms: 20_000 });
  });

  it('needs the Lease alone without a second channel', () => {
    const at = servedSeen({
      group: group({ assignment: assignment({ node: 'server2' }), heartbeat: false, move: MOVE, history: [LOSS] }),
      nodes: [node('server1', { report: report(), disks: [HEALTHY] }), server2],
    });
    const { takenOver, heartbeat } = explained(at);
    expect(heartbeat).toBe(false);
    expect(takenOver).toMatchObject({ by: 'server1', proof: 'LeaseExpired', totalMs: 8_000 + 6 + 474 });
  });

  describe('with fencing.policy Instance', () => {
    const instanceGroup = (status: Condition['status'], reason: string, message: string) => {
      const basis = {
        ...onDisk().basis,
        nodes: [{ name: 'server2', instanceId: 'i-00000002', takeoverAfterSeconds: 8 }],
      };
      const ready = { type: 'FencingReady', status, reason, message, lastTransitionTime: NOW.iso };
      return servedSeen({
        group: group({ policy: 'Instance', assignment: onDisk({ node: 'server2', basis }), conditions: [ready] }),
      });
    };

    it('takes what EC2 takes, which is not known beforehand', () => {
      const { takenOver } = explained(instanceGroup('True', 'FencingReady', 'server1, server2 can be stopped'));
      expect(takenOver).toMatchObject({ by: 'server1', proof: 'InstanceStopped', measured: false });
      expect(takenOver?.terms.map(({ name }) => name)).toEqual(['aging', 'instanceOff', 'assignment', 'start']);
    });

    it('is held where EC2 says beforehand that it would refuse', () => {
      const { held } = explained(instanceGroup('False', 'StopProtected', 'server2: stop protection of i-2 is on'));
      expect(held).toEqual({ reason: 'StopProtected', message: 'server2: stop protection of i-2 is on' });
    });
  });
});
