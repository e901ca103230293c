/** Cuts a stream of bytes into lines, none longer than the bound: a longer one is passed over and told as lost. */

const newline = 0x0a;

export type Line =
  | { readonly kind: "line"; readonly bytes: Buffer }
  /** The line was too long to be held. */
  | { readonly kind: "lost" };

export class Lines {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #held = 0;
  #isLost = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that end in this chunk. */
  *push(chunk: Buffer): Generator<Line> {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      yield this.#end(chunk.subarray(start, end));
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  #end(last: Buffer): Line {
    this.#keep(last);
    const [only = Buffer.alloc(0), ...more] = this.#parts;
    const line: Line = this.#isLost
      ? { kind: "lost" }
      : { kind: "line", bytes: more.length === 0 ? only : Buffer.concat(this.#parts, this.#held) };
    this.#parts = [];
    this.#held = 0;
    this.#isLost = false;
    return line;
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#held += part.length;
    if (this.#held > this.#maxBytes) {
      this.#isLost = true;
      this.#parts = [];
    }
    if (!this.#isLost) this.#parts.push(part);
  }
}
