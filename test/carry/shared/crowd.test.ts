/** More viewers of one log than the node has connections: each waits for its turn, which is no fault of the node's. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { eventually } from "../front.ts";
import { agentBehind } from "./agent-behind.ts";

type Scene = Awaited<ReturnType<typeof agentBehind>>;
type Watcher = ReturnType<Scene["watch"]>;

const deadlineMs = 1_500;
const maxBytes = 16 * 1024 * 1024;
const first = "begin\n";

const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Viewers that have all that is there, and have come to share one follow. */
const gathered = async (stage: Scene, count: number): Promise<readonly Watcher[]> => {
  writeFileSync(stage.log, first);
  const watchers: Watcher[] = [];
  while (watchers.length < count) {
    const came = Array.from({ length: Math.min(20, count - watchers.length) }, () =>
      stage.watch("plain=true"),
    );
    for (const { data } of came) await eventually(() => data().length, first.length);
    await eventually(() => stage.follows.size, 1);
    watchers.push(...came);
  }
  return watchers;
};

/** Writes until all but the quick one stand still, and more than the ring holds behind that. What the log is then. */
const grownPast = async (stage: Scene, quick: Watcher): Promise<Buffer> => {
  const pieces = [Buffer.from(first)];
  let length = first.length;
  const [, ...slow] = stage.gate.exchanges;
  const grow = async (): Promise<void> => {
    const piece = Buffer.alloc(65_536, `${pieces.length} of many\n`);
    pieces.push(piece);
    length += piece.length;
    appendFileSync(stage.log, piece);
    await eventually(() => quick.client.socket.bytesRead > length, true);
  };
  while (slow.some(({ tally }) => tally.callerStalledAtMs === undefined)) {
    assert.ok(length < maxBytes, "somebody reads on, or was cut");
    await grow();
  }
  for (let nth = 0; nth < 16; nth++) await grow();
  return Buffer.concat(pieces);
};

/** Reads a little at a time; the answer has it read on as fast as it can. */
const sip = ({ client: { socket } }: Watcher): (() => void) => {
  const pause = (): unknown => socket.pause();
  socket.on("data", pause);
  const timer = setInterval(() => socket.resume(), 300);
  return () => {
    clearInterval(timer);
    socket.off("data", pause);
    socket.resume();
  };
};

const hasWhole = async ({ client, data }: Watcher, whole: Buffer): Promise<void> => {
  await eventually(() => client.socket.bytesRead > whole.length, true); // which costs little to look at
  await eventually(() => hashOf(data()), hashOf(whole));
};

test("sixty that are overtaken at once, many of them slow, each have every byte", async () => {
  await using stage = await agentBehind({ deadlineMs });
  const [quick, ...others] = await gathered(stage, 61);
  assert.ok(quick);
  for (const { client } of others) client.socket.pause();
  const whole = await grownPast(stage, quick);
  const [slow, soon] = [others.slice(0, 50), others.slice(50)];
  const sipping = slow.map(sip);
  try {
    await new Promise((resolve) => setTimeout(resolve, deadlineMs + 500)); // longer than a node has for its answer
    for (const { client } of soon) client.socket.resume();
    for (const watcher of soon) await hasWhole(watcher, whole);
  } finally {
    for (const stop of sipping) stop();
  }
  for (const watcher of [quick, ...slow]) await hasWhole(watcher, whole);
  await eventually(() => stage.follows.size, 1); // they share again
});

test("two viewers at a node that admits two connections come to share one", async () => {
  await using stage = await agentBehind({ deadlineMs, reach: { streamConnections: 2 } });
  writeFileSync(stage.log, first);
  const watchers = [stage.watch("plain=true"), stage.watch("plain=true")];
  for (const { data } of watchers) await eventually(() => data().length, first.length);
  await eventually(() => stage.gate.reach.stats.waiting, 1); // the shared follow
  await eventually(() => stage.follows.size, 1);
  appendFileSync(stage.log, "news\n");
  for (const { data } of watchers) await eventually(() => data().toString(), `${first}news\n`);
});
