import { readAccepted } from './accepted.ts';
import { openDisk } from './disk.ts';
import { createHost } from './host.ts';
import { killAll, killNow } from './kill.ts';
import { createLeaseKeeper } from './leasekeeper.ts';
import { mountAt } from './mounts.ts';
import { createDiskProbe } from './probe.ts';
import { connectTo, createGroupProcess, forgetShim, spawnShim } from './process.ts';
import { findMarked, isAlive, readProcess } from './scan.ts';
import { untilReady } from './startup.ts';

/**
 * What a node's agent is put together from, wherever it touches the machine. The simulator brings a machine of its own,
 * and breaks a rule by standing in for the part that keeps it.
 */
export interface Parts {
  readonly createLeaseKeeper: typeof createLeaseKeeper;
  readonly createGroupProcess: typeof createGroupProcess;
  readonly createHost: typeof createHost;
  readonly createDiskProbe: typeof createDiskProbe;
  readonly openDisk: typeof openDisk;
  readonly mountAt: typeof mountAt;
  readonly untilReady: typeof untilReady;
  readonly findMarked: typeof findMarked;
  readonly readProcess: typeof readProcess;
  readonly isAlive: typeof isAlive;
  readonly killAll: typeof killAll;
  readonly killNow: typeof killNow;
  readonly spawnShim: typeof spawnShim;
  readonly connectTo: typeof connectTo;
  readonly readAccepted: typeof readAccepted;
  readonly forgetShim: typeof forgetShim;
}

export const realParts: Parts = {
  ...{ createLeaseKeeper, createGroupProcess, createHost, createDiskProbe, openDisk, mountAt, untilReady },
  ...{ findMarked, readProcess, isAlive, killAll, killNow, spawnShim, connectTo, readAccepted, forgetShim },
};
