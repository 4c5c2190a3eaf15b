/** Throws when a fact the code relies on does not hold; `message` says which, for the log of a bug report. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Broken invariant: ${message}`);
}

/** The end of an exhausted union: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new Error(`Broken invariant: unexpected value ${JSON.stringify(value)}`);
}
