/** Messages of one socket, taken one at a time: the socket is paused while one waits, so a sender cannot fill memory. */
import type { RawData, WebSocket } from "ws";
import { toBuffer } from "../../lib/web-socket.ts";

export class Inbox {
  readonly #socket: WebSocket;
  readonly #waiting: string[] = []; // bounded by one read of the socket, which is paused from the first on
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: RawData) => {
      this.#waiting.push(toBuffer(data).toString());
      if (this.#socket.readyState === this.#socket.OPEN) this.#socket.pause();
      this.#wake?.();
    });
    socket.once("close", () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** The next message; undefined once the socket is closed or `signal` aborts. */
  async next(signal: AbortSignal): Promise<string | undefined> {
    for (;;) {
      const text = this.#waiting.shift();
      if (text !== undefined) return text;
      if (this.#closed || signal.aborted) return undefined;
      this.#socket.resume();
      await this.#woken(signal);
    }
  }

  /** Reads on without keeping anything, so that pings and the closing handshake are seen. */
  discard(): void {
    this.#waiting.length = 0;
    this.#socket.removeAllListeners("message");
    this.#socket.resume();
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#wake = undefined;
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#wake = done;
      signal.addEventListener("abort", done);
    });
  }
}
