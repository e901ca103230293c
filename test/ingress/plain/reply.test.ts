/** An answer to a plain request is, byte for byte, what node:http makes of the same verbs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpRequest, HttpResponse } from "../../../src/ports.ts";
import { exchanged, openTwin, talk, timeless } from "./support.ts";

const big = Buffer.alloc(40_000, "0123456789");

const answers: Readonly<Record<string, (response: HttpResponse, request: HttpRequest) => void>> = {
  "a small document": (response) => {
    response.setHeader("X-Request-Id", "a-1");
    response.setHeader("Vary", ["Accept-Encoding", "Origin"]);
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": 2 });
    response.end(Buffer.from("{}"));
  },
  "a header set twice, in other letters": (response) => {
    response.setHeader("X-One", "1");
    response.setHeader("x-two", "2");
    response.writeHead(404, { "X-ONE": "3", "Content-Length": 0 });
    response.end();
  },
  "bytes that are no text": (response) => {
    response.writeHead(200, { "Content-Length": 256 });
    response.end(Buffer.from(Array.from({ length: 256 }, (_, at) => at)));
  },
  "a large body": (response) => {
    response.writeHead(200, { "Content-Length": big.length });
    response.end(big);
  },
  "a body in pieces with a length": (response) => {
    response.writeHead(200, { "Content-Length": 6 });
    response.write(Buffer.from("abc"));
    response.write("def");
    response.end();
  },
  "no content": (response) => {
    response.writeHead(204);
    response.end();
  },
  "no content, with a body that must not be sent": (response) => {
    response.writeHead(204);
    response.write(Buffer.from("abc"));
    response.end(Buffer.from("GET /stolen HTTP/1.1"));
  },
  "what is as it was, in one piece": (response) => {
    response.writeHead(304, { ETag: '"a"' });
    response.end(Buffer.from("{}"));
  },
  "an answer that closes": (response) => {
    response.setHeader("Connection", "close");
    response.writeHead(503, { "Content-Length": 1, "Retry-After": "1" });
    response.end(Buffer.from("x"));
  },
  "chunks that the writer makes": (response) => {
    response.writeHead(200, { "Content-Type": "text/plain" });
    response.flushHeaders();
    assert.equal(response.chunkedEncoding, true);
    response.chunkedEncoding = false;
    response.write(Buffer.from("3\r\nabc\r\n"));
    response.end("0\r\n\r\n");
  },
  "a Latin-1 header": (response) => {
    response.writeHead(200, { "X-Name": "caf\u00e9", "Content-Length": 0 });
    response.end();
  },
};

const ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

for (const [what, write] of Object.entries(answers))
  test(`${what} is what node:http sends`, async () => {
    const handle = (request: HttpRequest, response: HttpResponse): void => write(response, request);
    await using front = await openTwin("front", handle);
    await using node = await openTwin("node", handle);
    const [ours, theirs] = await Promise.all(
      [front, node].map(({ port }) => exchanged(port, [ask, last])),
    );
    assert.equal(timeless(ours ?? ""), timeless(theirs ?? ""));
    assert.ok(front.plain.length > 0);
  });

test("chunks that it makes itself hold the body, piece by piece", async () => {
  await using front = await openTwin("front", (_request, response) => {
    response.writeHead(200);
    response.write(Buffer.from("abc"));
    response.write("");
    response.end(big);
  });
  using line = await talk(front.port);
  line.socket.write(last);
  const [head = "", ...body] = (await line.closed()).split("\r\n\r\n");
  assert.match(head, /Transfer-Encoding: chunked$/);
  assert.equal(
    body.join("\r\n\r\n"),
    `3\r\nabc\r\n${big.length.toString(16)}\r\n${big}\r\n0\r\n\r\n`,
  );
});

test("a head that would be two is not sent", async () => {
  let thrown: unknown;
  await using front = await openTwin("front", (_request, response) => {
    try {
      response.setHeader("X-A", "b\r\nX-C: d");
    } catch (error) {
      thrown = error;
    }
    response.writeHead(200, { "Content-Length": 0 });
    response.end();
  });
  assert.doesNotMatch(await exchanged(front.port, [last]), /X-C/);
  assert.ok(thrown instanceof TypeError);
});

test("what was said in answers before changes nothing in those behind them", async () => {
  const list = ["a", "b"];
  const values = [
    "1",
    "1",
    "1",
    "2",
    "b\r\nX-C: d",
    "b\r\nX-C: d",
    "2",
    "1",
    list,
    list,
    "a",
    7,
    7,
    "7",
  ];
  const handle = (request: HttpRequest, response: HttpResponse): void => {
    const value = values[Number(request.url?.slice(1))] ?? "none";
    try {
      response.setHeader("X-A", value);
      response.setHeader("x-a", value);
    } catch {
      response.setHeader("X-Refused", "yes");
    }
    response.writeHead(200, { "Content-Length": 0 });
    response.end();
  };
  const asked = [...values.keys()].map((at) => `GET /${at} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await using front = await openTwin("front", handle);
  await using node = await openTwin("node", handle);
  const [ours, theirs] = await Promise.all(
    [front, node].map(({ port }) => exchanged(port, [...asked, last])),
  );
  assert.equal(timeless(ours ?? ""), timeless(theirs ?? ""));
  assert.equal(ours?.match(/X-Refused/g)?.length, 2);
  assert.equal(front.plain.length, values.length + 1);
});

test("a caller that does not read is waited for, and is told of as one that stalls", async () => {
  const seen: string[] = [];
  const { promise: drained, resolve } = Promise.withResolvers<void>();
  await using front = await openTwin("front", (_request, response) => {
    const piece = Buffer.alloc(1 << 20);
    response.writeHead(200, { "Content-Length": piece.length * 64 });
    response.on("timeout", () => seen.push("timeout"));
    response.setTimeout(100);
    response.on("drain", () => {
      seen.push("drain");
      resolve();
    });
    for (let at = 0; at < 64; at++) response.write(piece);
    response.once("finish", () => seen.push("finish"));
    response.once("close", () => seen.push(`close ${response.writableFinished}`));
    response.end();
  });
  using line = await talk(front.port);
  line.socket.pause();
  line.socket.write(last);
  while (!seen.includes("timeout")) await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(new Set(seen), new Set(["timeout"]));
  line.socket.resume();
  await drained;
  assert.equal((await line.closed()).split("\r\n\r\n")[1]?.length, 64 << 20);
  assert.deepEqual(seen.slice(-2), ["finish", "close true"]);
});

test("a caller that leaves ends its answer, which is told once", async () => {
  const { promise: ended, resolve } = Promise.withResolvers<boolean>();
  let closes = 0;
  await using front = await openTwin("front", (_request, response) => {
    response.once("close", () => {
      closes++;
      resolve(response.writableFinished);
    });
    response.writeHead(200, { "Content-Length": 10 });
    response.write(Buffer.from("a"));
  });
  using line = await talk(front.port);
  line.socket.write(ask);
  await line.until((text) => text.endsWith("a"));
  line.socket.destroy();
  assert.equal(await ended, false);
  assert.equal(closes, 1);
});
