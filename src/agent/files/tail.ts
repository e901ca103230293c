/** Reads one open file as it grows and hands its bytes on in frames; knows truncation. Used by `stream` and `logs`. */
import type { FileHandle } from "node:fs/promises";
import type { FileEvent } from "../../logs/frame.ts";
import { maxFrameBytes } from "../../logs/marks.ts";
import type { Life } from "./life.ts";
import type { Sink } from "./sinks.ts";

/** While following, a frame that is not full waits until this long after the last one: many small writes are one frame. */
const batchMs = 200;

export interface TailOptions {
  readonly handle: FileHandle;
  /** `File` of the frames. */
  readonly file: string;
  readonly start: number;
  /** The file's size when it was last seen. */
  readonly size: number;
  /** Small writes are batched. */
  readonly follow: boolean;
  readonly sink: Sink;
  readonly life: Life;
}

/** Where one open file was read to. Its handle belongs to who made it. */
export class Tail {
  readonly #options: TailOptions;
  #position: number;
  #size: number;
  #event: FileEvent | undefined;
  /** It was seen to be shorter than what was read of it; it may have grown since. */
  #hasShrunk = false;
  #buffer: Buffer | undefined;
  #sentMs = Number.NEGATIVE_INFINITY;

  constructor(options: TailOptions) {
    this.#options = options;
    this.#position = options.start;
    this.#size = options.size;
  }

  get position(): number {
    return this.#position;
  }

  /** Sends all there is up to the end the file has now; false when the life has ended. */
  async drain(): Promise<boolean> {
    await this.#measure();
    while (!this.#options.life.over) {
      if (this.#hasShrunk) await this.#measure();
      const left = Math.max(0, this.#size - this.#position);
      if (left === 0 && this.#event === undefined) {
        this.#buffer = undefined; // an idle tail holds no memory
        return true;
      }
      if (left < maxFrameBytes && (await this.#paused())) await this.#measure();
      else if (!(await this.#send(left))) return false;
    }
    return false;
  }

  /** Tells an event of its own frame, behind what was sent. */
  tell(event: FileEvent): Promise<boolean> {
    const { file, sink } = this.#options;
    const end = this.#position;
    return sink.send({ file, bytes: Buffer.alloc(0), end, event, size: this.#size });
  }

  /** Looks whether the file has become shorter than what was read of it: a slow reader may measure it when it has grown again. */
  async look(): Promise<void> {
    const position = this.#position;
    const { size } = await this.#options.handle.stat();
    const isAsBefore = position <= this.#position; // it was not begun anew meanwhile
    if (isAsBefore && size < this.#size && size < position) this.#hasShrunk = true;
  }

  async #measure(): Promise<void> {
    const { size } = await this.#options.handle.stat();
    if (this.#hasShrunk || (size < this.#size && size < this.#position)) {
      this.#hasShrunk = false;
      this.#position = 0;
      this.#event = "file truncated";
      this.#sentMs = performance.now(); // its new data usually follows at once
    }
    this.#size = size;
  }

  /** Waits until a frame that is not full may be sent; false when it may be at once. */
  async #paused(): Promise<boolean> {
    const { follow, life } = this.#options;
    const waitMs = this.#sentMs + batchMs - performance.now();
    if (!follow || waitMs <= 0) return false;
    await life.pause(waitMs);
    return true;
  }

  async #send(left: number): Promise<boolean> {
    const { handle, file, sink } = this.#options;
    const length = Math.min(maxFrameBytes, left);
    if (this.#buffer === undefined || this.#buffer.length < length)
      this.#buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await handle.read(this.#buffer, 0, length, this.#position);
    if (bytesRead === 0 && this.#event === undefined) {
      this.#size = this.#position; // shorter than it was: measured anew by the next drain
      return true;
    }
    this.#position += bytesRead;
    const event = this.#event;
    this.#event = undefined;
    this.#sentMs = performance.now();
    const bytes = this.#buffer.subarray(0, bytesRead);
    return sink.send({ file, bytes, end: this.#position, event, size: this.#size });
  }
}
