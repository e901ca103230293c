import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { GatewayError } from "../../../src/errors.ts";
import { deadAddress, faultyAgent, type Script } from "../../support/faulty-agent.ts";
import { rawClient, rawRequest } from "../../support/raw-client.ts";
import { gateTo } from "./gate.ts";

const key = "dGhlIHNhbXBsZSBub25jZQ==";
const path = "/v1/job/a%2Fb/action?action=x&task=t";
const upgradeOf = (target: string, more = "", upgrade = "websocket", method = "GET"): string =>
  `${method} ${target} HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${more}\r\n`;

const acceptFor = (head: string): string =>
  createHash("sha1")
    .update(`${/sec-websocket-key: (\S+)/i.exec(head)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
const switched = (head: string, more = ""): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(head)}\r\n${more}\r\n`;

test("a job's action is a WebSocket in both directions, to its ordered close", async () => {
  const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(sockets, "listening");
  sockets.on("connection", (socket, request) => {
    socket.send(`${request.url} ${request.headers["x-nomad-token"]} ${request.headers.origin}`);
    socket.on("message", (data) => socket.close(4000, String(data)));
  });
  const at = sockets.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  await using gate = await gateTo([await deadAddress(), `127.0.0.1:${port}`]);
  const headers = { "X-Nomad-Token": "1111", Origin: "https://gate.example:4646" };
  const caller = new WebSocket(`ws://127.0.0.1:${gate.port}${path}`, ["odd"], { headers });
  caller.on("error", () => undefined); // it asked for a protocol that Nomad never grants
  const [refused] = await once(caller, "error");
  assert.match(String(refused), /no subprotocol/);
  const plain = new WebSocket(`ws://127.0.0.1:${gate.port}${path}`, { headers });
  const [first] = await once(plain, "message");
  assert.equal(String(first), `${path} 1111 undefined`);
  plain.send("bye");
  const [code, reason] = await once(plain, "close");
  assert.equal(`${code} ${reason}`, "4000 bye");
  sockets.close();
});

test("bytes that come with the heads are part of the conversation", async () => {
  await using server = await faultyAgent(({ socket, head }) =>
    socket.write(`${switched(head)}early`),
  );
  await using gate = await gateTo([server.address]);
  const caller = rawClient(gate.port, `${upgradeOf(path)}\x81\x00`);
  await caller.seen("\r\n\r\nearly");
  assert.equal(server.requests.length, 1);
  caller.socket.destroy();
  await server.idle();
});

interface Wrong {
  readonly name: string;
  readonly script: Script;
  readonly status: number;
}

const wrong: readonly Wrong[] = [
  { name: "a wrong key", script: ({ socket }) => socket.write(switched("")), status: 502 },
  { name: "an extension", script: ({ socket, head }) => socket.write(switched(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n")), status: 502 },
  { name: "a protocol", script: ({ socket, head }) => socket.write(switched(head, "Sec-WebSocket-Protocol: x\r\n")), status: 502 },
  { name: "another upgrade", script: ({ socket, head }) => socket.write(switched(head).replace("Upgrade: websocket", "Upgrade: h2c")), status: 502 },
  { name: "200", script: ({ socket }) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), status: 200 },
  { name: "403", script: ({ socket }) => socket.write("HTTP/1.1 403 Forbidden\r\nSet-Cookie: a=b\r\nTrailer: x\r\nContent-Length: 2\r\n\r\nno"), status: 403 },
  { name: "426 in chunks", script: ({ socket }) => socket.write("HTTP/1.1 426 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"), status: 426 },
  { name: "a refusal without end", script: ({ socket }) => socket.write("HTTP/1.1 403 X\r\nContent-Length: 9\r\n\r\nx"), status: 504 },
  { name: "nothing", script: () => undefined, status: 504 },
  { name: "a reset", script: ({ socket }) => socket.resetAndDestroy(), status: 502 },
  { name: "garbage", script: ({ socket }) => socket.write("SSH-2.0\r\n\r\n"), status: 502 },
]; // biome-ignore format: a table

for (const { name, script, status } of wrong)
  test(`${name} to an upgrade makes no pipe: ${status}, and both sides are closed`, async () => {
    await using server = await faultyAgent(script);
    await using gate = await gateTo([server.address], { upgradeTimeoutMs: 300 });
    const caller = rawClient(gate.port, upgradeOf(path));
    caller.socket.on("end", () => caller.socket.end());
    await caller.seen("\r\n\r\n");
    caller.socket.write("GET /v1/secret HTTP/1.1\r\nHost: gate\r\n\r\n");
    const answer = await caller.answer();
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get("connection"), "close");
    for (const header of ["set-cookie", "trailer", "upgrade"])
      assert.equal(answer.headers.get(header), undefined);
    await server.idle();
    assert.deepEqual([server.requests.length, server.extraBytes], [1, 0]);
  });

const refused: readonly (readonly [name: string, bytes: string, status: number])[] = [
  ["another route", upgradeOf("/v1/jobs"), 400],
  ["the event stream", upgradeOf("/v1/event/stream"), 400],
  ["another protocol", upgradeOf(path, "", "h2c"), 400],
  ["a list of protocols", upgradeOf(path, "", "websocket, foo"), 400],
  ["another version", upgradeOf(path).replace("Version: 13", "Version: 777"), 400],
  ["no key", upgradeOf(path).replace(key, "short"), 400],
  ["a body", upgradeOf(path, "Content-Length: 4\r\n"), 400],
  ["another method", upgradeOf(path, "", "websocket", "POST"), 405],
  ["a path that climbs", upgradeOf("/v1/job/../job/a/action"), 400],
];
for (const [name, bytes, status] of refused)
  test(`an upgrade is refused before anything is asked: ${name}`, async () => {
    await using server = await faultyAgent(() => undefined);
    await using gate = await gateTo([server.address]);
    assert.equal((await rawRequest(gate.port, bytes)).status, status);
    assert.equal(server.connections, 0);
  });

test("no server that can be dialled is told on the socket", async () => {
  await using gate = await gateTo([await deadAddress()]);
  const answer = await rawRequest(gate.port, upgradeOf(path));
  assert.equal(`${answer.status} ${answer.headers.get("x-serai-error")}`, "503 registry_unavailable"); // biome-ignore format: one row
});

test("either end that breaks takes the other with it, and so does the end of the right", async () => {
  for (const end of ["server", "caller", "right"] as const) {
    await using server = await faultyAgent(({ socket, head }) => socket.write(switched(head)));
    await using gate = await gateTo([server.address]);
    const caller = rawClient(gate.port, upgradeOf(path));
    await caller.seen("\r\n\r\n");
    const closed = once(caller.socket, "close");
    if (end === "caller") caller.socket.resetAndDestroy();
    if (end === "server") (await server.request(1)).socket.resetAndDestroy();
    if (end === "right") gate.endAll(new GatewayError("right_ended"));
    await closed;
    await server.idle();
  }
});

test("a half that outlives the other has a bound", async () => {
  await using server = await faultyAgent(({ socket, head }) => socket.end(switched(head)));
  const gate = await gateTo([server.address], { lingerMs: 100 });
  const caller = rawClient(gate.port, upgradeOf(path));
  caller.socket.allowHalfOpen = true;
  await once(caller.socket, "end");
  await server.idle();
  await gate[Symbol.asyncDispose](); // ends when no connection of a caller is left
  caller.socket.destroy();
});
