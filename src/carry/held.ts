/** Bytes of a body that is held for a moment: copied into a few large buffers, which are used again when they were written out. */
import { Loan } from "../upstream/loans.ts";

export class Held {
  #filled: Loan[] = [];
  /** Of the last one. */
  #used = 0;
  bytes = 0;

  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const copied = chunk.copy(this.#last(), this.#used, at);
      this.#used += copied;
      at += copied;
    }
    this.bytes += chunk.length;
  }

  /** Gives them all to `write`, in order; each is its reader's until that has called `done`. */
  hand(write: (bytes: Buffer, done: () => void) => void): void {
    const filled = this.#filled;
    this.#filled = [];
    for (const [at, loan] of filled.entries()) {
      const { buffer } = loan;
      loan.hold();
      loan.leave();
      write(at === filled.length - 1 ? buffer.subarray(0, this.#used) : buffer, loan.release);
    }
  }

  /** Nobody wants them. */
  drop(): void {
    this.hand((_bytes, done) => done());
  }

  /** A buffer with room. */
  #last(): Buffer {
    const last = this.#filled.at(-1)?.buffer;
    if (last !== undefined && this.#used < last.length) return last;
    const fresh = new Loan();
    this.#filled.push(fresh);
    this.#used = 0;
    return fresh.buffer;
  }
}
