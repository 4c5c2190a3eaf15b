import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { DiskMonitorSpec } from '../crds/diskmonitor.ts';
import { durationMs } from '../crds/duration.ts';
import type { DiskReport } from '../crds/failovernode.ts';
import type { Helper } from './helper.ts';
import type { ProbeAnswer, ProbeRequest } from './probe-child.ts';

/** Watches a shared disk as one DiskMonitor asks. */
export interface DiskProbe {
  /** Takes effect with the next probe. */
  update(spec: DiskMonitorSpec): void;
  report(): DiskReport;
  close(): void;
}

export interface DiskProbeOptions {
  readonly name: string;
  readonly spec: DiskMonitorSpec;
  /** Of its path; closed with the probe. */
  readonly helper: Helper;
  readonly clock: Clock;
  /**
   * The shared disk that the path lies on, undefined where it lies on none; or why the path must not be touched now:
   * below a mount point where nothing is mounted lies the node's own disk, which always works.
   */
  readonly place: () => Place | { readonly obstacle: string };
  /** Whether this node runs the group. */
  readonly active: () => boolean;
  /** After every change of the report. */
  readonly onChange: () => void;
}

export interface Place {
  readonly mountPath: string | undefined;
  /** The id that the disk there must have, where it is known. */
  readonly diskId?: string | undefined;
}

export function createDiskProbe(options: DiskProbeOptions): DiskProbe {
  const { name, clock } = options;
  let { spec } = options;
  let report: DiskReport = { name, state: 'Unknown', failures: 0 };
  let closed = false;
  let cancel = clock.after(0, () => void round());
  const { helper } = options;

  async function round(): Promise<void> {
    const startedMs = clock.nowMs();
    if (spec.when === 'Active' && !options.active()) become({ name, state: 'Idle', failures: 0 });
    else await probe();
    if (closed) return;
    const nextMs = startedMs + durationMs(spec.interval) - clock.nowMs();
    cancel = clock.after(Math.max(MIN_PAUSE_MS, nextMs), () => void round());
  }

  async function probe(): Promise<void> {
    try {
      const place = options.place();
      if ('obstacle' in place) throw new Error(place.obstacle);
      const { method, path, size } = spec;
      const request: ProbeRequest = { method, path, size, mountPath: place.mountPath, diskId: place.diskId };
      const { latencyMs } = (await helper.ask(request, durationMs(spec.timeout))) as ProbeAnswer;
      become({ name, state: 'Healthy', failures: 0, latencyMs: coarse(latencyMs) });
    } catch (error) {
      const failures = report.failures + 1;
      const state = failures >= spec.failureThreshold ? 'Failed' : 'Failing';
      become({ name, state, failures, message: describeError(error).slice(0, 1024) });
    }
  }

  function become(next: DiskReport): void {
    if (closed) return;
    const changed = JSON.stringify(next) !== JSON.stringify(report);
    report = next;
    if (changed) options.onChange();
  }

  return {
    update: (changed) => {
      spec = changed;
    },
    report: () => report,
    close: () => {
      closed = true;
      cancel();
      helper.close();
    },
  };
}

const MIN_PAUSE_MS = 100;

/** Every report is a write to the API: a millisecond more or less is not worth one. */
function coarse(latencyMs: number): number {
  if (latencyMs < 10) return latencyMs <= 5 ? 5 : 10;
  return Number(latencyMs.toPrecision(1));
}
