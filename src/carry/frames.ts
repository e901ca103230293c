/** The frames that an agent sends (nomad-http.md §8.6): JSON objects back to back, cut from bytes that come as they like. */
import { GatewayError } from "../errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../lib/json.ts";

/** 64 KiB of data as base64, and a path. */
const maxFrameBytes = 128 * 1024;
const maxWords = 200;
const [quote, backslash, open, close] = [0x22, 0x5c, 0x7b, 0x7d];
const none = Buffer.alloc(0);

export interface Frame {
  /** As it came. */
  readonly bytes: Buffer;
  readonly object: JsonObject;
}

/** Throws `upstream_invalid`: what is no frame is an agent's last words, or worse. */
export class Frames {
  readonly #node: string;
  /** What has come of the next frame. */
  #rest: Buffer = none;
  /** How far that was looked through. */
  #at = 0;
  #isInString = false;
  #isOpen = false;

  constructor(node: string) {
    this.#node = node;
  }

  /** The frames that are whole now. */
  *cut(chunk: Buffer): Generator<Frame, void> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = this.#end();
      if (end < 0) break;
      const bytes = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      this.#at = 0;
      this.#isOpen = false;
      yield { bytes, object: this.#parsed(bytes) };
    }
    if (this.#rest.length > maxFrameBytes) throw this.#invalid("a frame is too long");
  }

  /** True when nothing of a frame is left over. */
  get isClean(): boolean {
    return this.#rest.length === 0;
  }

  #invalid(reason: string): GatewayError {
    return new GatewayError("upstream_invalid", { node: this.#node, reason });
  }

  #parsed(bytes: Buffer): JsonObject {
    try {
      const object = parseJson(bytes.toString());
      if (isJsonObject(object)) return object;
    } catch {
      // said below
    }
    throw this.#invalid("a frame is no JSON");
  }

  /** Behind the object's brace; -1 when that has not come. */
  #end(): number {
    const bytes = this.#rest;
    while (this.#at < bytes.length) {
      if (this.#isInString) this.#leaveString(bytes);
      else if (this.#isEnd(bytes[this.#at++])) return this.#at;
    }
    return -1;
  }

  /** Takes a byte outside of strings. Objects in objects are not frames. */
  #isEnd(byte: number | undefined): boolean {
    if (byte === open && !this.#isOpen) this.#isOpen = true;
    else if (byte === open || !this.#isOpen) throw this.#invalid(`it said ${this.#words()}`);
    else if (byte === quote) this.#isInString = true;
    return byte === close;
  }

  /** Up to its closing quote, or to the end of what has come. */
  #leaveString(bytes: Buffer): void {
    const at = bytes.indexOf(quote, this.#at);
    this.#at = at < 0 ? bytes.length : at + 1;
    if (at < 0) return;
    let before = at;
    while (bytes[before - 1] === backslash) before -= 1;
    this.#isInString = (at - before) % 2 === 1;
  }

  #words(): string {
    return JSON.stringify(this.#rest.subarray(0, maxWords).toString());
  }
}
