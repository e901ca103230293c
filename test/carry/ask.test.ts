/** One request to an agent, and the time in which it may be silent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { ask, type Flow, type Listener } from "../../src/carry/ask.ts";
import type { AgentRequest } from "../../src/carry/request.ts";
import type { Reach } from "../../src/ports.ts";
import { type Asker, HeaderLines } from "../../src/upstream/pool.ts";
import { socketPair, standStill } from "../support/stand-still.ts";
import { nodeAt } from "./front.ts";

const head = {
  status: 200,
  headers: {},
  framing: { kind: "chunked" },
  keepAlive: true,
} as const;

/** An agent that is played, with the last one that asked it. */
const played = () => {
  const asked: { asker?: Asker } = {};
  const reach: Reach = {
    node: nodeAt("127.0.0.1:1"),
    origin: "http://127.0.0.1:1",
    pool: {
      request(_request, asker) {
        asked.asker = asker;
        return { resume: () => undefined, abort: () => undefined };
      },
      endIdle: () => undefined,
      isShort: false,
      bound: "all 1 for tests",
    },
    connect: () => Promise.reject(new Error("nobody connects")),
    headers: {},
    failed: () => undefined,
    succeeded: () => undefined,
  };
  return { asked, reach };
};

const request: AgentRequest = {
  method: "GET",
  path: "/",
  shared: new HeaderLines({}),
  headers: {},
  body: undefined,
  safe: true,
};

test("the time in which a caller took nothing is not the agent's silence", async () => {
  const { asked: agent, reach } = played();
  let flow: Flow | undefined;
  const heard: string[] = [];
  const asked = ask(
    request,
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
  agent.asker?.started();
  agent.asker?.head(head);
  assert.equal(agent.asker?.data(Buffer.from("one"), undefined, 3), false);
  await wait(700);
  flow?.resume();
  await wait(700);
  assert.equal(agent.asker?.data(Buffer.from("two"), undefined, 3), true);
  await assert.rejects(asked, { code: "upstream_timeout" });
  assert.deepEqual(heard, ["one", "two"]);
});

test("what an agent has said while this process stood still counts as said in time", async () => {
  using line = await socketPair();
  const { asked: agent, reach } = played();
  const heard: string[] = [];
  const asked = ask(
    request,
    { reach, signal: new AbortController().signal, deadlineMs: undefined, silenceMs: 100 },
    {
      head: () => "downloads",
      data: (chunk) => heard.push(chunk.toString()) > 0,
      end: () => undefined,
    },
  );
  agent.asker?.started();
  agent.asker?.head(head);
  line.near.on("data", (chunk) => {
    agent.asker?.data(chunk, undefined, chunk.length);
    agent.asker?.end();
  });
  setImmediate(() => {
    line.far.write("in time");
    standStill(200);
  });
  await asked;
  assert.deepEqual(heard, ["in time"]);
});

test("a deadline that begins with the sending does not pass while it waits for a connection", async () => {
  const { asked: agent, reach } = played();
  const { signal } = new AbortController();
  const terms = { reach, signal, deadlineMs: 100, deadlineFrom: "sending", silenceMs: 0 } as const;
  const listener: Listener = { head: () => "follows", data: () => true, end: () => undefined };
  const ended: string[] = [];
  const asked = ask(request, terms, listener).finally(() => ended.push("asked"));
  await wait(300);
  assert.deepEqual(ended, []);
  agent.asker?.sent?.();
  await assert.rejects(asked, { code: "upstream_timeout" });
});
