import { readAccepted } from './accepted.ts';
import { killAll } from './kill.ts';
import type { WardenConfig } from './wardenkeeper.ts';

/*
 * The shim is gone, however it went, and maybe the agent with it. The kernel has ended the process itself; this ends what
 * that has forked away, which no parent's death ends.
 */

/** What is left after so long waits in the kernel; its kill is pending, and it ends without us. */
const LIMIT_MS = 60_000;

const { mark, cgroup, acceptedFile } = JSON.parse(process.argv[2] ?? '') as WardenConfig; // by the shim that started us
const victims = {
  matches: (found: string) => found === mark,
  cgroups: cgroup === undefined ? [] : [cgroup],
  known: readAccepted(acceptedFile)?.status.family ?? [],
  sinceTicks: 0,
  cgroupHoldsAll: false,
};
await killAll(victims, AbortSignal.timeout(LIMIT_MS)).catch((error) => {
  process.stderr.write(`pointsman: Cannot end what ${mark} has left: ${String(error)}\n`);
});
process.exit(0);
