/** The verdict of Node's own parser (llhttp) on the bytes of an answer: what nobody may read a longer body from. */
import { request } from "node:http";
import { Duplex } from "node:stream";

export type Verdict =
  | { readonly ok: true; readonly status: number; readonly body: string }
  | { readonly ok: false };

/** A connection whose other end says these pieces, one after the other, and ends. */
class Saying extends Duplex {
  readonly #pieces: Buffer[];
  constructor(pieces: readonly Buffer[]) {
    super();
    this.#pieces = [...pieces];
  }
  override _read(): void {
    setImmediate(() => this.push(this.#pieces.shift() ?? null));
  }
  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done();
  }
  // node:http asks these of a socket
  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

export const llhttpVerdict = (pieces: readonly Buffer[]): Promise<Verdict> =>
  new Promise((resolve) => {
    const sent = request({
      createConnection: () => new Saying(pieces) as never, // it is no socket, and has what is asked of one
      host: "agent",
      insecureHTTPParser: false,
    });
    sent.on("error", () => resolve({ ok: false })); // a verdict that was given stays
    sent.once("response", (answer) => {
      let body = "";
      answer.setEncoding("latin1");
      answer.on("error", () => undefined);
      answer.on("data", (piece: string) => {
        body += piece;
      });
      answer.once("end", () => resolve({ ok: true, status: answer.statusCode ?? 0, body }));
      answer.once("close", () => resolve({ ok: false }));
    });
    sent.end();
  });
