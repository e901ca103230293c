/** A log that begins anew under plain viewers, alone and as members of a shared follow. */
import assert from "node:assert/strict";
import { appendFileSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { eventually } from "../front.ts";
import { agentBehind } from "./agent-behind.ts";

test("a lone plain viewer with a token is cut when its log is truncated", async () => {
  await using stage = await agentBehind();
  writeFileSync(stage.log, "old\n");
  const marked = stage.watch("plain=true&resume=true");
  await eventually(() => marked.data().toString(), "old\n");
  truncateSync(stage.log, 0);
  await eventually(() => marked.client.socket.closed, true);
  assert.equal((await stage.gate.ended()).error?.code, "gone");
  assert.equal((await marked.client.answer()).end, "cut");
});

test("so is a member; one without a token goes on", async () => {
  await using stage = await agentBehind();
  writeFileSync(stage.log, "old\n");
  const marked = stage.watch("plain=true&resume=true");
  const plain = stage.watch("plain=true");
  for (const { data } of [marked, plain]) await eventually(() => data().toString(), "old\n");
  await eventually(() => stage.follows.size, 1); // they share
  truncateSync(stage.log, 0);
  await eventually(() => marked.client.socket.closed, true);
  assert.equal((await stage.gate.ended()).error?.code, "gone");
  assert.equal((await marked.client.answer()).end, "cut");
  appendFileSync(stage.log, "new\n");
  await eventually(() => plain.data().toString(), "old\nnew\n");
});
