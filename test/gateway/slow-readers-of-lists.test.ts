/** A list that is larger than what the system takes at once: its reader has as long as a download's, and a drain waits for it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { get } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

const limitMs = 3_000;
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

interface Reader {
  readonly socket: Socket;
  readonly taken: () => number;
}

/** Reads nothing behind the first bytes until it is resumed; what it has taken is counted, not kept. */
const slowReader = async (): Promise<Reader> => {
  const socket = connect(Number(new URL(rig.url).port), "127.0.0.1");
  let bytes = 0;
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  socket.write(get(list, `X-Nomad-Token: ${rig.secret("management")}\r\nConnection: close\r\n`));
  await once(socket, "data");
  socket.pause();
  return { socket, taken: () => bytes };
};

const leastBytes = agents * jobs * metaBytes;

test("a reader that takes nothing of a list is ended as too slow", async () => {
  const { socket, taken } = await slowReader();
  await eventually(
    "it is told",
    () => rig.logText().includes('"code":"client_too_slow"') || undefined,
  );
  socket.resume();
  await once(socket, "close");
  assert.ok(taken() < leastBytes, `${taken()}`);
});

test("a list that is on its way when the gateway is told to stop arrives whole", async () => {
  const { socket, taken } = await slowReader();
  const drained = rig.gateway.drain();
  await eventually(
    "it drains",
    () => rig.logText().includes("draining live exchanges") || undefined,
  );
  await new Promise((resolve) => setTimeout(resolve, limitMs / 2)); // longer than what is not live is waited for
  socket.resume();
  await once(socket, "close");
  assert.ok(taken() > leastBytes, `${taken()}`);
  await drained;
});
