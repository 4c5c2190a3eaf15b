/** A set of states, each kept as 64 bits of hash with the step that first led to it. Numbers are given in order. */
export class Visited {
  size = 0;
  #table = new Uint32Array(1 << 16);
  #low = new Uint32Array(1 << 15);
  #high = new Uint32Array(1 << 15);
  #parent = new Uint32Array(1 << 15);
  #step = new Uint16Array(1 << 15);

  /** The number of the state, and whether it is new. */
  add(low: number, high: number, parent: number, step: number): { readonly number: number; readonly isNew: boolean } {
    if (this.size * 2 >= this.#table.length) this.#grow();
    const mask = this.#table.length - 1;
    let slot = low & mask;
    for (;;) {
      const found = this.#table[slot] ?? 0;
      if (found === 0) break;
      if (this.#low[found - 1] === low && this.#high[found - 1] === high) return { number: found - 1, isNew: false };
      slot = (slot + 1) & mask;
    }
    const number = this.size;
    this.size += 1;
    this.#table[slot] = this.size;
    this.#low[number] = low;
    this.#high[number] = high;
    this.#parent[number] = parent;
    this.#step[number] = step;
    return { number, isNew: true };
  }

  /** Which step of each state leads from the first one to this. */
  pathTo(number: number): number[] {
    const path: number[] = [];
    for (let at = number; at !== 0; at = this.#parent[at] ?? 0) path.push(this.#step[at] ?? 0);
    return path.reverse();
  }

  #grow(): void {
    const capacity = this.#table.length;
    this.#low = larger(this.#low, capacity);
    this.#high = larger(this.#high, capacity);
    this.#parent = larger(this.#parent, capacity);
    const steps = new Uint16Array(capacity);
    steps.set(this.#step);
    this.#step = steps;
    this.#table = new Uint32Array(capacity * 2);
    const mask = this.#table.length - 1;
    for (let number = 0; number < this.size; number += 1) {
      let slot = (this.#low[number] ?? 0) & mask;
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask;
      this.#table[slot] = number + 1;
    }
  }
}

function larger(old: Uint32Array, capacity: number): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(capacity);
  grown.set(old);
  return grown;
}
