import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import type { NodeDocument } from "../../src/documents.ts";
import { Indexes } from "../../src/registry/indexes.ts";
import { checkNode } from "../../src/registry/node-document.ts";
import { NodeRegistry } from "../../src/registry/node-registry.ts";
import { nodeBody } from "./documents.ts";
import { FakeTime } from "./fake-time.ts";
import { TemporaryFolder } from "./registry-under-test.ts";
import { until } from "./until.ts";

const nodeOf = (id: string): NodeDocument => {
  const checked = checkNode(nodeBody(id, "10.0.0.1:4646"), id);
  assert.ok(checked.ok);
  return checked.value;
};

const note = (): void => {};

const registryIn = (file: string, time: FakeTime): NodeRegistry =>
  new NodeRegistry(
    {
      clock: time,
      timers: time,
      log: { debug: note, info: note, warn: note, error: note },
      indexes: new Indexes(1),
      changed: note,
      removed: note,
    },
    { file, saveDelayMs: 10, maxNodes: 1_000 },
    { index: 1, nodes: [] },
  );

test("a large fleet is written down in many turns of the loop, with what changed meanwhile", async () => {
  await using folder = await TemporaryFolder.make();
  const file = `${folder.path}/nodes.json`;
  const time = new FakeTime();
  const registry = registryIn(file, time);
  const nodes = Array.from({ length: 100 }, () => nodeOf(randomUUID()));
  let heldMs = 0;
  let mostMs = 0;
  const costly = (): object => {
    time.stall(1); // a millisecond of work
    heldMs += 1;
    mostMs = Math.max(mostMs, heldMs);
    return {};
  };
  for (const node of nodes) registry.put({ ...node, Links: { toJSON: costly } }, "ready");
  let isOver = false;
  const others = (): void => {
    heldMs = 0;
    if (!isOver) setImmediate(others);
  };
  others();
  time.advance(10);
  await until("its writing has begun", () => mostMs > 0);
  const [firstId = ""] = nodes.map(({ ID }) => ID).sort();
  registry.setStatus(firstId, "down", "meanwhile");
  await registry.close();
  isOver = true;
  assert.ok(mostMs < 20, `${mostMs} ms without a turn for others`);
  const saved = JSON.parse(await readFile(file, "utf8"));
  assert.equal(saved.Nodes.length, nodes.length);
  const { Status, ModifyIndex } = saved.Nodes.find(({ ID }: NodeDocument) => ID === firstId);
  assert.equal(Status, "down");
  assert.ok(ModifyIndex <= saved.Index);
});

test("changes that come while the nodes are written share the next writing", async () => {
  await using folder = await TemporaryFolder.make();
  const time = new FakeTime();
  const registry = registryIn(`${folder.path}/nodes.json`, time);
  const node = nodeOf(randomUUID());
  let written = 0;
  const counting = (): object => {
    written += 1;
    return {};
  };
  for (let change = 0; change < 50; change++) {
    registry.put({ ...node, NodeClass: `class-${change}`, Links: { toJSON: counting } }, "ready");
    time.advance(10);
  }
  await registry.close();
  assert.ok(written <= 3, `it was written ${written} times`);
  const { Nodes } = JSON.parse(await readFile(`${folder.path}/nodes.json`, "utf8"));
  assert.equal(Nodes[0].NodeClass, "class-49");
});
