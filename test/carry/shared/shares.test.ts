/** Which logs have a ring when there may be few. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCarry } from "../../../src/carry/carry.ts";
import { createShares } from "../../../src/carry/shared/shares.ts";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, type RawClient, rawClient } from "../../support/raw-client.ts";
import { clock, eventually, front, nodeAt, pathOf } from "../front.ts";
import { chunk, entered, head, last, told } from "./records-answer.ts";

const stageFor = async (maxRings: number) => {
  await using stack = new AsyncDisposableStack();
  const agent = stack.use(
    await faultyAgent(({ socket, head: asked }) => {
      const isPlace = /X-Serai-Form: place/i.test(asked);
      socket.write(Buffer.concat([Buffer.from(head), entered, isPlace ? last : told("abc", 3)]));
      if (isPlace) return;
      const beats = setInterval(() => socket.write(chunk("{}\n")), 20);
      socket.once("close", () => clearInterval(beats));
    }),
  );
  const shares = createShares({ maxRings });
  const carry = createCarry({ clock, agents: "serai", shares });
  const gate = stack.use(await front({ route: "fs.logs", node: nodeAt(agent.address), carry }));
  const clients: RawClient[] = [];
  stack.defer(() => {
    for (const { socket } of clients) socket.destroy();
  });
  const all = stack.move();
  return {
    shares,
    async watch(task: string): Promise<RawClient> {
      const client = rawClient(gate.port, get(pathOf("fs.logs").replace("task=web", task)));
      clients.push(client);
      await client.seen('"Data"');
      return client;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};

test("logs of one viewer each take no ring from a log of two", async () => {
  await using stage = await stageFor(1);
  for (const lone of ["task=a", "task=b", "task=c"]) await stage.watch(lone);
  for (const one of ["task=web", "task=web"]) await stage.watch(one);
  await eventually(() => stage.shares.stats.viewers, 2);
});

test("a log of two has none while there are as many as there may be, and gets the next that is free", async () => {
  await using stage = await stageFor(1);
  const first = [await stage.watch("task=web"), await stage.watch("task=web")];
  await eventually(() => stage.shares.stats.viewers, 2);
  for (const one of ["task=a", "task=a", "task=a"]) await stage.watch(one);
  await new Promise((resolve) => setTimeout(resolve, 100)); // each has beaten some times
  assert.deepEqual(stage.shares.stats, { follows: 1, viewers: 2 });
  for (const { socket } of first) socket.destroy();
  await eventually(() => stage.shares.stats.viewers, 3);
  assert.equal(stage.shares.stats.follows, 1);
});
