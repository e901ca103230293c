/** A shared follow that breaks while its viewers watch: it is opened anew where it stood, but not again and again. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, parseAnswer, rawClient } from "../../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "../front.ts";
import { chunk, entered, enteredAt, head, told } from "./records-answer.ts";

const first = "abc";

/** Two viewers that share a follow. Each that is opened where one stood has one more byte of the log. */
const shared = async () => {
  await using stack = new AsyncDisposableStack();
  const follows = new Set<Socket>();
  let end = first.length;
  const agent = stack.use(
    await faultyAgent(({ socket, head: asked }) => {
      const isAnew = asked.includes("resume=");
      const says = isAnew ? [enteredAt(end), told("d", ++end)] : [entered, told(first, end)];
      socket.write(Buffer.concat([Buffer.from(head), ...says]));
      const beats = setInterval(() => socket.write(chunk("{}\n")), 20);
      follows.add(socket);
      socket.once("close", () => {
        clearInterval(beats);
        follows.delete(socket);
      });
    }),
  );
  const gate = stack.use(await front({ route: "fs.logs", node: nodeAt(agent.address) }));
  const ask = get(`${pathOf("fs.logs")}&plain=true`);
  const clients = [rawClient(gate.port, ask), rawClient(gate.port, ask)];
  stack.defer(() => {
    for (const { socket } of clients) socket.destroy();
  });
  await eventually(() => agent.requests.length, 3); // the third is the shared one
  await eventually(() => follows.size, 1);
  const all = stack.move();
  return {
    agent,
    clients,
    /** Breaks it once both have heard what it has. */
    async breakAfter(text: string): Promise<void> {
      for (const { received } of clients)
        await eventually(() => parseAnswer(received()).body.toString(), text);
      for (const socket of follows) socket.destroy();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};

test("one that breaks soon, each time, is opened anew twice, and then its viewers are cut", async () => {
  await using stage = await shared();
  for (const text of ["abc", "abcd", "abcdd"]) await stage.breakAfter(text);
  for (const client of stage.clients) {
    await eventually(() => client.socket.closed, true);
    assert.equal((await client.answer()).end, "cut");
  }
  assert.equal(stage.agent.requests.length, 5);
});

test("one that has lived for a while before each break is opened anew each time", async (t) => {
  await using stage = await shared();
  const { now } = performance;
  let laterMs = 0;
  t.mock.method(performance, "now", () => now.call(performance) + laterMs);
  for (let text = first; text.length < 8; text += "d") {
    laterMs += 11_000;
    await stage.breakAfter(text);
  }
  await stage.breakAfter("abcddddd");
});
