/** Agents that say too much or half close: the next caller gets its own answer, what is whole is whole, what is not is cut. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { get, rawRequest } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode, text } from "../support/scripted-node.ts";
import { execClient } from "../support/ws-client.ts";

let rig: Rig;
let node: ScriptedNode;
let port = 0;
let header = "";

before(async () => {
  rig = await startRig();
  node = await joinScriptedNode(rig, () => undefined);
  port = Number(new URL(rig.url).port);
  header = `X-Nomad-Token: ${rig.secret("management")}\r\n`;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  await rig[Symbol.asyncDispose]();
});

const paths = (): readonly string[] => [
  `/v1/client/fs/ls/${node.allocationId}?path=/`,
  `/v1/client/fs/cat/${node.allocationId}?path=/a`,
  `/v1/client/fs/logs/${node.allocationId}?task=t&type=stdout&plain=true`,
];

test("bytes behind an answer are nobody's: each caller gets the answer to its own question", async () => {
  for (const extra of [text("evil"), "HTTP/1.1 200 OK\r\n", "garbage", "\r\n\r\n\r\n"]) {
    node.forget();
    let nth = 0;
    node.answer = (socket) => void socket.write(`${text(`answer ${++nth}`)}${extra}`);
    for (let asked = 1; asked <= 12; asked++)
      for (const path of paths()) {
        const { status, body } = await rawRequest(port, get(path, header));
        assert.equal(
          `${status} ${body.toString()}`,
          `200 answer ${nth}`,
          `${path} with ${JSON.stringify(extra)} behind`,
        );
      }
  }
});

test("an answer that nobody asked for costs the agent its connection, and is given to nobody", async () => {
  node.forget();
  let nth = 0;
  node.answer = (socket) => {
    nth += 1;
    socket.write(text(`answer ${nth}`), () => setTimeout(() => socket.write(text("early")), 20));
  };
  for (const path of [...paths(), ...paths()]) {
    const { status, body } = await rawRequest(port, get(path, header));
    assert.equal(`${status} ${body.toString()}`, `200 answer ${nth}`);
    await eventually("the connection is given up", () => node.open() === 0 || undefined);
  }
});

const half = "x".repeat(1_000_000);

test("an agent that half closes after a whole download has given a whole download", async () => {
  node.forget();
  node.answer = (socket) =>
    void socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${half.length}\r\n\r\n${half}`);
  const whole = await rawRequest(port, get(paths()[1] ?? "", header));
  assert.equal(`${whole.status} ${whole.end}`, "200 whole");
  const hash = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");
  assert.equal(hash(whole.body), hash(half));
});

const ends: readonly (readonly [name: string, end: (socket: Socket) => void])[] = [
  ["closes", (socket) => void socket.end()],
  ["resets", (socket) => void setTimeout(() => socket.resetAndDestroy(), 50)],
];
for (const [name, end] of ends) {
  test(`a body whose end only the connection's end would tell is refused, when its agent ${name}`, async () => {
    node.forget();
    node.answer = (socket) =>
      void socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${half}`, () => end(socket));
    for (const path of paths()) {
      const { status, headers } = await rawRequest(port, get(path, header));
      assert.equal(`${status} ${headers.get("x-serai-error")}`, "502 upstream_invalid", path);
    }
  });

  test(`chunks without their last are never whole, though the agent said it would close and ${name}`, async () => {
    node.forget();
    node.answer = (socket) =>
      void socket.write(
        `HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n${half}\r\n`,
        () => end(socket),
      );
    const [ls = "", ...streams] = paths();
    assert.equal((await rawRequest(port, get(ls, header))).status, 502);
    for (const path of streams) {
      const answer = await rawRequest(port, get(path, header));
      assert.equal(answer.status, 200);
      assert.notEqual(answer.end, "whole", path);
    }
  });
}

test("an exec whose agent half closes without an exit code is closed in time, with what it had said", async () => {
  node.forget();
  node.answer = (socket, head) => {
    const key = /sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? "";
    const accept = createHash("sha1")
      .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    const said = Buffer.from(
      JSON.stringify({ stdout: { data: Buffer.from("last words").toString("base64") } }),
    );
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.end(Buffer.concat([Buffer.from([0x81, said.length]), said]));
  };
  const client = execClient({
    url: rig.url,
    allocation: node.allocationId,
    task: "t",
    token: rig.secret("management"),
    command: ["cat"],
  });
  client.opened.then(
    () => client.stdin("more"),
    () => undefined,
  );
  const { code, reason } = await client.closed;
  assert.equal(code, 1011, reason);
  assert.ok(reason.includes(node.name), reason);
  assert.equal(client.output("stdout").toString(), "last words");
  assert.equal(client.exitCode(), undefined);
});
