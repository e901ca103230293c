import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent, type Script } from "../../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../../support/raw-client.ts";
import { gateTo } from "./gate.ts";

const document = '{"T":1755022961123456789,"HTTPAddr":"10.0.0.1:4646","TLSEnabled":false}';
const masked = '{"T":1755022961123456789,"HTTPAddr":"gate.example:4646","TLSEnabled":true}';
const json = (body: string, more = ""): Script =>
  ({ socket }) =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`); // biome-ignore format: one row

const maskedTargets = ["/v1/node/n1", "/v1/node/n1?index=7&wait=1s", "/v1/%6eode/n1", "/v1/node/n%31?pretty"]; // biome-ignore format: a list
for (const target of maskedTargets)
  test(`${target} leads back to the gateway, in an answer of its own length`, async () => {
    await using server = await faultyAgent(json(document));
    await using gate = await gateTo([server.address]);
    const answer = await rawRequest(gate.port, get(target, "Accept-Encoding: gzip\r\n"));
    assert.equal(answer.body.toString(), masked);
    assert.equal(answer.headers.get("content-length"), String(masked.length));
    assert.match(server.requests[0] ?? "", /accept-encoding: identity\r\n/i);
  });

const plainTargets = ["/v1/nodes", "/v1/node/n1/allocations", "/v1/node/n1%2Fallocations", "/v1/allocation/n1"]; // biome-ignore format: a list
for (const target of plainTargets)
  test(`${target} passes as it is`, async () => {
    await using server = await faultyAgent(json(document));
    await using gate = await gateTo([server.address]);
    const answer = await rawRequest(gate.port, get(target, "Accept-Encoding: gzip\r\n"));
    assert.equal(answer.body.toString(), document);
    assert.match(server.requests[0] ?? "", /accept-encoding: gzip\r\n/i);
  });

test("masking can be turned off", async () => {
  await using server = await faultyAgent(json(document));
  await using gate = await gateTo([server.address], { mask: false });
  assert.equal((await rawRequest(gate.port, get("/v1/node/n1"))).body.toString(), document);
});

const refusals: readonly (readonly [name: string, script: Script])[] = [
  ["compressed though it was asked not to be", json("zzzz", "Content-Encoding: gzip\r\n")],
  ["larger than its bound", json(`{"A":"${"x".repeat(70_000)}"}`)],
  ["no JSON", json('{"HTTPAddr":"10.0.0.1')],
  ["broken off", ({ socket }) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")],
];
for (const [name, script] of refusals)
  test(`a node's document that is ${name} is a refusal, never an address`, async () => {
    await using server = await faultyAgent(script);
    await using gate = await gateTo([server.address]);
    const answer = await rawRequest(gate.port, get("/v1/node/n1"));
    assert.equal(`${answer.status} ${answer.end}`, "502 whole");
    assert.doesNotMatch(answer.body.toString(), /10\.0\.0/);
  });

test("a node's document that does not come to its end is given up: 504", async () => {
  await using server = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
  );
  await using gate = await gateTo([server.address], { headMs: 300 });
  const caller = rawClient(gate.port, get("/v1/node/n1", "Connection: close\r\n"));
  try {
    await caller.seen("504 Gateway Timeout");
    assert.equal(await gate.ended(), "upstream_timeout");
    await server.idle();
  } finally {
    caller.socket.destroy();
  }
});

test("a node that is unknown is Nomad's own 404", async () => {
  await using server = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 404 Not Found\r\nX-Nomad-Index: 3\r\nContent-Length: 14\r\n\r\nnode not found"),
  ); // biome-ignore format: one row
  await using gate = await gateTo([server.address]);
  const answer = await rawRequest(gate.port, get("/v1/node/n1"));
  assert.equal(`${answer.status} ${answer.body} ${answer.headers.get("x-nomad-index")}`, "404 node not found 3"); // biome-ignore format: one row
});

/* ---- the event stream ---- */

const eventHead =
  "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\r\n";

test("events pass line by line, with the end of the connection as their only frame", async () => {
  await using server = await faultyAgent(({ socket }) => socket.write(`${eventHead}{}\n`));
  await using gate = await gateTo([server.address]);
  const caller = rawClient(gate.port, get("/v1/event/stream?topic=Node&topic=Allocation&index=0"));
  await caller.seen("\r\n\r\n{}\n");
  const { socket } = await server.request(1);
  socket.write('{"Index":1}\n');
  await caller.seen('{}\n{"Index":1}\n');
  socket.end();
  const answer = await caller.answer();
  assert.equal(answer.end, "whole");
  assert.equal(answer.headers.get("transfer-encoding"), undefined);
  assert.equal(answer.headers.get("connection"), "close");
  assert.equal(await gate.ended(), "-");
});

test("events that break off, or fall silent, are reset: their end says nothing else", async () => {
  const scripts: readonly (readonly [Script, string])[] = [
    [({ socket }) => socket.write(`${eventHead}{}\n`, () => setTimeout(() => socket.resetAndDestroy(), 20)), "upstream_broke"],
    [({ socket }) => socket.write(`${eventHead}{}\n`), "upstream_timeout"],
  ]; // biome-ignore format: a table
  for (const [script, code] of scripts) {
    await using server = await faultyAgent(script);
    await using gate = await gateTo([server.address], { eventSilenceMs: 300 });
    const answer = await rawRequest(gate.port, get("/v1/event/stream"));
    assert.equal(`${answer.end} ${await gate.ended()}`, `reset ${code}`);
    await server.idle();
  }
});

test("an index that is no number is left to the server, which refuses it first and with one head", async () => {
  await using server = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 21\r\n\r\nUnable to parse index"),
  );
  await using gate = await gateTo([server.address]);
  const refused = await rawRequest(gate.port, get("/v1/event/stream?index=x&wait=x"));
  assert.equal(`${refused.status} ${refused.body}`, "400 Unable to parse index");
});

const badQueries: readonly (readonly [query: string, words: string])[] = [
  ["wait=x", "Invalid wait time"],
  ["index=-1", "Invalid index"],
  ["topic=Node&index=-1&index=2", "Invalid index"],
  ["stale=maybe", "Expect `true` or `false` for `stale` query string parameter"],
  ["per_page=x", "Expect a number for `per_page` query string parameter"],
];
for (const path of ["/v1/event/stream", "/v1/%65vent/stream"])
  for (const [query, words] of badQueries)
    test(`${path}?${query} is refused before the server can answer with two heads`, async () => {
      await using server = await faultyAgent(() => undefined);
      await using gate = await gateTo([server.address]);
      const refused = await rawRequest(gate.port, get(`${path}?${query}`));
      assert.equal(`${refused.status} ${refused.body}`, `400 ${words}`);
      assert.equal(server.connections, 0);
    });
