/** What waits of a WebSocket's messages is bounded by what it costs: thousands of empty ones are not for nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { createHold } from "../../src/carry/hold.ts";
import { createPump } from "../../src/carry/pump.ts";
import { eventually } from "../support/rig.ts";

const kib = 1024;
const clock = { now: () => Date.now(), monotonic: () => performance.now() };

interface Pair {
  /** The server's end. */
  readonly socket: WebSocket;
  readonly peer: WebSocket;
}

class Sockets implements AsyncDisposable {
  readonly #server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });

  async open(): Promise<Pair> {
    if (this.#server.address() === null) await once(this.#server, "listening");
    const { port } = this.#server.address() as AddressInfo; // a TCP server's address is one
    const connected = once(this.#server, "connection");
    const peer = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
    const [socket] = await connected;
    await once(peer, "open");
    return { socket, peer };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }
}

/** The peer reads no more, and the system takes no more for it; resolves with what waits here. */
const fillSystem = async ({ socket, peer }: Pair): Promise<number> => {
  peer.pause();
  while (socket.bufferedAmount === 0) {
    socket.send(Buffer.alloc(64 * kib));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return socket.bufferedAmount;
};

/** Sends empty messages until `isEnough`, leaving the loop to others between them. */
const flood = async (peer: WebSocket, isEnough: () => boolean): Promise<void> => {
  while (!isEnough()) {
    for (let nth = 0; nth < 2_000 && peer.bufferedAmount < 64 * kib; nth++) peer.send("");
    await new Promise((resolve) => setImmediate(resolve));
  }
};

test("a sender of empty messages is held back by a receiver that takes none", async () => {
  await using sockets = new Sockets();
  const from = await sockets.open();
  const to = await sockets.open();
  const before = await fillSystem(to);
  const pump = createPump(from.socket, to.socket, {
    clock,
    maxWaitingBytes: 1_024 * kib,
    stallMs: 60_000,
    waits: () => undefined,
    stalled: () => undefined,
  });
  from.socket.on("message", pump.push);
  await flood(from.peer, () => from.socket.isPaused);
  const waiting = to.socket.bufferedAmount - before;
  pump.stop();
  assert.ok(waiting < 100 * kib, `${waiting} bytes of empty messages wait`);
});

test("a caller's empty messages are held for its agent up to a bound", async () => {
  await using sockets = new Sockets();
  const { socket, peer } = await sockets.open();
  let messages = 0;
  const hold = createHold(socket, () => [], 64 * kib);
  socket.on("message", () => {
    messages += 1;
  });
  await flood(peer, () => socket.isPaused || messages > 100_000);
  assert.ok(messages < 50_000, `${messages} messages are held`);
  let taken = 0;
  hold.release(() => {
    taken += 1;
  });
  await eventually("those that were sent have come", () => taken > messages / 2);
});
