/**
 * A set for what comes and goes with each request. A Map or a Set would do, but V8 links each of their tables to the one that follows it:
 * once one has grown old, all that were made since, and whatever was in them, live until the next full collection. Under load a sixth of
 * all that a gateway allocated lived on so, and was copied twice.
 */
export interface Bagged {
  /** Its place; -1 outside. Written by the bag alone. */
  place: number;
}

export class Bag<T extends Bagged> implements Iterable<T> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  has(one: T): boolean {
    return one.place >= 0 && this.#all[one.place] === one;
  }

  /** `one` is in no other bag. */
  add(one: T): void {
    if (this.has(one)) return;
    one.place = this.#all.length;
    this.#all.push(one);
  }

  /** False when it is not there. */
  delete(one: T): boolean {
    if (!this.has(one)) return false;
    const all = this.#all;
    const { place } = one;
    const last = all.pop();
    if (last !== undefined && last !== one) {
      all[place] = last;
      last.place = place;
    }
    one.place = -1;
    return true;
  }

  /** Those that are there now, in no order: what comes or goes meanwhile changes nothing. */
  [Symbol.iterator](): IterableIterator<T> {
    return [...this.#all].values();
  }
}
