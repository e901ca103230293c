/** How a listener ends: what has asked for nothing holds nobody up, what waits for its answer gets it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect } from "node:net";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { closeServer, listenOn } from "../../src/http/serving.ts";
import { createCertificates } from "../support/certificates.ts";
import { until } from "../support/processes.ts";
import { rawClient } from "../support/raw-client.ts";
import { standStill } from "../support/stand-still.ts";

const patience = (): AbortSignal => AbortSignal.timeout(20_000);
const request = "GET / HTTP/1.1\r\nHost: gate\r\n\r\n";
const upgrade = "GET / HTTP/1.1\r\nHost: gate\r\nUpgrade: it\r\nConnection: Upgrade\r\n\r\n";

for (const tls of [false, true])
  test(`a connection that has asked for nothing is ended, one in the midst of a request is not${tls ? ", over TLS" : ""}`, async () => {
    const waiting: ServerResponse[] = [];
    const listener: RequestListener = (_request, response) => void waiting.push(response);
    using certificates = createCertificates();
    if (tls) certificates.make("gate", { names: ["DNS:localhost"] });
    const pair = tls ? certificates.pair("gate") : { cert: "", key: "" };
    const server = tls ? createTlsServer(pair, listener) : createServer(listener);
    const { port } = await listenOn(server, "127.0.0.1", 0);
    const dial = async () => {
      const socket = tls
        ? connectTls({ port, host: "127.0.0.1", ca: pair.cert, servername: "localhost" })
        : connect(port, "127.0.0.1");
      await once(socket, tls ? "secureConnect" : "connect");
      return socket;
    };
    const silent = await dial();
    const half = await dial();
    const asking = await dial();
    half.write(request.slice(0, -2));
    asking.write(request);
    await until("a request is there", () => waiting.length === 1);
    const closed = closeServer(server, patience());
    await once(silent.resume(), "close");
    half.write(request.slice(-2));
    await until("the other one is whole", () => waiting.length === 2);
    for (const response of waiting) response.end("done");
    const answers = await Promise.all(
      [half, asking].map(async (socket) => String((await once(socket, "data"))[0])),
    );
    for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 200 OK/);
    await closed;
  });

test("answers that waited for their turn on a connection that was upgraded are let go with it", async () => {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  assert.ok(typeof collect === "function");
  const begun: WeakRef<ServerResponse>[] = [];
  const server = createServer((_request, response) => void begun.push(new WeakRef(response)));
  server.on("upgrade", (_request, socket) => void socket.destroy());
  const { port } = await listenOn(server, "127.0.0.1", 0);
  const caller = rawClient(port, `${request.repeat(10)}${upgrade}`);
  await once(caller.socket, "close");
  await until("they are let go", () => {
    collect();
    return begun.length === 10 && begun.every((one) => one.deref() === undefined);
  });
  await closeServer(server, patience());
});

test("an answer that its caller has not taken yet is not cut", async () => {
  const words = Buffer.alloc(12 * 2 ** 20, "x");
  const server = createServer((_request, response) => void response.end(words));
  const { port } = await listenOn(server, "127.0.0.1", 0);
  const reader = rawClient(port, request);
  await reader.seen("200 OK");
  reader.socket.pause();
  const closed = closeServer(server, patience());
  await new Promise((resolve) => setTimeout(resolve, 200));
  reader.socket.resume();
  const { end, body } = await reader.answer();
  assert.equal(end, "whole");
  assert.equal(body.length, words.length);
  await closed;
});

test("a request that came while the process stood still is answered, and a connection on which none came is given up", async () => {
  const server = createServer({ keepAliveTimeout: 100 }, (_request, response) => {
    response.end("done\n");
  });
  const { port } = await listenOn(server, "127.0.0.1", 0);
  const [asking, idle] = [rawClient(port, request), rawClient(port, request)];
  const idleEnded = once(idle.socket, "close");
  try {
    for (const client of [asking, idle]) await client.seen("done");
    setImmediate(() => {
      asking.socket.write(request);
      standStill(1_500); // node keeps a connection a second longer than it says
    });
    await idleEnded;
    await until("the other one is answered", () => {
      assert.equal(asking.socket.destroyed, false, "it was cut");
      return asking.received().toString().split("done").length === 3;
    });
  } finally {
    asking.socket.destroy();
    await closeServer(server, patience());
  }
});
