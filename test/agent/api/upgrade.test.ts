/** The way from an upgrade to a session: refusals before the 101, the token's handshake, hostile frames. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  allocationId,
  ExecClient,
  eventually,
  exec,
  execUrl,
  type TestDoor,
  testDoor,
} from "./support.ts";

let door: TestDoor;
before(async () => {
  door = await testDoor({ handshakeTimeoutMs: 400, maxStrangersPerAddress: 3 });
});
after(async () => {
  await door[Symbol.asyncDispose]();
});

const path = (command: readonly string[] = ["/bin/echo", "in"]): string => {
  const url = new URL(execUrl(door.port, { command }));
  return url.pathname + url.search;
};

interface Upgrade {
  readonly method?: string;
  readonly version?: string;
  readonly key?: string;
  readonly host?: string;
  readonly more?: string;
  readonly body?: string;
  readonly query?: string;
  readonly command?: readonly string[];
}

const upgradeBytes = (of: Upgrade): string =>
  `${of.method ?? "GET"} ${path(of.command)}${of.query ?? ""} HTTP/1.1\r\nHost: ${of.host ?? "x"}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: ${of.version ?? "13"}\r\nSec-WebSocket-Key: ${of.key ?? "AAECAwQFBgcICQoLDA0ODw=="}\r\n` +
  `X-Nomad-Token: full\r\n${of.more ?? ""}\r\n${of.body ?? ""}`;

/** The head of the answer, and the rest of a plain one. */
const answerTo = async (bytes: string, { port } = door): Promise<string> => {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (text.startsWith("HTTP/1.1 101")) socket.destroy();
  });
  socket.write(bytes);
  await once(socket, "close");
  return text;
};

const failed = (status: string, words: string): string =>
  `${status}\nfailed to upgrade connection: websocket: ${words}`;

const refused: readonly (Upgrade & { name: string; status: number; text: string })[] = [
  { name: "POST", method: "POST", more: "Content-Length: 0\r\n", status: 405, text: failed("Method Not Allowed", "the client is not using the websocket protocol: request method is not GET") },
  { name: "version 12", version: "12", status: 400, text: failed("Bad Request", "unsupported version: 13 not found in 'Sec-Websocket-Version' header") },
  { name: "a bad key", key: "short", status: 400, text: failed("Bad Request", "not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length") },
  { name: "an Origin of another host", more: "Origin: http://ui.example:4646\r\n", status: 403, text: failed("Forbidden", "request origin not allowed by Upgrader.CheckOrigin") },
  { name: "an Origin without the port", host: "nomad.example:4646", more: "Origin: http://nomad.example\r\n", status: 403, text: failed("Forbidden", "request origin not allowed by Upgrader.CheckOrigin") },
  { name: "a null Origin", more: "Origin: null\r\n", status: 403, text: failed("Forbidden", "request origin not allowed by Upgrader.CheckOrigin") },
  { name: "a body", more: "Content-Length: 2\r\n", body: "{}", status: 400, text: failed("Bad Request", "the request has a body") },
  { name: "a chunked body", more: "Transfer-Encoding: chunked\r\n", body: "0\r\n\r\n", status: 400, text: failed("Bad Request", "the request has a body") },
  { name: "a token given twice", more: "X-Nomad-Token: full\r\n", status: 400, text: "Bad Request\nheader x-nomad-token is given more than once" },
]; // biome-ignore format: a table
for (const of of refused)
  test(`an upgrade with ${of.name} is refused by ${of.status} and the connection closed`, async () => {
    const answer = await answerTo(upgradeBytes(of));
    const [head = "", body] = answer.split("\r\n\r\n");
    assert.ok(head.startsWith(`HTTP/1.1 ${of.status} `), answer);
    assert.match(head, /\r\nSec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n/);
    assert.equal(body, of.text);
  });

const accepted: readonly (Upgrade & { name: string })[] = [
  { name: "an Origin equal to the Host", host: "nomad.example:4646", more: "Origin: https://nomad.example:4646\r\n" },
  { name: "an Origin in other letter case", host: "nomad.example:4646", more: "Origin: http://NOMAD.example:4646\r\n" },
  { name: "subprotocols and extensions offered", more: "Sec-WebSocket-Protocol: nomad, chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" },
]; // biome-ignore format: a table
for (const of of accepted)
  test(`an upgrade with ${of.name} is accepted with three headers`, async () => {
    const answer = await answerTo(upgradeBytes(of));
    const head = answer.split("\r\n\r\n", 1)[0]?.split("\r\n") ?? [];
    assert.deepEqual(head, [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=",
    ]);
  });

const echo = { command: ["/bin/echo", "in"], query: "ws_handshake=true" } as const;
const mismatch = "handshake auth token mismatched auth header token";

const handshakes: readonly {
  name: string;
  token?: string;
  first: object | string;
  code: number;
  reason?: string;
}[] = [
  { name: "a good token", first: { version: 1, auth_token: "full" }, code: 1000 },
  { name: "the header's token again", token: "full", first: { version: 1, auth_token: "full" }, code: 1000 },
  { name: "another token than the header's", token: "full", first: { version: 1, auth_token: "write" }, code: 1008, reason: mismatch },
  { name: "no token beside a header", token: "full", first: { version: 1, auth_token: "" }, code: 1008, reason: mismatch },
  { name: "a refused token", first: { version: 1, auth_token: "deleted" }, code: 1011, reason: "Permission denied" },
  { name: "an empty token", first: { version: 1, auth_token: "" }, code: 1011, reason: "Permission denied" },
  { name: "a token without the right", first: { version: 1, auth_token: "read" }, code: 1011, reason: "Permission denied" },
  { name: "version 2", first: { version: 2, auth_token: "full" }, code: 1008, reason: "unexpected handshake value: 2" },
  { name: "no version", first: { auth_token: "full" }, code: 1008, reason: "unexpected handshake value: 0" },
  { name: "no JSON", first: "hello", code: 1008, reason: "invalid character 'h' looking for beginning of value" },
  { name: "input as the first message", first: { stdin: { data: "eA==" } }, code: 1008, reason: "unexpected handshake value: 0" },
  { name: "more than 64 KiB", first: { version: 1, auth_token: "x".repeat(70_000) }, code: 1009 },
]; // biome-ignore format: a table
for (const { name, token = "", first, code, reason } of handshakes)
  test(`a handshake with ${name} ends in close ${code}`, async () => {
    const client = await new ExecClient(door.port, { ...echo, token }).opened();
    client.send(first);
    const ended = await client.ended();
    assert.equal(ended.code, code, ended.reason);
    if (reason !== undefined) assert.equal(ended.reason, reason);
    assert.equal(ended.stdout.toString(), code === 1000 ? "in\n" : "");
  });

test("a handshake value that is no bool is refused", async () => {
  const { code, reason } = await exec(door.port, { command: ["true"], query: "ws_handshake=x" });
  assert.deepEqual(
    { code, reason },
    {
      code: 1008,
      reason: 'ws_handshake value is not a boolean: strconv.ParseBool: parsing "x": invalid syntax',
    },
  );
});

test("the web UI's first three frames are token, size and heartbeat", async () => {
  const client = await new ExecClient(door.port, {
    command: ["/bin/sh", "-c", "read x; stty size"],
    query: "ws_handshake=true",
    tty: "true",
    token: "",
  }).opened();
  client.send({ version: 1, auth_token: "full" });
  client.send({ tty_size: { height: 40, width: 100 } });
  client.send({});
  client.input("\n");
  const ended = await client.ended();
  assert.match(ended.stdout.toString(), /40 100/);
  assert.equal(ended.code, 1000);
});

test("a silent handshake is closed at its deadline, and few strangers are let in", async () => {
  const silent = await Promise.all(
    [1, 2, 3].map(() => new ExecClient(door.port, { ...echo, token: "" }).opened()),
  );
  const crowded = await answerTo(upgradeBytes({ query: "&ws_handshake=true" }));
  assert.match(crowded, /^HTTP\/1\.1 429 /);
  const known = await answerTo(upgradeBytes({})); // its token came with it: it is no stranger
  assert.match(known, /^HTTP\/1\.1 101 /);
  for (const client of silent) assert.equal((await client.ended()).code, 1008);
  assert.equal((await exec(door.port, { command: ["true"] })).code, 1000);
});

test("few strangers are let in of all addresses together", async () => {
  await using small = await testDoor({ maxStrangers: 1 });
  const silent = await new ExecClient(small.port, { ...echo, token: "" }).opened();
  const crowded = await answerTo(upgradeBytes({ query: "&ws_handshake=true" }), small);
  assert.match(crowded, /^HTTP\/1\.1 429 /);
  silent.send({ version: 1, auth_token: "full" });
  assert.equal((await silent.ended()).code, 1000);
});

test("a message above 1 MiB ends the session", async () => {
  const client = await new ExecClient(door.port, { command: ["cat"] }).opened();
  client.send("x".repeat(1024 * 1024 + 1));
  const { code, reason } = await client.ended();
  assert.equal(code, 1009);
  assert.equal(reason, "the message is larger than the 1024 KiB that an agent takes");
});

test("garbage and cut connections after the 101 leave the agent alive and empty", async () => {
  const giant = Buffer.from([
    0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
  ]);
  const garbage = [giant, Buffer.from([0xff, 0x80]), Buffer.from([0x81, 0x05, 1, 2, 3, 4, 5])];
  for (let count = 0; count < 20; count++) garbage.push(randomBytes(5 + count));
  await Promise.all(
    garbage.map(async (bytes) => {
      const socket = connect(door.port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(upgradeBytes({}));
      await once(socket, "data");
      socket.write(bytes);
      socket.resume();
      setImmediate(() => socket.resetAndDestroy());
      await once(socket, "close");
    }),
  );
  await eventually(() => door.server.live === 0, "the end of all sessions");
  assert.equal((await exec(door.port, { command: ["true"] })).code, 1000);
});

test("upgrades that are reset at once do no harm", async () => {
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      const socket = connect(door.port, "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      socket.write(upgradeBytes({}), () => socket.resetAndDestroy());
      await once(socket, "close");
    }),
  );
  await eventually(() => door.server.live === 0, "the end of all sessions");
  assert.equal((await exec(door.port, { command: ["true"], id: allocationId })).code, 1000);
});

test("a command whose caller's end came with the upgrade does not run", async () => {
  const marker = join(tmpdir(), `serai-ran-${process.pid}-${randomBytes(4).toString("hex")}`);
  for (let count = 0; count < 20; count++) {
    const socket = connect(door.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.end(upgradeBytes({ command: ["/usr/bin/touch", marker] }));
    socket.resume();
    await once(socket, "close");
  }
  await eventually(() => door.server.live === 0, "the end of all sessions");
  assert.equal((await exec(door.port, { command: ["true"] })).code, 1000);
  assert.ok(!existsSync(marker));
});
