/** Plain JSON, as it comes from and goes to the API server. */
type Json = unknown;

/**
 * The JSON merge patch (RFC 7396) that turns `before` into `after`, or undefined when nothing differs. What `after`
 * leaves out is set to null, which removes it; lists are replaced whole. A value that is undefined counts as left out.
 */
export function mergePatch(before: Json, after: Json): Json | undefined {
  if (!isObject(before) || !isObject(after)) return sameJson(before, after) ? undefined : after;
  const patch: Record<string, Json> = {};
  let differs = false;
  const compare = (key: string) => {
    const change = after[key] === undefined && before[key] !== undefined ? null : mergePatch(before[key], after[key]);
    if (change === undefined) return;
    patch[key] = change;
    differs = true;
  };
  for (const key in before) compare(key);
  for (const key in after) if (!(key in before)) compare(key);
  return differs ? patch : undefined;
}

/** Whether the two are the same as JSON: the order of fields does not count, and one that is undefined is not there. */
export function sameJson(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a.length !== b.length) return false;
    for (let i = 0; i < a.length; i += 1) if (!sameJson(a[i], b[i])) return false;
    return true;
  }
  if (!isObject(a) || !isObject(b)) return false;
  for (const key in a) if (!sameJson(a[key], b[key])) return false;
  for (const key in b) if (b[key] !== undefined && a[key] === undefined) return false;
  return true;
}

function isObject(value: Json): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
