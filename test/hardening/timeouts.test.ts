/** Every wait of the public listener is set on purpose, and ends: silence, half a header, a body that drips. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { loadServerConfig } from "../../src/config/load.ts";
import { openDoor } from "../../src/gateway/doors.ts";
import { createLog } from "../../src/observe/log.ts";
import { type Rig, startRig } from "../support/rig.ts";

test("the public listener has every time-out and size of Node's set on purpose", async () => {
  const { config } = loadServerConfig({ env: { SERAI_HTTP_LISTEN: "127.0.0.1:0" } });
  const log = createLog({ level: "error", destination: "stdout", linesPerSecond: 100 });
  const door = await openDoor(
    {
      log,
      travel: async () => {},
      started: () => {},
      ended: () => {},
      isDraining: () => false,
      nextId: () => "t",
      limited: () => {},
    },
    config,
  );
  const { server } = door.listener;
  assert.equal(server.headersTimeout, 5_000);
  assert.equal(server.requestTimeout, 30_000);
  assert.ok(server.headersTimeout < server.requestTimeout);
  assert.equal(server.keepAliveTimeout, 75_000);
  assert.ok(server.keepAliveTimeout > 60_000, "longer than a balancer's usual 60 s");
  assert.equal(server.timeout, 0, "a stream has an idle deadline of its own");
  assert.equal(config.limits.maxHeaderBytes, 16 * 1024);
  assert.equal(config.timeouts.tlsHandshakeMs, 10_000);
  assert.equal(config.timeouts.connectMs, 2_000);
  assert.equal(config.timeouts.firstByteMs, 10_000);
  assert.equal(config.timeouts.idleMs, 60_000);
  assert.equal(config.limits.handshakeMs, 5_000);
  assert.equal(config.limits.handshakeMessageBytes, 64 * 1024);
  assert.equal(config.limits.execMessageBytes, 1024 * 1024);
  await door.listener.close(AbortSignal.abort());
  await log.close(AbortSignal.timeout(1_000));
});

const hurried = {
  timeouts: { headers: "1s", request: "2s", keep_alive: "1s" },
};

const portOf = (rig: Rig): number => Number(new URL(rig.url).port);

interface Slow {
  readonly name: string;
  /** Sent at once. */
  readonly first: string;
  /** Sent again and again. */
  readonly drip?: string;
  readonly answer: RegExp;
}

const slow: readonly Slow[] = [
  { name: "says nothing", first: "", answer: /^(?:HTTP\/1\.1 408 |$)/ },
  { name: "sends half a request line", first: "GET /v1/reg", answer: /^HTTP\/1\.1 408 / },
  { name: "drips a header", first: "GET /v1/regions HTTP/1.1\r\nHost: gate\r\n", drip: "X-A: b\r\n", answer: /^HTTP\/1\.1 408 / },
  { name: "drips a body", first: "POST /v1/search HTTP/1.1\r\nHost: gate\r\nContent-Length: 4000\r\n\r\n{", drip: " ", answer: /^(?:HTTP\/1\.1 408 |$)/ },
  { name: "drips chunks", first: "POST /v1/search HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n", drip: "1\r\n \r\n", answer: /^(?:HTTP\/1\.1 408 |$)/ },
  { name: "says nothing after an answer", first: "GET /v1/regions HTTP/1.1\r\nHost: gate\r\n\r\n", answer: /^HTTP\/1\.1 200 / },
]; // biome-ignore format: a table

/** Resolves with what it got when the gateway has closed it. */
const hold = async (port: number, { first, drip }: Slow): Promise<string> => {
  const socket: Socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "connect");
  if (first !== "") socket.write(first);
  const dripping = drip === undefined ? undefined : setInterval(() => socket.write(drip), 100);
  await once(socket, "close");
  clearInterval(dripping);
  return Buffer.concat(chunks).toString("latin1");
};

test("a caller that only holds a connection is let go in time, whatever it holds it with", {
  concurrency: true,
}, async (t) => {
  await using rig = await startRig({ settings: hurried });
  await Promise.all(
    slow.map((one) =>
      t.test(one.name, { timeout: 30_000 }, async () => {
        assert.match(await hold(portOf(rig), one), one.answer);
      }),
    ),
  );
});
