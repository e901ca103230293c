/** Lines that wait to be written, as bytes, packed into the batches that they go out in: whole lines, in their order. */

/** What UTF-8 takes at most for a unit of a string. */
const maxUnitBytes = 3;

export class Batches {
  readonly #maxBytes: number;
  #full: Buffer[] = [];
  /** The batch that is being filled, up to `#end`. */
  #open: Buffer | undefined;
  #end = 0;
  /** The memory of one that was written, for the next. */
  #spare: Buffer | undefined;

  /** No batch is longer than that, unless one line alone is. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get isEmpty(): boolean {
    return this.#open === undefined && this.#full.length === 0;
  }

  /** Takes a line that is no longer than `mostBytes`, and returns its bytes; 0: it is longer. */
  add(line: string, mostBytes: number): number {
    const atMost = line.length * maxUnitBytes; // nearly all fit by that, and need not be measured
    const needed =
      atMost <= Math.min(mostBytes, this.#maxBytes - this.#end) ? atMost : Buffer.byteLength(line);
    if (needed > mostBytes) return 0;
    const bytes = this.#withRoom(needed).write(line, this.#end);
    this.#end += bytes;
    return bytes;
  }

  /** The batch that has waited longest. */
  take(): Buffer | undefined {
    if (this.#full.length === 0) this.#shut();
    return this.#full.shift();
  }

  /** Gives back the memory of a batch that was taken. */
  recycle(batch: Buffer): void {
    if (batch.buffer.byteLength === this.#maxBytes) this.#spare = Buffer.from(batch.buffer);
  }

  #withRoom(bytes: number): Buffer {
    if (this.#end + bytes > this.#maxBytes) this.#shut();
    this.#open ??= this.#memory(bytes);
    return this.#open;
  }

  #memory(bytes: number): Buffer {
    const spare = this.#spare;
    if (bytes > this.#maxBytes || spare === undefined)
      return Buffer.allocUnsafeSlow(Math.max(bytes, this.#maxBytes));
    this.#spare = undefined;
    return spare;
  }

  #shut(): void {
    if (this.#open === undefined) return;
    this.#full.push(this.#open.subarray(0, this.#end));
    this.#open = undefined;
    this.#end = 0;
  }
}
