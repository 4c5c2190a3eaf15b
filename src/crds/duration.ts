import { z } from 'zod';

/** A duration as Kubernetes and Go write it, in whole units: `500ms`, `8s`, `10m`, `1h`, `1m30s`. */
export const DURATION_PATTERN = '^([0-9]+(ms|s|m|h))+$';
const WHOLE = new RegExp(DURATION_PATTERN);

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A duration field. The pattern is RE2, as the API server reads it; 16 characters bound the cost of a CEL rule. */
export function durationField(description: string) {
  return z.string().regex(WHOLE).max(16).describe(`${description} A duration such as 500ms, 8s, 10m or 1h.`);
}

/** A spec is looked at many times a second, and says the same few durations each time. */
const known = new Map<string, number>();
const KNOWN_AT_MOST = 1_000;

/** Milliseconds of a duration string that a schema has accepted; throws on any other. */
export function durationMs(text: string): number {
  const before = known.get(text);
  if (before !== undefined) return before;
  const ms = parseMs(text);
  if (known.size >= KNOWN_AT_MOST) known.clear();
  known.set(text, ms);
  return ms;
}

function parseMs(text: string): number {
  if (!WHOLE.test(text)) {
    throw new Error(
      `Cannot parse duration ${JSON.stringify(text)}: expected digits and a unit, such as 500ms, 8s, 10m or 1h`,
    );
  }
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g))
    total += Number(digits) * (UNIT_MS[unit ?? ''] ?? 0);
  return total;
}
