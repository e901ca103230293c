/** Kept connections to an agent, on real sockets: bounded, used again, and memory that two answers share only in turn. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { feed } from "../../src/reach/connector.ts";
import type { Receiver } from "../../src/upstream/connection.ts";
import {
  createPool,
  type Open,
  type Pool,
  type PoolOptions,
  requestText,
} from "../../src/upstream/pool.ts";
import { until } from "../support/processes.ts";

interface Behind extends AsyncDisposable {
  readonly pool: Pool;
  /** Connections that the agent has taken, open or not. */
  readonly taken: readonly Socket[];
}

/** How a connection's bytes come: read into the pool's memory, or in pieces of a stream (TLS, tunnels). */
type Dial = (port: number) => Open;

const asSocket: Dial = (port) => (intake, opened) => {
  const onread = { buffer: intake.buffer, callback: intake.came };
  const socket = connect({ host: "127.0.0.1", port, onread });
  socket.once("error", (error) => opened(error, null));
  socket.once("connect", () => opened(null, socket));
};

const asStream: Dial = (port) => (intake, opened) => {
  const socket = connect({ host: "127.0.0.1", port });
  socket.once("error", (error) => opened(error, null));
  socket.once("connect", () => {
    feed(socket, intake);
    opened(null, socket);
  });
};

const behind = async (
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  given: Partial<PoolOptions> = {},
  dial: Dial = asSocket,
): Promise<Behind> => {
  const taken: Socket[] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, answer);
  server.on("connection", (socket) => taken.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  const { port } = bound;
  const pool = createPool(dial(port), "agent", {
    connections: 4,
    purpose: "tests",
    maxHeadBytes: 16_384,
    keepAliveMs: 30_000,
    ...given,
  });
  return {
    pool,
    taken,
    async [Symbol.asyncDispose]() {
      pool.destroy(new Error("the test is over"));
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
};

const toRequest = (path: string, body?: string) => ({
  method: body === undefined ? "GET" : "PUT",
  path,
  headers: {},
  body,
});

/** Pieces that a slow reader holds before it wants no more. */
const mostHeld = 3;

/** The whole body of an answer; a slow reader looks at each piece only after a while, when others have come. */
const fetched = (pool: Pool, path: string, slow = false, body?: string): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let held = 0;
    let isOver = false;
    const use = (bytes: Buffer, done: (() => void) | undefined): void => {
      pieces.push(Buffer.from(bytes)); // only now: what it was lent must still be the same
      done?.();
    };
    const settle = (): void => {
      if (isOver && held === 0) resolve(Buffer.concat(pieces));
    };
    const receiver: Receiver = {
      started: () => undefined,
      head: () => "bulk",
      data: (bytes, done) => {
        if (!slow) {
          use(bytes, done);
          return true;
        }
        held += 1;
        setTimeout(() => {
          use(bytes, done);
          held -= 1;
          asked.resume();
          settle();
        }, 2);
        return held < mostHeld;
      },
      end: () => {
        isOver = true;
        settle();
      },
      failed: reject,
    };
    const asked = pool.request(toRequest(path, body), receiver);
  });

const untold: Receiver = {
  started: () => undefined, head: () => "small", data: () => true, end: () => undefined,
  failed: () => assert.fail("told"),
}; // biome-ignore format: a row

const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

const dials = { "a socket": asSocket, "a stream": asStream };

for (const [what, dial] of Object.entries(dials))
  test(`slow and fast readers of ${what} at once each get their own bytes, small answers among them`, async () => {
    const files = Array.from({ length: 4 }, () => randomBytes(3 * 2 ** 20));
    await using agent = await behind(
      ({ url }, response) => response.end(files[Number(url?.slice(1))] ?? "small"),
      { connections: 8 },
      dial,
    );
    const downloads = files.flatMap((_file, at) => [
      fetched(agent.pool, `/${at}`, true),
      fetched(agent.pool, `/${at}`),
    ]);
    for (let count = 0; count < 50; count++)
      assert.equal(String(await fetched(agent.pool, "/small")), "small");
    const got = await Promise.all(downloads);
    for (const [at, bytes] of got.entries())
      assert.equal(
        hashOf(bytes),
        hashOf(files[Math.floor(at / 2)] ?? Buffer.alloc(0)),
        `the ${at}th`,
      );
  });

test("one connection serves one request after the other; more wait for as many as may be", async () => {
  const held: ServerResponse[] = [];
  await using agent = await behind((request, response) => {
    if (request.url === "/held") held.push(response);
    else response.end("now");
  });
  for (let count = 0; count < 5; count++) await fetched(agent.pool, "/now");
  assert.equal(agent.taken.length, 1);
  const waiting = Array.from({ length: 6 }, () => fetched(agent.pool, "/held"));
  await until("as many as may be are there", () => held.length === 4);
  assert.deepEqual(agent.pool.stats, { running: 4, waiting: 2 });
  assert.equal(agent.taken.length, 4);
  for (let count = 0; count < 6; count++)
    (await until("the next one", () => held.shift())).end("at last");
  assert.deepEqual((await Promise.all(waiting)).map(String), Array(6).fill("at last"));
  assert.equal(agent.taken.length, 4);
});

test("a request that is given up while it waits is never sent, and one that runs ends its connection", async () => {
  const asked: string[] = [];
  await using agent = await behind(({ url }) => void asked.push(url ?? ""), { connections: 1 });
  const runs = agent.pool.request(toRequest("/runs"), untold);
  const waits = agent.pool.request(toRequest("/waits"), untold);
  await until("the first is there", () => asked.length === 1);
  waits.abort();
  runs.abort();
  await until("its connection is gone", () => agent.taken[0]?.destroyed);
  assert.deepEqual(agent.pool.stats, { running: 0, waiting: 0 });
  assert.deepEqual(asked, ["/runs"]);
});

test("a connection is given up before the agent would, and when the agent says more than it was asked", async () => {
  await using agent = await behind(({ url }, response) => {
    if (url === "/hint") response.setHeader("Keep-Alive", "timeout=1");
    response.end("ok", () => {
      if (url === "/more")
        response.socket?.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    });
  });
  await fetched(agent.pool, "/hint");
  await until("it is gone", () => agent.taken[0]?.destroyed);
  await fetched(agent.pool, "/more");
  await until("that one too", () => agent.taken[1]?.destroyed);
  assert.equal(String(await fetched(agent.pool, "/hint")), "ok");
});

test("a connection that nobody used is given up as any other: its caller left while it was dialled", async () => {
  await using agent = await behind(() => assert.fail("asked"), { keepAliveMs: 50 });
  agent.pool.request(toRequest("/"), untold).abort();
  await until("it is there, and gone", () => agent.taken[0]?.destroyed);
});

test("a shorter time that an agent says is heeded on a connection that was to be kept for longer", async () => {
  await using agent = await behind(({ url }, response) => {
    if (url === "/short") response.setHeader("Keep-Alive", "timeout=2");
    response.end("ok");
  });
  for (const path of ["/usual", "/short"]) await fetched(agent.pool, path);
  assert.equal(agent.taken.length, 1);
  await until("it is gone", () => agent.taken[0]?.destroyed);
});

test("a pool that is closed answers what was asked, and then has no connection", async () => {
  let held: ServerResponse | undefined;
  await using agent = await behind((_request, response) => {
    held = response;
  });
  const last = fetched(agent.pool, "/");
  await until("it is there", () => held);
  agent.pool.close();
  held?.end("done");
  assert.equal(String(await last), "done");
  await until("nothing is left", () => agent.taken.every(({ destroyed }) => destroyed));
});

test("a pool that is destroyed tells all who wait", async () => {
  await using agent = await behind(() => undefined, { connections: 1 });
  const two = [fetched(agent.pool, "/"), fetched(agent.pool, "/")];
  await until("one runs", () => agent.pool.stats.running === 1);
  agent.pool.destroy(new Error("over"));
  for (const one of two) await assert.rejects(one, /over/);
});

test("nothing that a header or path holds makes another request", () => {
  const plain = { method: "GET", path: "/a", headers: { "X-A": "b" }, body: undefined };
  assert.equal(requestText("h:1", plain), "GET /a HTTP/1.1\r\nHost: h:1\r\nX-A: b\r\n\r\n");
  for (const bad of [
    { ...plain, path: "/a HTTP/1.1\r\nX: y" },
    { ...plain, path: "/a b" },
    { ...plain, headers: { "X-A": "b\r\nX-B: c" } },
    { ...plain, headers: { "X-A": "b\0" } },
    { ...plain, headers: { "X-A": "b", "X-C": "ĊX-B: c" } },
    { ...plain, path: "/é" },
  ])
    assert.throws(() => requestText("h:1", bad), RangeError);
});

test("a body goes out as UTF-8, with the length that it has then", async () => {
  const body = JSON.stringify({ name: "żółć 語 🌊" });
  await using agent = await behind((request, response) => request.pipe(response));
  const came = await fetched(agent.pool, "/", false, body);
  assert.equal(String(came), body);
});
