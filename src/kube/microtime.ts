import type { Clock } from '../base/clock.ts';

/** The wall time as the API server takes a MicroTime: exactly six digits, or it answers 400. */
export function microTime(clock: Pick<Clock, 'wall'>): string {
  return clock.wall().toISOString().replace('Z', '000Z');
}
