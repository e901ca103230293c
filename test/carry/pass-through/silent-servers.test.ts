/** Servers that stop in the midst of an answer: a document is cut, a stream may have nothing to say. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../../support/raw-client.ts";
import { standStill } from "../../support/stand-still.ts";
import { gateTo } from "./gate.ts";

const ok = "HTTP/1.1 200 OK\r\n";
const chunked = "Transfer-Encoding: chunked\r\n\r\n";
const limits = { documentSilenceMs: 300, eventSilenceMs: 300 };

for (const [what, begun] of [
  ["with a length", `${ok}Content-Length: 100\r\n\r\n[{`],
  ["with an index, in chunks", `${ok}X-Nomad-Index: 7\r\n${chunked}2\r\n[{\r\n`],
] as const)
  test(`a document ${what} that stops in its midst is cut`, { timeout: 20_000 }, async () => {
    await using server = await faultyAgent(({ socket }) => socket.write(begun));
    await using gate = await gateTo([server.address], limits);
    const answer = await rawRequest(gate.port, get("/v1/jobs"));
    assert.equal(`${answer.body} ${answer.end} ${await gate.ended()}`, "[{ cut upstream_timeout");
    await server.idle();
  });

test("one that comes slowly is whole", async () => {
  await using server = await faultyAgent(({ socket }) => {
    socket.write(`${ok}Content-Length: 5\r\n\r\n`);
    for (const [at, byte] of [..."whole"].entries())
      setTimeout(() => socket.write(byte), (at + 1) * 100);
  });
  await using gate = await gateTo([server.address], limits);
  const answer = await rawRequest(gate.port, get("/v1/jobs"));
  assert.equal(`${answer.body} ${answer.end} ${await gate.ended()}`, "whole whole -");
});

test("what came while this process stood still came in time", async () => {
  const begun = Promise.withResolvers<Socket>();
  await using server = await faultyAgent(({ socket }) => {
    socket.write(`${ok}Content-Length: 5\r\n\r\nwh`);
    begun.resolve(socket);
  });
  await using gate = await gateTo([server.address], limits);
  const caller = rawClient(gate.port, get("/v1/jobs"));
  await caller.seen("wh");
  const socket = await begun.promise;
  setImmediate(() => {
    socket.write("ole");
    standStill(500);
  });
  const answer = await caller.answer();
  assert.equal(`${answer.body} ${answer.end} ${await gate.ended()}`, "whole whole -");
});

for (const path of ["/v1/agent/monitor?plain=true", "/v1/client/fs/logs/a?region=b&follow=true"])
  test(`a stream has nothing to say for as long as it likes: ${path}`, async () => {
    await using server = await faultyAgent(({ socket }) => {
      socket.write(`${ok}${chunked}3\r\nold\r\n`);
      setTimeout(() => socket.write("3\r\nnew\r\n0\r\n\r\n"), 1_000);
    });
    await using gate = await gateTo([server.address], limits);
    const answer = await rawRequest(gate.port, get(path));
    assert.equal(`${answer.body} ${answer.end} ${await gate.ended()}`, "oldnew whole -");
  });

for (const path of ["/v1/jobs", "/v1/event/stream"])
  test(`the time in which a caller reads nothing is not the server's silence: ${path}`, async () => {
    const bytes = 16 * 1024 * 1024;
    await using server = await faultyAgent(({ socket }) => {
      socket.write(`${ok}Content-Length: ${bytes}\r\n\r\n`);
      socket.write(Buffer.alloc(bytes, "x"));
    });
    await using gate = await gateTo([server.address], limits);
    const caller = rawClient(gate.port, get(path));
    await caller.seen("\r\n\r\n");
    caller.socket.pause();
    await wait(1_000);
    caller.socket.resume();
    const answer = await caller.answer();
    assert.equal(`${answer.body.length} ${answer.end} ${await gate.ended()}`, `${bytes} whole -`);
  });
