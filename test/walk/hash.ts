/** What a state is made of: whole numbers, and records and lists of them. All states of a walk have one shape. */
export type Value = number | readonly Value[] | { readonly [key: string]: Value };

/**
 * 64 bits of a state, as two numbers of 32. Among ten million states two share a hash by chance with a probability of
 * some 3 in a million; then a part of the space is not walked.
 */
export class Hash<State extends object> {
  low = 0;
  high = 0;
  readonly #numbers: Int32Array;
  readonly #flatten: (state: State, numbers: Int32Array) => void;

  constructor(shape: State) {
    const paths = pathsIn(shape as Value, '');
    this.#numbers = new Int32Array(paths.length);
    // Compiled from the shape itself, so that no field can be forgotten; to go through the keys takes ten times as long.
    const lines = paths.map((path, at) => `numbers[${at}] = state${path};`);
    this.#flatten = new Function('state', 'numbers', lines.join('\n')) as (state: State, numbers: Int32Array) => void;
  }

  of(state: State): this {
    const numbers = this.#numbers;
    this.#flatten(state, numbers);
    let low = 0x9e3779b9 | 0;
    let high = 0x85ebca6b | 0;
    // As in MurmurHash3, once for each half with constants of its own.
    for (let at = 0; at < numbers.length; at += 1) {
      const value = (numbers[at] ?? 0) + 1;
      let k = Math.imul(value, 0xcc9e2d51);
      k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
      low ^= k;
      low = (Math.imul((low << 13) | (low >>> 19), 5) + 0xe6546b64) | 0;
      k = Math.imul(value, 0x239b961b);
      k = Math.imul((k << 16) | (k >>> 16), 0xab0e9789);
      high ^= k;
      high = (Math.imul((high << 17) | (high >>> 15), 5) + 0x561ccd1b) | 0;
    }
    this.low = finish(low ^ high);
    this.high = finish((high + Math.imul(this.low, 5)) | 0);
    return this;
  }
}

function pathsIn(value: Value, path: string): string[] {
  if (typeof value === 'number') return [path];
  if (Array.isArray(value)) return (value as readonly Value[]).flatMap((one, at) => pathsIn(one, `${path}[${at}]`));
  return Object.entries(value).flatMap(([key, one]) => pathsIn(one as Value, `${path}.${key}`));
}

function finish(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
