/** One request to an agent, and the time in which it may be silent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { ask, type Flow } from "../../src/carry/ask.ts";
import type { Reach } from "../../src/ports.ts";
import type { Receiver } from "../../src/upstream/connection.ts";
import { HeaderLines } from "../../src/upstream/pool.ts";
import { nodeAt } from "./front.ts";

const head = {
  status: 200,
  headers: {},
  framing: { kind: "chunked" },
  keepAlive: true,
} as const;

test("the time in which a caller took nothing is not the agent's silence", async () => {
  let agent: Receiver | undefined;
  let flow: Flow | undefined;
  const reach: Reach = {
    node: nodeAt("127.0.0.1:1"),
    origin: "http://127.0.0.1:1",
    pool: {
      request(_request, receiver) {
        agent = receiver;
        return { resume: () => undefined, abort: () => undefined };
      },
      endIdle: () => undefined,
    },
    connect: () => Promise.reject(new Error("nobody connects")),
    headers: {},
    failed: () => undefined,
    succeeded: () => undefined,
  };
  const shared = new HeaderLines({});
  const heard: string[] = [];
  const asked = ask(
    { method: "GET", path: "/", shared, headers: {}, body: undefined, safe: true },
    { reach, signal: new AbortController().signal, deadlineMs: undefined, silenceMs: 1_000 },
    {
      head(_status, _headers, given) {
        flow = given;
        return "downloads";
      },
      data: (chunk) => heard.push(chunk.toString()) > 1,
      end: () => undefined,
    },
  );
  agent?.started();
  agent?.head(head);
  assert.equal(agent?.data(Buffer.from("one"), undefined), false);
  await wait(700);
  flow?.resume();
  await wait(700);
  assert.equal(agent?.data(Buffer.from("two"), undefined), true);
  await assert.rejects(asked, { code: "upstream_timeout" });
  assert.deepEqual(heard, ["one", "two"]);
});
