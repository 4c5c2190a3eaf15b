import type { Fault } from './fault.ts';
import { CLOUD } from './faults/cloud.ts';
import { CONTROLLERS } from './faults/controllers.ts';
import { CUTS, DISKS } from './faults/network.ts';
import { OBJECTS } from './faults/objects.ts';
import { KILLS, STOPS } from './faults/processes.ts';
import { SERVER_FAULTS } from './faults/servers.ts';

/** Everything that can go wrong here, by kind. */
export const FAULTS = {
  kills: KILLS,
  stops: STOPS,
  servers: SERVER_FAULTS,
  cuts: CUTS,
  disks: DISKS,
  objects: OBJECTS,
  cloud: CLOUD,
  controllers: CONTROLLERS,
} as const satisfies Record<string, readonly Fault[]>;

export const ALL_FAULTS: readonly Fault[] = Object.values(FAULTS).flat();
