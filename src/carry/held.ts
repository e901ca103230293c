/** Bytes of a body that is held for a moment: copied into a few large buffers, which are used again when they were written out. */

const slabBytes = 256 * 1024;
/** Free slabs that are kept. */
const maxFree = 16;

/** Of one gateway. */
export class Slabs {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
  }
  give(slab: Buffer): void {
    if (this.#free.length < maxFree) this.#free.push(slab);
  }
}

export class Held {
  readonly #slabs: Slabs;
  readonly #filled: Buffer[] = [];
  /** Of the last slab. */
  #used = slabBytes;
  bytes = 0;

  constructor(slabs: Slabs) {
    this.#slabs = slabs;
  }

  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#used === slabBytes) {
        this.#filled.push(this.#slabs.take());
        this.#used = 0;
      }
      const copied = chunk.copy(this.#filled.at(-1) ?? chunk, this.#used, at);
      this.#used += copied;
      at += copied;
    }
    this.bytes += chunk.length;
  }

  /** Gives them all to `write`, in order; each is its reader's until that has called `done`. */
  hand(write: (bytes: Buffer, done: () => void) => void): void {
    const slabs = this.#filled.splice(0);
    for (const [at, slab] of slabs.entries()) {
      const bytes = at === slabs.length - 1 ? slab.subarray(0, this.#used) : slab;
      write(bytes, () => this.#slabs.give(slab));
    }
  }

  /** Nobody wants them. */
  drop(): void {
    this.hand((_bytes, done) => done());
  }
}
