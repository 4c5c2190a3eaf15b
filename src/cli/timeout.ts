import { DURATION_PATTERN, durationMs } from '../crds/duration.ts';
import type { OptionDefinition } from './command.ts';
import { UsageError } from './exit.ts';

export function timeoutOption(about: string, initial: string): OptionDefinition {
  return { type: 'string', value: 'DURATION', default: initial, about };
}

/** Throws a {@link UsageError} where it is no duration as the specs have them. */
export function timeoutOf(value: string | boolean | undefined): number {
  const text = String(value);
  if (new RegExp(DURATION_PATTERN).test(text)) return durationMs(text);
  throw new UsageError(`"${text}" is no duration; write for example 500ms, 5s or 2m`);
}
