/** The two ends of a tunnel: what passes, what is refused, and how each notices that the other is gone. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2, constants, performServerHandshake } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { Pool } from "undici";
import { toGatewayError } from "../../src/errors.ts";
import { createLink, type Link, type LinkOptions } from "../../src/tunnel/link.ts";
import { agentAuthority, sessionOptions } from "../../src/tunnel/protocol.ts";
import { watch } from "../../src/tunnel/vitals.ts";
import { settings } from "../support/frames.ts";
import { times } from "../support/hostile.ts";
import { behind, connectedPair } from "./support.ts";

interface Open {
  readonly link: Link;
  readonly ended: Promise<string>;
}

const linkOn = (socket: Duplex, options: LinkOptions = {}): Open => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const needs = { ended: resolve, leaving: () => undefined };
  return { link: createLink(socket, needs, options), ended: promise };
};

const poolOver = (link: Link): Pool =>
  new Pool("http://agent", {
    connect: (_options, callback) => {
      link.open((error, connection) => {
        if (connection)
          callback(null, connection as Socket); // undici takes any duplex stream
        else callback(error ?? new Error("no connection"), null);
      });
    },
  });

const opening = (link: Link): Promise<Error | null> =>
  new Promise((resolve) => void link.open((error) => resolve(error)));

test("requests and answers pass, and each connection is a stream", async () => {
  await using pair = await connectedPair();
  const served = behind(pair.far, (request, response) => response.end(`heard ${request.url}`));
  const { link } = linkOn(pair.near);
  const pool = poolOver(link);
  const { body } = await pool.request({ method: "GET", path: "/x" });
  assert.equal(await body.text(), "heard /x");
  assert.equal(link.streams, 1);
  assert.equal(served.streams, 1);
  await pool.close();
});

test("an agent that ends its connection ends the tunnel, and breaks what is live", async () => {
  await using pair = await connectedPair();
  behind(pair.far, (_request, response) => void response.write("begun"));
  const { link, ended } = linkOn(pair.near);
  const pool = poolOver(link);
  const { body } = await pool.request({ method: "GET", path: "/x" });
  pair.far.end();
  await assert.rejects(body.text());
  assert.equal(await ended, "the agent closed it");
  await pool.destroy();
});

test("a stopped reader holds no more than its window, and stalls nobody", async () => {
  await using pair = await connectedPair();
  let written = 0;
  behind(pair.far, (request, response) => {
    if (request.url === "/small") return void response.end("small");
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (!response.destroyed && response.write(chunk)) written += chunk.length;
      response.once("drain", more);
    };
    more();
  });
  const pool = poolOver(linkOn(pair.near).link);
  const big = await pool.request({ method: "GET", path: "/big" });
  for (let count = 0; count < 10; count++) {
    const { body } = await pool.request({ method: "GET", path: "/small" });
    assert.equal(await body.text(), "small");
  }
  assert.ok(written < 8 * 1024 * 1024, String(written));
  big.body.on("error", () => undefined).destroy();
  await pool.destroy();
});

test("an agent that is gone aborts the answer", async () => {
  await using pair = await connectedPair();
  behind(pair.far, (_request, response) => {
    response.writeHead(200, { "content-length": 1000 });
    response.write("begun");
  });
  const { link, ended } = linkOn(pair.near);
  const pool = poolOver(link);
  const { body } = await pool.request({ method: "GET", path: "/" });
  pair.far.resetAndDestroy();
  await assert.rejects(body.text());
  await ended;
  assert.equal(link.isOpen, false);
  assert.throws(() => link.open(() => undefined), { code: "node_unreachable" });
  await pool.destroy();
});

test("what it was cut for is told, though a look at it falls in before its connection has closed", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  await using pair = await connectedPair();
  const { link, ended } = linkOn(pair.near);
  const served = behind(pair.far, () => undefined);
  link.end("its token counts no more", "revoked");
  served.end("the agent shuts down");
  t.mock.timers.tick(1_000);
  assert.equal(await ended, "its token counts no more");
  assert.equal(await served.ended, "the agent shuts down");
});

test("an agent that says nothing more is given up by its heartbeat", async () => {
  await using pair = await connectedPair();
  const { ended } = linkOn(pair.near, { heartbeatMs: 20, heartbeatTimeoutMs: 100 });
  pair.far.write(settings());
  pair.far.resume(); // reads, and never answers
  assert.match(await ended, /no answer to a heartbeat for 0.1 s/);
});

test("frames of a few bytes are a flood when they are many, whoever they are for; others are none", async () => {
  await using pair = await connectedPair();
  const session = performServerHandshake(pair.near);
  const failed: string[] = [];
  const vitals = watch(
    session,
    { fail: (_reason, kind) => failed.push(kind) },
    { maxTinyFrames: 10 },
  );
  const count = (frames: number, bytes: number): void => {
    for (let nth = 0; nth < frames; nth++) vitals.counted(bytes);
  };
  count(1_000, 16);
  count(10, 15);
  assert.deepEqual(failed, []);
  count(1, 15);
  assert.deepEqual(failed, ["flood"]);
  session.destroy();
});

test("a gateway that says nothing more is given up by the agent", async () => {
  await using pair = await connectedPair();
  const served = behind(pair.far, (_request, response) => response.end(), {
    heartbeatMs: 20,
    heartbeatTimeoutMs: 100,
  });
  pair.near.resume(); // reads, and never answers
  assert.match(await served.ended, /no answer to a heartbeat/);
});

test("an agent that answers no CONNECT costs a bounded wait", async () => {
  await using pair = await connectedPair();
  performServerHandshake(pair.far).on("error", () => undefined);
  const { link } = linkOn(pair.near, { openMs: 100 });
  const error = await opening(link);
  assert.match(String(error), /its tunnel does not answer/);
  link.end("over", "drained");
});

const wrong: readonly { name: string; headers: Readonly<Record<string, string>> }[] = [
  { name: "a GET", headers: { ":method": "GET", ":path": "/" } },
  { name: "a CONNECT to another place", headers: { ":method": "CONNECT", ":authority": "10.0.0.1:22" } },
]; // biome-ignore format: a table
for (const { name, headers } of wrong)
  test(`the agent's end refuses ${name}`, async () => {
    await using pair = await connectedPair();
    let accepted = 0;
    behind(pair.far, () => {
      accepted += 1;
    });
    const session = connectHttp2("http://agent", { createConnection: () => pair.near });
    session.on("error", () => undefined);
    const stream = session.request(headers);
    const [error]: unknown[] = await once(stream, "error", { signal: AbortSignal.timeout(5_000) });
    assert.match(String(error), /REFUSED_STREAM/);
    assert.equal(accepted, 0);
    session.destroy();
  });

test("the one place is reached by its name alone", () => assert.equal(agentAuthority, "agent"));

test("readers that leave large answers in their midst cost the tunnel nothing", async () => {
  await using pair = await connectedPair();
  const large = Buffer.alloc(4 * 1024 * 1024);
  behind(pair.far, (_request, response) => response.end(large));
  const { link } = linkOn(pair.near);
  const leave = (): Promise<void> =>
    new Promise((resolve, reject) => {
      link.open((error, connection) => {
        if (connection === null) return reject(error);
        connection.on("error", () => undefined);
        connection.once("data", () => connection.destroy());
        connection.once("close", resolve);
        connection.write("GET / HTTP/1.1\r\nHost: agent\r\n\r\n");
      });
    });
  await times(60, 8, leave);
  assert.equal(link.isOpen, true);
  link.end("the test is over", "drained");
});

test("a connection that its agent breaks off by an error of HTTP/2 is broken off, as any other", async () => {
  await using pair = await connectedPair();
  const session = performServerHandshake(pair.far, sessionOptions);
  session.on("error", () => undefined);
  session.on("stream", (stream) => {
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200 });
    stream.write("begun");
  });
  const { link, ended } = linkOn(pair.near);
  const connection = await new Promise<Duplex>((resolve, reject) => {
    link.open((error, opened) => (opened ? resolve(opened) : reject(error)));
  });
  const broke = once(connection, "error");
  await once(connection, "data");
  session.goaway(constants.NGHTTP2_INTERNAL_ERROR);
  const [error] = await broke;
  assert.equal(toGatewayError(error).code, "upstream_broke");
  await ended;
});
