/** Metadata with the settings as they come: seen within eleven seconds, a thousand updates in one write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject } from "../../src/lib/json.ts";
import { times } from "../support/hostile.ts";
import { eventually, startRig } from "../support/rig.ts";

test("a thousand updates to one node are in the node registry within 11 s of the first, by one write", async (t) => {
  await using rig = await startRig({ agents: [{ workloads: [] }] });
  const { nodeId } = rig.agent();
  const { registry } = rig.gateway;
  const token = rig.secret("management");
  const write = async (key: string, value: string): Promise<void> => {
    const reply = await rig.ask({
      method: "POST",
      path: "/v1/client/metadata",
      token,
      body: JSON.stringify({ NodeID: nodeId, Meta: { [key]: value } }),
    });
    assert.equal(reply.status, 200, reply.text);
  };
  // the window that the announcement opened is over
  await registry.flushMetadata(AbortSignal.timeout(10_000));
  const before = registry.nodeWrites;
  const startedAt = performance.now();
  await write("first", "yes");
  const inWindow = (): boolean => performance.now() - startedAt < 8_000;
  let updates = 1;
  await times(999, 16, async (nth) => {
    if (!inWindow()) return;
    await write(`k${nth % 40}`, String(nth));
    updates++;
  });
  assert.ok(!inWindow() || registry.nodeWrites === before, "nothing is written inside the window");
  const filter = encodeURIComponent('Meta.first == "yes"');
  await eventually("it is seen", async () => {
    const list = (await rig.get(`/v1/nodes?filter=${filter}`, token)).json();
    return Array.isArray(list) && list.length === 1 ? true : undefined;
  });
  const seenMs = performance.now() - startedAt;
  t.diagnostic(
    `${updates} updates, seen after ${seenMs.toFixed(0)} ms, ${registry.nodeWrites - before} write`,
  );
  assert.ok(seenMs < 11_000, `${seenMs} ms`);
  assert.equal(registry.nodeWrites, before + 1);
  const node = (await rig.get(`/v1/node/${nodeId}`, token)).json();
  const truth = (await rig.get(`/v1/client/metadata?node_id=${nodeId}`, token)).json();
  assert.ok(isJsonObject(node) && isJsonObject(truth));
  assert.deepEqual(node["Meta"], truth["Meta"]);
});
