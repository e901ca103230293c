/**
 * A long and narrow path, as a process: each direction passes so many bits a second and delivers them half a round trip
 * later. All connections share it. `node shaping-relay.ts <port behind> <Mbit/s> <round trip in ms>`.
 */
import { connect, createServer, type Socket } from "node:net";

const [behind = 0, mbitPerSecond = 100, roundTripMs = 50] = process.argv.slice(2).map(Number);
const bytesPerMs = (mbitPerSecond * 1e6) / 8 / 1_000;
/** What the narrow place lets through at once, and what may wait before it: a router's few milliseconds. */
const burstBytes = 4 * bytesPerMs;
const queueBytes = 20 * bytesPerMs;
/** What the far end's kernel would take of an application that does not read. */
const receiveBytes = 2 ** 22;

interface Parcel {
  readonly to: Socket;
  /** Undefined: the end of what is sent. */
  readonly bytes: Buffer | undefined;
  dueMs: number;
}

/** One direction of the path. */
class Direction {
  readonly #waiting: Parcel[] = [];
  readonly #flying: Parcel[] = [];
  readonly #stopped = new Set<Socket>();
  #waitingBytes = 0;
  #credit = burstBytes;
  #atMs = performance.now();

  take(from: Socket, to: Socket, bytes: Buffer | undefined): void {
    this.#waiting.push({ to, bytes, dueMs: 0 });
    this.#waitingBytes += bytes?.length ?? 0;
    if (this.#waitingBytes < queueBytes && to.writableLength < receiveBytes) return;
    from.pause();
    this.#stopped.add(from);
  }

  turn(nowMs: number): void {
    this.#credit = Math.min(burstBytes, this.#credit + (nowMs - this.#atMs) * bytesPerMs);
    this.#atMs = nowMs;
    while (this.#credit > 0) {
      const parcel = this.#waiting.shift();
      if (parcel === undefined) break;
      parcel.dueMs = nowMs + roundTripMs / 2;
      this.#credit -= parcel.bytes?.length ?? 0;
      this.#waitingBytes -= parcel.bytes?.length ?? 0;
      this.#flying.push(parcel);
    }
    while ((this.#flying[0]?.dueMs ?? nowMs + 1) <= nowMs) deliver(this.#flying.shift());
    if (this.#waitingBytes >= queueBytes) return;
    for (const from of this.#stopped)
      if ((others.get(from)?.writableLength ?? 0) < receiveBytes) {
        this.#stopped.delete(from);
        from.resume();
      }
  }
}

const others = new Map<Socket, Socket>();

const deliver = (parcel: Parcel | undefined): void => {
  if (parcel === undefined || parcel.to.destroyed) return;
  if (parcel.bytes === undefined) parcel.to.end();
  else parcel.to.write(parcel.bytes);
};

const there = new Direction();
const back = new Direction();

const join = (from: Socket, to: Socket, direction: Direction): void => {
  others.set(from, to);
  from.on("data", (bytes) => direction.take(from, to, bytes));
  from.once("end", () => direction.take(from, to, undefined));
  from.on("error", () => to.destroy());
  from.once("close", () => {
    others.delete(from);
    to.destroySoon();
  });
};

const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
  const far = connect({ port: behind, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
  join(near, far, there);
  join(far, near, back);
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" ? address?.port : 0 });
});
setInterval(() => {
  const nowMs = performance.now();
  there.turn(nowMs);
  back.turn(nowMs);
}, 1);
process.once("disconnect", () => process.exit());
