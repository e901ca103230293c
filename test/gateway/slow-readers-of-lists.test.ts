/** A list that is larger than what the system takes at once: its reader has as long as a download's, and a drain waits for it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { get, type RawClient, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

const limitMs = 1_000;
const metaBytes = 900_000;
const agents = 3;
const jobs = 4;

let rig: Rig;

before(async () => {
  rig = await startRig({
    settings: { timeouts: { idle: `${limitMs}ms`, drain: "10s" } },
    agents: Array.from({ length: agents }, (_agent, at) => ({
      workloads: Array.from({ length: jobs }, (_job, nth) => ({
        job: `large-${at}-${nth}`,
        group: "g",
        meta: { words: "x".repeat(metaBytes) },
        tasks: [{ name: "t", command: "sleep", args: ["1000"], kill_timeout: "1s" }],
      })),
    })),
  });
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const list = "/v1/jobs?meta=true";

/** Reads nothing behind the first bytes. */
const slowReader = async (): Promise<RawClient> => {
  const reader = rawClient(
    Number(new URL(rig.url).port),
    get(list, `X-Nomad-Token: ${rig.secret("management")}\r\n`),
  );
  await reader.seen("200 OK");
  reader.socket.pause();
  return reader;
};

test("a reader that takes nothing of a list is ended as too slow", async () => {
  const reader = await slowReader();
  await eventually(
    "it is told",
    () => rig.logText().includes('"code":"client_too_slow"') || undefined,
    5 * limitMs,
  );
  reader.socket.resume();
  assert.notEqual((await reader.answer()).end, "whole");
});

test("a list that is on its way when the gateway is told to stop arrives whole", async () => {
  const reader = await slowReader();
  const drained = rig.gateway.drain();
  await new Promise((resolve) => setTimeout(resolve, limitMs / 2));
  reader.socket.resume();
  const { end, body } = await reader.answer();
  assert.equal(end, "whole");
  assert.ok(body.length > agents * jobs * metaBytes);
  await drained;
});
