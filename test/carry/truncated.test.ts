/** A log of a Nomad agent that is truncated under plain readers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent, type Script } from "../support/faulty-agent.ts";
import { get, parseAnswer, rawClient } from "../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "./front.ts";

const file = "alloc/logs/web.stdout.0";
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const frame = (text: string): string => {
  const data = Buffer.from(text).toString("base64");
  return chunk(JSON.stringify({ Data: data, File: file, Offset: text.length }));
};
const truncated = chunk(JSON.stringify({ File: file, FileEvent: "file truncated" }));

const script: Script = ({ socket, head }) => {
  if (head.includes("/fs/ls/")) {
    const list = JSON.stringify([{ Name: "web.stdout.0", IsDir: false, Size: 4 }]);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${list.length}\r\n\r\n${list}`);
    return;
  }
  const isPlain = head.includes("plain=true");
  const first = isPlain ? chunk("old\n") : frame("old\n");
  socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${first}`);
  setTimeout(() => socket.write(isPlain ? chunk("new\n") : truncated + frame("new\n")), 200);
};

test("one with a token is cut: it would count new bytes for old ones", async () => {
  await using agent = await faultyAgent(script);
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(agent.address),
    agents: "nomad",
  });
  const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&plain=true&resume=true`));
  await eventually(() => client.socket.closed, true);
  const { body, end } = await client.answer();
  assert.equal(body.toString(), "old\n");
  assert.equal(end, "cut");
  assert.equal((await gate.ended()).error?.code, "gone");
});

for (const [query, told] of [
  ["plain=true", "old\nnew\n"],
  ["resume=true", "file truncated"],
] as const)
  test(`one with ${query} alone goes on`, async () => {
    await using agent = await faultyAgent(script);
    await using gate = await front({
      route: "fs.logs",
      node: nodeAt(agent.address),
      agents: "nomad",
    });
    const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&${query}`));
    const end = query === "plain=true" ? "new\n" : Buffer.from("new\n").toString("base64");
    const body = (): string => parseAnswer(client.received()).body.toString();
    await eventually(() => body().includes(end), true);
    assert.ok(body().includes(told));
    client.socket.destroy();
  });
