/** Members of a shared follow that read slowly, or not at all. */
import assert from "node:assert/strict";
import { appendFileSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { eventually } from "../front.ts";
import { agentBehind } from "./agent-behind.ts";

type Scene = Awaited<ReturnType<typeof agentBehind>>;

const begun = async (stage: Scene, ...queries: readonly string[]) => {
  writeFileSync(stage.log, "begin\n");
  const viewers = queries.map((query) => stage.watch(query));
  for (const { data } of viewers) await eventually(() => data().length, 6);
  await eventually(() => stage.follows.size, 1); // they share
  return viewers;
};

/** The log grows until the gateway's first viewer, who reads no more, stands still; what it is long then. */
const stalled = async ({ gate, log }: Scene): Promise<number> => {
  const tally = gate.exchanges[0]?.tally ?? assert.fail();
  const piece = Buffer.alloc(65_536, "old\n");
  let written = 6;
  while (tally.callerStalledAtMs === undefined) {
    const before = tally.bytesOut;
    appendFileSync(log, piece);
    written += piece.length;
    await eventually(() => tally.bytesOut > before, true);
  }
  return written;
};

test("a viewer that joins while all others stand still has what is written from then on", async () => {
  await using stage = await agentBehind();
  const [still, other] = await begun(stage, "plain=true", "plain=true");
  other?.client.socket.destroy();
  await eventually(() => stage.follows.size, 1);
  still?.client.socket.pause();
  await stalled(stage);
  await new Promise((resolve) => setTimeout(resolve, 300)); // the agent is heard once more, then held
  const late = stage.watch("origin=end&offset=100");
  await eventually(() => late.data().length, 100);
  appendFileSync(stage.log, "news\n");
  await eventually(() => late.data().subarray(100).toString(), "news\n");
});

test("one that a truncation and much behind it overtake is cut: it would go on in other bytes", async () => {
  await using stage = await agentBehind();
  const [slow, quick] = await begun(stage, "", "plain=true");
  assert.ok(slow && quick);
  const passed = (bytes: number) => eventually(() => quick.client.socket.bytesRead > bytes, true);
  slow.client.socket.pause();
  const written = await stalled(stage);
  await passed(written);
  truncateSync(stage.log, 0);
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // the agent looks at it four times
  const fresh = Buffer.alloc(written + 1_000_000, "new\n");
  appendFileSync(stage.log, fresh);
  await passed(written + fresh.length);
  const codes: (string | undefined)[] = [];
  void stage.gate.ended().then(({ error }) => codes.push(error?.code));
  slow.client.socket.resume();
  await eventually(() => codes[0], "gone");
  assert.equal((await slow.client.answer()).end, "cut");
});
