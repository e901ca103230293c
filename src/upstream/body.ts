/**
 * Where a body ends (RFC 9112 §6, §7): bytes come in as they were cut, what is body goes out, once; or, for whoever sends it on in chunks,
 * the chunks that it came in.
 */
import { type Framing, InvalidAnswer, isField } from "./head.ts";

/** Of the bytes between the two places so many are body. */
type Take = (from: number, to: number, payload: number) => void;

export interface Body {
  /**
   * Takes bytes from `at` on and gives what is body among them to `take`; returns where it stopped: the end of the bytes, or
   * behind the body's last byte when it is over. Throws InvalidAnswer.
   */
  read(bytes: Buffer, at: number, take: Take): number;
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
  read(bytes: Buffer, at: number, take: Take): number {
    const to = Math.min(bytes.length, at + this.#left);
    if (to > at) {
      this.#left -= to - at;
      take(at, to, to - at);
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

  read(bytes: Buffer, from: number, take: Take): number {
    let at = from;
    while (at < bytes.length && this.#place !== "over") {
      if (this.#place === "data") {
        const to = this.#dataEnd(bytes, at);
        take(at, to, to - at);
        at = to;
      } else if (this.#takes(bytes[at] ?? 0)) at += 1;
      else throw malformed();
    }
    return at;
  }

  /**
   * As `read`, but gives whole stretches of chunks with their framing, as they came. The last chunk is whoever's who sends them on: it is left out
   * with its trailers, and so are zeros before a size, of which it is not known yet whether they are its own.
   */
  relay(bytes: Buffer, from: number, take: Take): number {
    let [at, given, payload] = [from, from, 0];
    const give = (to: number): void => {
      if (to > given) take(given, to, payload);
      payload = 0;
    };
    while (at < bytes.length && this.#place !== "over") {
      if (this.#place === "data") {
        const to = this.#dataEnd(bytes, at);
        payload += to - at;
        at = to;
        continue;
      }
      if (!this.#takes(bytes[at] ?? 0)) {
        give(at); // as `read` has given what came before
        throw malformed();
      }
      at += 1;
      if (this.#isBehindZero) {
        give(at - 1);
        given = at;
      }
    }
    give(at);
    return at;
  }

  /** Where the chunk ends, or what has come of it. */
  #dataEnd(bytes: Buffer, at: number): number {
    const to = Math.min(bytes.length, at + this.#size);
    this.#size -= to - at;
    if (this.#size === 0) this.#place = "data-cr";
    return to;
  }

  /** The byte that was read is a zero at the beginning of a size, or belongs to the last chunk. */
  get #isBehindZero(): boolean {
    return this.#size === 0 && this.#digits > 0 && this.#place !== "data-lf";
  }

  #isExpected(byte: number, expected: number, then: Place): boolean {
    this.#place = then;
    return byte === expected;
  }

  /** Takes a byte of the framing. False: it is none, and there is no going on. */
  #takes(byte: number): boolean {
    switch (this.#place) {
      case "size":
        return this.#takesSize(byte);
      case "size-lf":
        return this.#isExpected(byte, lf, this.#size === 0 ? "line" : "data");
      case "data-cr":
        return this.#isExpected(byte, cr, "data-lf");
      case "data-lf":
        this.#digits = 0;
        this.#size = 0;
        return this.#isExpected(byte, lf, "size");
      case "line":
        return this.#takesLine(byte);
      case "line-lf": {
        const then = this.#line === "" ? "over" : "line";
        this.#line = "";
        return this.#isExpected(byte, lf, then);
      }
      case "data":
      case "over":
        return false; // never asked for there
    }
  }

  #takesSize(byte: number): boolean {
    const digit = hexOf(byte);
    if (digit < 0) return this.#digits > 0 && this.#isExpected(byte, cr, "size-lf");
    this.#digits += 1;
    this.#size = this.#size * 16 + digit;
    return this.#digits <= maxDigits;
  }

  /** Trailers are dropped; that they are header lines, and not many, is not left to whoever sends them. */
  #takesLine(byte: number): boolean {
    this.#trailerBytes += 1;
    if (this.#trailerBytes > maxTrailerBytes) return false;
    if (byte !== cr) {
      this.#line += String.fromCharCode(byte);
      return true;
    }
    if (this.#line !== "" && !isTrailer(this.#line)) return false;
    this.#place = "line-lf";
    return true;
  }
}

class Relayed implements Body {
  readonly #chunked = new Chunked();

  get isOver(): boolean {
    return this.#chunked.isOver;
  }
  read(bytes: Buffer, at: number, take: Take): number {
    return this.#chunked.relay(bytes, at, take);
  }
}

/** `inChunks`: with their framing, where it has chunks. */
export const bodyOf = (framing: Framing, inChunks = false): Body => {
  if (framing.kind === "length") return new Counted(framing.bytes);
  return inChunks ? new Relayed() : new Chunked();
};
