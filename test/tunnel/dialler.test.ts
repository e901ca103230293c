/** Which gateway an agent dials, and when. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { createDialler } from "../../src/tunnel/dialler.ts";
import { eventually } from "../support/rig.ts";

interface Door extends AsyncDisposable {
  readonly address: string;
  /** Hellos that it has answered. */
  readonly heard: number;
}

/** A gateway that lets no tunnel in. */
const refusing = async (status: number): Promise<Door> => {
  let heard = 0;
  const server = createServer();
  server.on("upgrade", (_request, socket) => {
    heard += 1;
    socket.on("error", () => socket.destroy()); // an agent that is told to stop leaves at once
    socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  assert.ok(at !== null && typeof at === "object");
  return {
    address: `http://127.0.0.1:${at.port}`,
    get heard() {
      return heard;
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
};

const note = (): void => {};

test("a gateway that refuses does not keep an agent from another that was away", async () => {
  await using away = await refusing(503);
  await using refuses = await refusing(403);
  const dialler = createDialler(
    { log: { debug: note, info: note, warn: note, error: note }, accept: note, random: () => 0 },
    {
      gateways: [away.address, refuses.address],
      nodeId: randomUUID(),
      joinToken: "join-me",
      ca: undefined,
      firstRetryMs: 10,
    },
  );
  try {
    await eventually("it is dialled again and again", () => away.heard >= 3);
  } finally {
    await dialler.close(AbortSignal.abort());
  }
});
