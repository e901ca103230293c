/** Upgrades as real clients and proxies spell them, and as nobody may: one reading of the header, no body, no second request. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { sendRaw } from "../support/raw.ts";
import { type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode } from "../support/scripted-node.ts";
import { execClient } from "../support/ws-client.ts";

let rig: Rig;
let id = "";
let token = "";
let port = 0;
let path = "";

before(async () => {
  rig = await startRig({
    settings: { limits: { handshake: "1s", handshakes_per_address: 32 } },
    agents: [
      {
        workloads: [
          {
            job: "j",
            group: "g",
            tasks: [{ name: "main", command: "/bin/sleep", args: ["1000"] }],
          },
        ],
      },
    ],
  });
  id = rig.allocation("j");
  token = rig.secret("management");
  port = Number(new URL(rig.url).port);
  path = `/v1/client/allocation/${id}/exec?task=main&command=%5B%22true%22%5D`;
});
after(() => rig[Symbol.asyncDispose]());

const upgrade = (target: string, ...headers: readonly string[]): string =>
  [
    `GET ${target} HTTP/1.1`, "Host: gate", `X-Nomad-Token: ${token}`, "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", ...headers, "", "",
  ].join("\r\n"); // biome-ignore format: a request

describe("Connection and Upgrade in any order and case", { concurrency: true }, () => {
  const spellings: readonly (readonly string[])[] = [
    ["Connection: Upgrade", "Upgrade: websocket"],
    ["Upgrade: websocket", "Connection: Upgrade"],
    ["connection: upgrade", "upgrade: WebSocket"],
    ["CONNECTION: UPGRADE", "UPGRADE: WEBSOCKET"],
    ["Connection: keep-alive, Upgrade", "Upgrade: websocket"],
    ["Connection: Upgrade, keep-alive", "Upgrade: websocket"],
    ["Connection: keep-alive,upgrade", "Upgrade: websocket"],
    ["Connection: keep-alive", "Connection: Upgrade", "Upgrade: websocket"],
  ]; // biome-ignore format: a table
  for (const headers of spellings)
    test(`${headers.join(" | ")} is an upgrade`, async () => {
      const answer = await sendRaw(port, upgrade(path, ...headers), 1_000);
      assert.equal(answer.status, 101, answer.text);
      assert.match(answer.text, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
      assert.match(answer.text, /"exited":true/);
    });

  for (const headers of [
    ["Upgrade: websocket"],
    ["Connection: keep-alive", "Upgrade: websocket"],
    ["Connection: Upgrade", "Upgrade: h2c"],
    ["Connection: Upgrade", "Upgrade: foo"],
    ["Connection: Upgrade", "Upgrade: websocket, h2c"],
    ["Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"],
    ["Connection: Upgrade"],
  ] as const)
    test(`${headers.join(" | ")} is none: answered as plain HTTP, nothing run`, async () => {
      const answer = await sendRaw(port, upgrade(path, ...headers), 300);
      assert.equal(answer.status, 500, answer.text);
      assert.ok(answer.text.endsWith("websocket connection not found in context"), answer.text);
      assert.equal(answer.text.split("HTTP/1.1 ").length, 2);
    });
});

describe("an upgrade with a body, or that is refused", () => {
  const ways: readonly (readonly [name: string, headers: readonly string[], body: string])[] = [
    ["Content-Length", ["Content-Length: 5"], "hello"],
    ["chunks", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n"],
    ["version 777", ["Sec-WebSocket-Version: 777"], ""],
    ["a foreign Origin", ["Origin: https://evil.example"], ""],
  ]; // biome-ignore format: a table
  for (const [name, headers, body] of ways)
    test(`${name}: refused, closed, and what comes behind is no request`, async () => {
      const behind = `GET /v1/regions HTTP/1.1\r\nHost: gate\r\n\r\n`;
      const bytes = `${upgrade(path, "Connection: Upgrade", "Upgrade: websocket", ...headers)}${body}${behind}`;
      const answer = await sendRaw(port, bytes, 1_000);
      assert.ok(answer.status === 400 || answer.status === 403, answer.text);
      assert.notEqual(answer.end, "open");
      assert.equal(answer.text.split("HTTP/1.1 ").length, 2, "one answer");
      assert.equal(answer.text.includes('"global"'), false);
    });
});

test("many sockets that owe their token are let go, and an honest exec runs beside them", async () => {
  const silent = Array.from({ length: 200 }, () => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.write(
      upgrade(`${path}&ws_handshake=true`, "Connection: Upgrade", "Upgrade: websocket").replace(
        /X-Nomad-Token: .*\r\n/,
        "",
      ),
    );
    return once(socket, "close");
  });
  const honest = execClient({
    url: rig.url,
    allocation: id,
    task: "main",
    token,
    command: ["echo", "in"],
  });
  assert.equal((await honest.closed).code, 1000);
  assert.equal(honest.output("stdout").toString(), "in\n");
  await Promise.all(silent);
});

describe("a session that idles", () => {
  test("lives on with a client that sends {} now and then, and with one that sends nothing", async () => {
    const [chatty, quiet] = [true, false].map(() =>
      execClient({ url: rig.url, allocation: id, task: "main", token, command: ["cat"] }),
    );
    assert.ok(chatty && quiet);
    await Promise.all([chatty.opened, quiet.opened]);
    for (let beat = 0; beat < 200; beat++) chatty.send({});
    for (const one of [chatty, quiet]) {
      one.stdin("still here\n");
      await one.seen("still here");
      one.closeStdin();
      assert.equal((await one.closed).code, 1000);
      assert.equal(one.exitCode(), 0);
    }
  });
});

describe("an agent that does not upgrade", () => {
  let node: ScriptedNode;
  before(async () => {
    node = await joinScriptedNode(rig, () => undefined);
  });
  after(() => node[Symbol.asyncDispose]());

  for (const status of ["200 OK", "403 Forbidden", "426 Upgrade Required"])
    test(`${status}: what the caller sends behind its upgrade never reaches the agent`, async () => {
      node.forget();
      node.answer = (socket) =>
        void socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 2\r\n\r\nno`);
      const target = path.replace(id, node.allocationId);
      const evil = "GET /v1/client/gc HTTP/1.1\r\nHost: agent\r\n\r\n";
      const bytes = `${upgrade(target, "Connection: Upgrade", "Upgrade: websocket")}${evil}`;
      const answer = await sendRaw(port, bytes, 1_000);
      assert.equal(answer.status, 101);
      assert.equal(answer.text.includes("gc"), false);
      const heard = node.heard().join("");
      assert.equal(heard.includes("/v1/client/gc"), false, heard);
      assert.ok(
        heard.split("HTTP/1.1\r\n").length <= 2,
        "one request at most, and nothing behind it",
      );
    });
});
