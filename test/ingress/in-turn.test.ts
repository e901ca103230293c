/** Requests that a caller pipelines on one connection: begun one after the other, and none for a caller that has left. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { test } from "node:test";
import { inTurn } from "../../src/ingress/in-turn.ts";

const patient = { timeout: 10_000 };

interface World extends AsyncDisposable {
  readonly caller: Socket;
  /** Targets in the order in which they were begun. */
  readonly begun: string[];
  /** Resolves with the answer to write for the n-th that was begun. */
  nth(n: number): Promise<ServerResponse>;
  send(...targets: readonly string[]): void;
  /** Resolves with all that came once the words are in it. */
  until(words: string): Promise<string>;
}

const start = async (): Promise<World> => {
  const begun: string[] = [];
  const responses: ServerResponse[] = [];
  const turns = inTurn(
    (request, response) => {
      begun.push(request.url ?? "");
      responses.push(response);
      server.emit("begun");
    },
    (request, socket, head) => {
      begun.push(request.url ?? "");
      socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\nheard ${head.toString()}`);
    },
  );
  const server = createServer(turns.onRequest);
  server.on("upgrade", turns.onUpgrade);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  const caller = connect(port, "127.0.0.1");
  caller.on("error", () => undefined);
  await once(caller, "connect");
  let text = "";
  caller.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    caller,
    begun,
    async nth(n) {
      for (let found = responses[n - 1]; ; found = responses[n - 1]) {
        if (found !== undefined) return found;
        await once(server, "begun");
      }
    },
    send: (...targets) =>
      void caller.write(targets.map((one) => `GET ${one} HTTP/1.1\r\nHost: a\r\n\r\n`).join("")),
    async until(words) {
      while (!text.includes(words)) await once(caller, "data");
      return text;
    },
    async [Symbol.asyncDispose]() {
      caller.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
};

test("each is begun when the answer before it is over", patient, async () => {
  await using world = await start();
  world.send("/a", "/b", "/c");
  for (const [at, target] of ["/a", "/b", "/c"].entries()) {
    const response = await world.nth(at + 1);
    assert.equal(world.begun.join(), "/a,/b,/c".slice(0, at * 3 + 2));
    response.end(`answer to ${target}`);
    await world.until(`answer to ${target}`);
  }
  world.send("/d");
  (await world.nth(4)).end("the last");
  const text = await world.until("the last");
  assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 4);
});

test("none is begun for a caller that has left", patient, async () => {
  await using world = await start();
  world.send("/a", "/b");
  const first = await world.nth(1);
  world.caller.destroy();
  await once(first, "close");
  assert.deepEqual(world.begun, ["/a"]);
});

test("none is begun behind an answer that closes the connection", patient, async () => {
  await using world = await start();
  world.send("/a", "/b");
  const first = await world.nth(1);
  first.setHeader("Connection", "close").end();
  await once(world.caller, "close");
  assert.deepEqual(world.begun, ["/a"]);
});

test("a caller that sends any number of them is cut", patient, async () => {
  await using world = await start();
  const targets = Array.from({ length: 18 }, (_none, at) => `/${at}`);
  world.send(...targets.slice(0, 17));
  const first = await world.nth(1);
  first.end("first");
  (await world.nth(2)).end("second");
  await world.until("second");
  const third = await world.nth(3);
  world.send(...targets, ...targets);
  await once(world.caller, "close");
  assert.ok(third.destroyed);
  assert.deepEqual(world.begun, ["/0", "/1", "/2"]);
});

const upgrade = "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: it\r\nConnection: Upgrade\r\n\r\n";

test(
  "an upgrade behind a request that is still being answered cuts the connection",
  patient,
  async () => {
    await using world = await start();
    world.send("/a", "/b");
    const first = await world.nth(1);
    world.caller.write(`${upgrade}bytes`);
    await once(first, "close");
    await once(world.caller, "close");
    assert.deepEqual(world.begun, ["/a"]);
  },
);

test("an upgrade behind answers that are over is begun", patient, async () => {
  await using world = await start();
  world.send("/a");
  (await world.nth(1)).end("first");
  await world.until("first");
  world.caller.write(`${upgrade}bytes`);
  await world.until("heard bytes");
  assert.deepEqual(world.begun, ["/a", "/socket"]);
});
