/**
 * Memory that reads go to. Small answers share one buffer, which is free again when the read's callback returns; a bulk answer
 * has buffers of its own, each of which is read into again when whoever wrote it out is done with it.
 */

const kib = 1024;
const sharedBytes = 64 * kib;
const bulkBytes = 256 * kib;
/** Free bulk buffers that are kept. */
const maxFree = 16;

/** For bytes that are used or copied before the callback of their read returns. */
export const shared: Buffer = Buffer.allocUnsafeSlow(sharedBytes);

const free: Buffer[] = [];

/** A bulk buffer, until its owner and all holders of its bytes are done. */
export class Loan {
  readonly buffer: Buffer = free.pop() ?? Buffer.allocUnsafeSlow(bulkBytes);
  #holders = 0;
  #isOwned = true;

  get isHeld(): boolean {
    return this.#holders > 0;
  }
  hold(): void {
    this.#holders += 1;
  }
  readonly release = (): void => {
    this.#holders -= 1;
    this.#settle();
  };
  /** The owner reads into it no more. */
  leave(): void {
    this.#isOwned = false;
    this.#settle();
  }
  #settle(): void {
    if (!this.#isOwned && this.#holders === 0 && free.length < maxFree) free.push(this.buffer);
  }
}
