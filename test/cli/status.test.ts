import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { statusText } from '../../src/cli/statustext.ts';
import { statusView } from '../../src/cli/statusview.ts';
import { agedFor, disk, lease, NOW, node, reads, running } from '../decide/build.ts';
import { HEALTHY, NOW_MS, routes, servedSeen, written } from './clusters.ts';

const PLAIN = { wide: false, allNamespaces: false, colours: false, nowMs: NOW_MS };

const screen = (at: ReturnType<typeof servedSeen>, o: Partial<typeof PLAIN> = {}) =>
  `\n${statusText(statusView(written(at), NOW_MS), { ...PLAIN, ...o })}`;

describe('the status of a cluster', () => {
  it('is one screen without a word of explanation where all is well', () => {
    const view = statusView(written(servedSeen()), NOW_MS);
    expect(view).toMatchObject({ ready: true, problems: [] });
    expect(`\n${statusText(view, PLAIN)}`).toMatchInlineSnapshot(`
      "
      GROUP      NODE      READY   REASON    EPOCH   LAST MOVE
      failover   server2   True    Serving   3       Requested (Released), server1 → server2, 2m ago, served after 570 ms

      NODE      IN TOUCH   LEASE        FIT   RUNS
      server1   yes        500 ms old   yes   -
      server2   yes        500 ms old   yes   failover (epoch 3, Running, pid 42)

      VIP      ADDRESS     GROUP      LEADS TO   READY   REASON          ROUTE TABLES
      awsvip   10.1.0.20   failover   server2    True    RoutesInPlace   2 of 2 in place

      DISK    PATH                   GROUP      READY   REASON    NODES
      diskw   /mnt/efs/monitor.txt   failover   True    Healthy   server1 Healthy 4 ms, server2 Healthy 4 ms
      "
    `);
  });

  it('names tables, interfaces and versions when asked to be wide', () => {
    expect(screen(servedSeen(), { wide: true, allNamespaces: true })).toMatchInlineSnapshot(`
      "
      NAMESPACE   GROUP      NODE      READY   REASON    EPOCH   LAST MOVE
      storage     failover   server2   True    Serving   3       Requested (Released), server1 → server2, 2m ago, served after 570 ms

      NAMESPACE   NODE      IN TOUCH   LEASE                       FIT   RUNS                                  INSTANCE     AGENT   ADDRESSES
      storage     server1   yes        500 ms old, incarnation 1   yes   -                                     i-00000001   1       -
      storage     server2   yes        500 ms old, incarnation 1   yes   failover (epoch 3, Running, pid 42)   i-00000002   1       -

      NAMESPACE   VIP      ADDRESS     GROUP      LEADS TO                 READY   REASON          ROUTE TABLES
      storage     awsvip   10.1.0.20   failover   server2 (eni-00000002)   True    RoutesInPlace   rtb-00000001 InPlace → eni-00000002, rtb-0000000a InPlace → eni-00000002

      NAMESPACE   DISK    PATH                   GROUP      READY   REASON    NODES
      storage     diskw   /mnt/efs/monitor.txt   failover   True    Healthy   server1 Healthy 4 ms, server2 Healthy 4 ms
      "
    `);
  });

  it('says of a lost node what the controller does, and who else could serve', () => {
    const nodes = [
      node('server1', { report: reads('server2', 'unknown'), disks: [HEALTHY] }),
      node('server2', { lease: agedFor(9_000), report: running(3) }),
    ];
    expect(screen(servedSeen({ nodes }))).toMatchInlineSnapshot(`
      "
      GROUP      NODE        READY     REASON       EPOCH   LAST MOVE
      failover   (server2)   Unknown   DiskUnread   3       Requested (Released), server1 → server2, 2m ago, served after 570 ms

      NODE      IN TOUCH         LEASE        FIT              RUNS
      server1   yes              500 ms old   yes              -
      server2   no: OutOfTouch   9.00 s old   no: OutOfTouch   last known: failover (epoch 3, Running, pid 42)

      VIP      ADDRESS     GROUP      LEADS TO   READY   REASON          ROUTE TABLES
      awsvip   10.1.0.20   failover   server2    True    RoutesInPlace   2 of 2 in place

      DISK    PATH                   GROUP      READY     REASON    NODES
      diskw   /mnt/efs/monitor.txt   failover   Unknown   Unknown   server1 Healthy 4 ms, server2 Unknown

      WHY
        failovergroup/failover: DiskUnread: server2 does not renew its Lease, and nobody can tell from the shared disk whether it still runs (server1: cannot read the disk); nothing is moved. When you know that it does not, annotate the group with pointsman.dev/move-to
        failovernode/server2: OutOfTouch: the agent of server2 does not renew its Lease: look at the agent, the server and its network
        diskmonitor/diskw: Unknown: not known on server2: its agent does not renew its Lease
      "
    `);
  });

  it('says why nobody else could take the group, though it serves', () => {
    const nodes = [
      node('server1', { schedulable: false, disks: [HEALTHY] }),
      node('server2', { report: running(3), disks: [HEALTHY] }),
    ];
    const view = statusView(written(servedSeen({ nodes })), NOW_MS);
    expect(view.ready).toBe(true);
    expect(`\n${statusText(view, PLAIN)}`).toMatchInlineSnapshot(`
      "
      GROUP      NODE      READY   REASON    EPOCH   LAST MOVE
      failover   server2   True    Serving   3       Requested (Released), server1 → server2, 2m ago, served after 570 ms

      NODE      IN TOUCH        LEASE        FIT            RUNS
      server1   yes: Cordoned   500 ms old   no: Cordoned   -
      server2   yes             500 ms old   yes            failover (epoch 3, Running, pid 42)

      VIP      ADDRESS     GROUP      LEADS TO   READY   REASON          ROUTE TABLES
      awsvip   10.1.0.20   failover   server2    True    RoutesInPlace   2 of 2 in place

      DISK    PATH                   GROUP      READY   REASON    NODES
      diskw   /mnt/efs/monitor.txt   failover   True    Healthy   server1 Healthy 4 ms, server2 Healthy 4 ms

      WHY
        failovergroup/failover: NotRedundant: no other node could take the group: server1: Cordoned: spec.schedulable of its FailoverNode is false: set it to true to let groups come
      "
    `);
  });

  it('names the table that leads elsewhere and the disk that fails', () => {
    const nodes = [
      node('server1', { report: reads('server2', 'seen'), disks: [disk('Failed')] }),
      node('server2', { report: running(3), disks: [HEALTHY] }),
    ];
    expect(screen(servedSeen({ nodes, vips: [routes('Elsewhere')] }))).toMatchInlineSnapshot(`
      "
      GROUP      NODE      READY   REASON          EPOCH   LAST MOVE
      failover   server2   False   RoutesPending   3       Requested (Released), server1 → server2, 2m ago, served after 570 ms

      NODE      IN TOUCH   LEASE        FIT              RUNS
      server1   yes        500 ms old   no: DiskFailed   -
      server2   yes        500 ms old   yes              failover (epoch 3, Running, pid 42)

      VIP      ADDRESS     GROUP      LEADS TO   READY   REASON         ROUTE TABLES
      awsvip   10.1.0.20   failover   server2    False   RoutesMoving   1 of 2 in place; rtb-0000000a Elsewhere → eni-00000009

      DISK    PATH                   GROUP      READY   REASON   NODES
      diskw   /mnt/efs/monitor.txt   failover   False   Failed   server1 Failed, server2 Healthy 4 ms

      WHY
        failovergroup/failover: RoutesPending: VipResource "awsvip" does not lead to server2: pointing the routes at server2
        vipresource/awsvip: RoutesMoving: pointing the routes at server2
        diskmonitor/diskw: Failed: the disk fails on server1: EIO
        failovergroup/failover: NotRedundant: no other node could take the group: server1: DiskFailed: DiskMonitor "diskw" fails there: EIO
      "
    `);
  });

  it('is not ready where no controller has looked, or not at the present spec', () => {
    const cluster = written(servedSeen());
    const [first] = cluster.groups;
    const group = first!; // there is one
    const unseen = { ...cluster, groups: [{ ...group, status: undefined }] };
    expect(statusView(unseen, NOW_MS)).toMatchObject({
      ready: false,
      problems: [{ object: 'failovergroup/failover', reason: 'Pending', severity: 'notReady' }],
    });
    const changed = { ...cluster, groups: [{ ...group, metadata: { ...group.metadata, generation: 2 } }] };
    expect(statusView(changed, NOW_MS)).toMatchObject({ ready: false, problems: [{ reason: 'Unobserved' }] });
  });

  it('looks as docs/cli.md shows it', () => {
    const nodes = [
      node('server1', { schedulable: false, disks: [HEALTHY] }),
      node('server2', { report: running(3), disks: [HEALTHY] }),
    ];
    expect(readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')).toContain(
      screen(servedSeen({ nodes })),
    );
  });

  it('warns that a status is old where no controller has led for a while', () => {
    const cluster = written(servedSeen());
    const lease = (change: object) => ({ ...cluster, controller: { ...cluster.leases![0]!, ...change } }); // there are two
    const told = (change: object) => statusView(lease(change), NOW_MS).problems.map(({ message }) => message);
    const ago = (ms: number) => ({ renewTime: new Date(NOW_MS - ms).toISOString() });
    expect(told(ago(29_000))).toEqual([]);
    expect(told(ago(125_000))).toEqual([
      "no controller has renewed its Lease for 2m5s, by this machine's clock: while none leads nothing is moved, and every status here is an old one; look at the controller",
    ]);
    expect(told({ ...ago(0), holder: '' })).toEqual([expect.stringContaining('no controller leads')]);
    expect(statusView(lease(ago(125_000)), NOW_MS).ready).toBe(true);
  });

  it('says without the right to list Leases all but their age', () => {
    const view = statusView({ ...written(servedSeen()), leases: undefined }, NOW_MS);
    expect(view.ready).toBe(true);
    expect(statusText(view, PLAIN)).toMatch(/^server1 {3}yes {8}- {7}yes/m);
  });

  it('takes a Lease from a clock that is ahead of ours as new', () => {
    const nodes = [
      node('server1', { lease: lease({ firstSeenMs: NOW.ms + 900 }) }),
      node('server2', { report: running(3) }),
    ];
    const [first] = statusView(written(servedSeen({ nodes })), NOW_MS).nodes;
    expect(first?.lease?.renewedAgoMs).toBe(0);
  });

  it('paints only where colours are wanted', () => {
    expect(screen(servedSeen())).not.toContain('\u001b');
    expect(screen(servedSeen(), { colours: true })).toContain('\u001b[32mTrue\u001b[0m');
  });
});
