/** Where a body ends (RFC 9112 §6, §7): bytes come in as they were cut, what is body goes out, once. */
import { type Framing, InvalidAnswer, isField } from "./head.ts";

export interface Body {
  /**
   * Takes bytes from `at` on and gives what is body among them to `take`; returns where it stopped: the end of the bytes, or
   * behind the body's last byte when it is over. Throws InvalidAnswer.
   */
  read(bytes: Buffer, at: number, take: (from: number, to: number) => void): number;
  readonly isOver: boolean;
}

class Counted implements Body {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }
  get isOver(): boolean {
    return this.#left === 0;
  }
  read(bytes: Buffer, at: number, take: (from: number, to: number) => void): number {
    const to = Math.min(bytes.length, at + this.#left);
    if (to > at) {
      this.#left -= to - at;
      take(at, to);
    }
    return to;
  }
}

const cr = 13;
const lf = 10;
/** Digits of a chunk's size: beyond this no size is believed. */
const maxDigits = 12;
/** Bytes of all trailer lines, which are dropped. */
const maxTrailerBytes = 8 * 1024;

/** -1 for what is no digit. */
const hexOf = (byte: number): number => {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
};

/** No trailer may say how a message is framed (RFC 9110 §6.5.1). */
const framing = /^(?:content-length|transfer-encoding)[ \t]*:/i;
const isTrailer = (line: string): boolean => isField(line) && !framing.test(line);

const malformed = (): InvalidAnswer => new InvalidAnswer("its chunks are not proper");

/** What the next byte is. `line`: of a trailer, or the CR of the empty line behind them. */
type Place = "size" | "size-lf" | "data" | "data-cr" | "data-lf" | "line" | "line-lf" | "over";

/** No extensions: nobody sends any, and readers have understood them differently. */
class Chunked implements Body {
  #place: Place = "size";
  #size = 0;
  #digits = 0;
  #line = "";
  #trailerBytes = 0;

  get isOver(): boolean {
    return this.#place === "over";
  }

  read(bytes: Buffer, from: number, take: (from: number, to: number) => void): number {
    let at = from;
    while (at < bytes.length && this.#place !== "over") {
      if (this.#place !== "data") {
        this.#framing(bytes[at] ?? 0);
        at += 1;
        continue;
      }
      const to = Math.min(bytes.length, at + this.#size);
      this.#size -= to - at;
      if (this.#size === 0) this.#place = "data-cr";
      take(at, to);
      at = to;
    }
    return at;
  }

  #expect(byte: number, expected: number, then: Place): void {
    if (byte !== expected) throw malformed();
    this.#place = then;
  }

  #framing(byte: number): void {
    switch (this.#place) {
      case "size":
        this.#sizeByte(byte);
        break;
      case "size-lf":
        this.#expect(byte, lf, this.#size === 0 ? "line" : "data");
        break;
      case "data-cr":
        this.#expect(byte, cr, "data-lf");
        break;
      case "data-lf":
        this.#digits = 0;
        this.#size = 0;
        this.#expect(byte, lf, "size");
        break;
      case "line":
        this.#lineByte(byte);
        break;
      case "line-lf":
        this.#expect(byte, lf, this.#line === "" ? "over" : "line");
        this.#line = "";
        break;
      case "data":
      case "over":
        throw malformed(); // never asked for there
    }
  }

  #sizeByte(byte: number): void {
    const digit = hexOf(byte);
    if (digit < 0 && this.#digits > 0) {
      this.#expect(byte, cr, "size-lf");
      return;
    }
    this.#digits += 1;
    if (digit < 0 || this.#digits > maxDigits) throw malformed();
    this.#size = this.#size * 16 + digit;
  }

  /** Trailers are dropped; that they are header lines, and not many, is not left to whoever sends them. */
  #lineByte(byte: number): void {
    this.#trailerBytes += 1;
    if (this.#trailerBytes > maxTrailerBytes) throw malformed();
    if (byte !== cr) this.#line += String.fromCharCode(byte);
    else if (this.#line === "" || isTrailer(this.#line)) this.#place = "line-lf";
    else throw malformed();
  }
}

export const bodyOf = (framing: Framing): Body =>
  framing.kind === "chunked" ? new Chunked() : new Counted(framing.bytes);
