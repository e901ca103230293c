/**
 * How long an answer lives: until its signal aborts or its response closes, whichever is first. Every wait of a stream
 * ends with it. Also the one place that waits for a slow reader.
 */
import type { ServerResponse } from "node:http";

/** Disposing only takes the listeners off; it ends nothing. */
export class Life implements Disposable {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;
  readonly #ended = new Set<() => void>();
  readonly #end = (): void => {
    for (const tell of this.#ended) tell();
    this.#ended.clear();
  };
  readonly #broken = (): void => {}; // what breaks a response also closes it

  constructor(response: ServerResponse, signal: AbortSignal) {
    this.#response = response;
    this.#signal = signal;
    response.on("error", this.#broken);
    response.once("close", this.#end);
    signal.addEventListener("abort", this.#end, { once: true });
  }

  get over(): boolean {
    return this.#signal.aborted || this.#response.destroyed || this.#response.closed;
  }

  /** Calls `tell` once when the life ends (soon, when it has); the answer takes it back. */
  onEnd(tell: () => void): () => void {
    if (this.over) queueMicrotask(tell);
    else this.#ended.add(tell);
    return () => this.#ended.delete(tell);
  }

  /** Waits until the reader has room again. */
  drained(): Promise<void> {
    const response = this.#response;
    return new Promise((resolve) => {
      const done = (): void => {
        response.off("drain", done);
        forget();
        resolve();
      };
      response.once("drain", done);
      const forget = this.onEnd(done);
    });
  }

  /** Waits so long, or until the end. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        forget();
        resolve();
      };
      const timer = setTimeout(done, ms);
      const forget = this.onEnd(done);
    });
  }

  [Symbol.dispose](): void {
    this.#response.off("close", this.#end);
    this.#signal.removeEventListener("abort", this.#end);
    this.#ended.clear();
    // the `error` listener stays: a write that fails late must not end the process
  }
}

/** Something to wait for that can ring before anyone waits; a ring is kept, many are one. */
export class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  readonly ring = (): void => {
    this.#rung = true;
    this.#wake?.();
  };

  /** Resolves at the next ring, or the last unheard one, and takes it away. */
  async heard(): Promise<void> {
    if (!this.#rung)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    this.#wake = undefined;
    this.#rung = false;
  }
}
