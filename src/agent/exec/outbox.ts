/** The sending side of one socket: holds its source back above 1 MiB and gives up on a reader that stands still. */
import type { WebSocket } from "ws";
import { GatewayError } from "../../errors.ts";

const maxBufferedBytes = 1024 * 1024;
export const stalledAfterMs = 60_000;
/** Tells the pong that is waited for from those of other pings. */
const mark = Buffer.from("taken");

export class Outbox {
  readonly #socket: WebSocket;
  readonly #stalledAfterMs: number;
  #wake: (() => void)[] = [];

  constructor(socket: WebSocket, stalledMs: number = stalledAfterMs) {
    this.#socket = socket;
    this.#stalledAfterMs = stalledMs;
    socket.once("close", () => this.#wakeAll());
  }

  get blocked(): boolean {
    return this.#wake.length > 0;
  }

  /** Resolves when more may be sent; throws `client_too_slow` after the time without progress. */
  async send(text: string): Promise<void> {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(text, () => this.#wakeAll());
    while (this.#isFull()) await this.#progress();
  }

  /** Resolves when the reader has taken all that was sent, as its pong behind that tells, or has left. */
  async taken(): Promise<void> {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.on("pong", (data: Buffer) => data.equals(mark) && resolve());
    this.#socket.once("close", resolve);
    this.#socket.ping(mark);
    await promise;
  }

  #isFull(): boolean {
    return (
      this.#socket.readyState === this.#socket.OPEN &&
      this.#socket.bufferedAmount > maxBufferedBytes
    );
  }

  #progress(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(
            new GatewayError("client_too_slow", {
              limit: `${this.#stalledAfterMs / 1000} seconds`,
            }),
          ),
        this.#stalledAfterMs,
      );
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #wakeAll(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}
