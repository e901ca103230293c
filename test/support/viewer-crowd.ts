/**
 * Viewers of one followed log in a process of their own: each opens a socket and keeps a hash of the log's bytes that it gets.
 * Its parent says which to open, and is told the hashes once each has so many bytes.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { z } from "zod";

const order = z.object({
  port: z.number(),
  token: z.string(),
  allocation: z.string(),
  /** Queries, one a viewer. */
  queries: z.array(z.string()),
});
export type CrowdOrder = z.output<typeof order>;
/** By query, what each of its viewers is to have. */
const want = z.record(z.string(), z.number());
export type Wanted = z.output<typeof want>;
export const said = z.union([
  z.object({ open: z.number() }),
  z.object({ lost: z.string() }),
  /** How many viewers had which hash, by query. */
  z.object({ hashes: z.record(z.string(), z.record(z.string(), z.number())) }),
]);

const openAtOnce = 64;
const headEnd = "\r\n\r\n";
const none = Buffer.alloc(0);

class View {
  readonly query: string;
  readonly #isPlain: boolean;
  readonly #hash = createHash("sha256");
  #rest = none;
  bytes = 0;

  constructor(query: string) {
    this.query = query;
    this.#isPlain = query.includes("plain=true");
  }

  get digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Of the body. */
  take(came: Buffer): void {
    let rest = this.#rest.length === 0 ? came : Buffer.concat([this.#rest, came]);
    for (;;) {
      const line = rest.indexOf("\r\n");
      const size = line < 0 ? 0 : Number.parseInt(rest.toString("latin1", 0, line), 16);
      if (line < 0 || rest.length < line + 4 + size) break;
      this.#piece(rest.subarray(line + 2, line + 2 + size));
      rest = rest.subarray(line + 4 + size);
    }
    this.#rest = Buffer.from(rest);
  }

  #piece(piece: Buffer): void {
    const { Data: data } = this.#isPlain ? { Data: undefined } : JSON.parse(piece.toString());
    const bytes = this.#isPlain
      ? piece
      : Buffer.from(typeof data === "string" ? data : "", "base64");
    this.#hash.update(bytes);
    this.bytes += bytes.length;
  }
}

const run = async (): Promise<void> => {
  process.once("disconnect", () => process.exit());
  const [ordered] = await once(process, "message");
  const { port, token, allocation, queries } = order.parse(ordered);
  const views: View[] = [];

  const open = (query: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const view = new View(query);
      views.push(view);
      let head: Buffer | undefined = none;
      const socket = connect(port, "127.0.0.1");
      socket.on("data", (bytes: Buffer) => {
        if (head === undefined) {
          view.take(bytes);
          return;
        }
        head = Buffer.concat([head, bytes]);
        const end = head.indexOf(headEnd);
        if (end < 0) return;
        if (head.toString("latin1", 0, 12) !== "HTTP/1.1 200") reject(new Error(head.toString()));
        view.take(head.subarray(end + headEnd.length));
        head = undefined;
        resolve();
      });
      socket.on("error", reject);
      socket.once("close", () => process.send?.({ lost: head === undefined ? "cut" : "refused" }));
      socket.write(
        `GET /v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&${query} HTTP/1.1\r\nHost: crowd\r\nX-Nomad-Token: ${token}\r\n\r\n`,
      );
    });

  const hashes = (): Record<string, Record<string, number>> => {
    const found: Record<string, Record<string, number>> = {};
    for (const { query, digest } of views) {
      const ofQuery = found[query] ?? {};
      found[query] = ofQuery;
      ofQuery[digest] = (ofQuery[digest] ?? 0) + 1;
    }
    return found;
  };

  process.on("message", (message) => {
    const wanted = want.parse(message);
    const looking = setInterval(() => {
      if (views.some(({ query, bytes }) => bytes < (wanted[query] ?? 0))) return;
      clearInterval(looking);
      process.send?.({ hashes: hashes() });
    }, 50);
  });

  const waiting = queries.values();
  const openSome = async (): Promise<void> => {
    for (const query of waiting) await open(query);
  };
  await Promise.all(Array.from({ length: openAtOnce }, openSome));
  process.send?.({ open: views.length });
};

if (process.send) await run();
