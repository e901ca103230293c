/** Bytes of a body that is held for a moment: copied into a few large buffers, which are used again when they were written out. */
import { Loan } from "../upstream/loans.ts";

export class Held {
  #filled: Loan[] = [];
  /** Of the last one. */
  #used = 0;
  /** Of the body; what is held may have the framing of its chunks besides. */
  payload = 0;

  add(chunk: Buffer, payload: number): void {
    for (let at = 0; at < chunk.length; ) {
      const copied = chunk.copy(this.#last(), this.#used, at);
      this.#used += copied;
      at += copied;
    }
    this.payload += payload;
  }

  /** Gives them all to `write`, in order; each is its reader's until that has called `done`. The payload of all is told with the last one. */
  hand(write: (bytes: Buffer, done: () => void, payload: number) => void): void {
    const filled = this.#filled;
    this.#filled = [];
    for (const [at, loan] of filled.entries()) {
      const { buffer } = loan;
      loan.hold();
      loan.leave();
      if (at < filled.length - 1) write(buffer, loan.release, 0);
      else write(buffer.subarray(0, this.#used), loan.release, this.payload);
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
