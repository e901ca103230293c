/** Allocations of a node that is down: shown as lost over what their agent told, until it tells again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { never, RegistryUnderTest, TemporaryFolder } from "../registry-under-test.ts";

const lostWords = {
  ClientStatus: "lost",
  DesiredStatus: "stop",
  DesiredDescription: "alloc is lost since its node is down",
};

const statusOf = ({ registry }: RegistryUnderTest, id: string) => {
  const { ClientStatus, DesiredStatus, DesiredDescription } = registry.allocation(id) ?? {};
  return { ClientStatus, DesiredStatus, DesiredDescription };
};

const silence = (under: RegistryUnderTest, agent: AgentUnderTest): Promise<void> =>
  under.until("it is down", () => under.registry.node(agent.nodeId)?.Status === "down", 1_000);

test("what runs on a node that is down is lost, everywhere at once, and is what its agent says when it is back", async () => {
  await using agent = await AgentUnderTest.start();
  await using other = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry, time } = under;
  const directory = new PackedDirectory({ clock: time, timers: time, feed: registry.feed });
  registry.feed.follow(directory);
  const running = allocationBody(agent.nodeId);
  const done = allocationBody(agent.nodeId, { ClientStatus: "complete" });
  const elsewhere = allocationBody(other.nodeId);
  agent.list(running, done);
  other.list(elsewhere);
  await under.announce(agent);
  await under.announce(other);
  await under.until("all are held", () => [...registry.allocations()].length === 3);
  const before = registry.allocation(running.ID);
  const doneBefore = registry.allocation(done.ID);
  const index = registry.index("allocs");
  let woken = false;
  void registry.changed("allocs", index, never).then(() => {
    woken = true;
  });

  for (let beats = 0; beats < 40; beats++) {
    time.advance(1_000);
    await under.announce(other);
  }
  assert.equal(registry.node(agent.nodeId)?.Status, "down");
  await under.until("the blocking query wakes", () => woken, 0);
  const lost = registry.allocation(running.ID);
  assert.deepEqual(statusOf(under, running.ID), lostWords);
  assert.equal(lost?.CreateIndex, before?.CreateIndex);
  assert.ok((lost?.ModifyIndex ?? 0) > index);
  assert.equal(registry.index("allocs"), lost?.ModifyIndex);
  assert.deepEqual(lost?.TaskStates, before?.TaskStates); // what its agent last told
  assert.equal(registry.allocation(done.ID), doneBefore);
  assert.deepEqual(
    [...registry.allocations()].map(({ ID, ClientStatus }) => [ID, ClientStatus]),
    [running, done, elsewhere].map(({ ID }) => [ID, registry.allocation(ID)?.ClientStatus]),
  );
  assert.equal(directory.allocation(running.ID)?.terminal, "lost");
  assert.equal((await registry.feed.lookup(running.ID, never))?.terminal, "lost");
  assert.equal(directory.allocation(elsewhere.ID)?.terminal, undefined);

  await under.announce(agent);
  await under.until("it runs", () => statusOf(under, running.ID).ClientStatus === "running");
  assert.equal(statusOf(under, running.ID).DesiredStatus, "run");
  assert.ok((registry.allocation(running.ID)?.ModifyIndex ?? 0) > (lost?.ModifyIndex ?? 0));
  assert.equal(registry.allocation(running.ID)?.CreateIndex, before?.CreateIndex);
  assert.equal(directory.allocation(running.ID)?.terminal, undefined);
});

test("what ended or left while the node was down is so when it is back", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const [ended, left] = [allocationBody(agent.nodeId), allocationBody(agent.nodeId)];
  agent.list(ended, left);
  await under.announce(agent);
  await under.until("both are held", () => under.registry.allocation(left.ID) !== undefined);
  await silence(under, agent);
  agent.list({ ...ended, ClientStatus: "failed" });
  assert.equal(statusOf(under, ended.ID).ClientStatus, "lost");
  await under.announce(agent);
  await under.until("one is gone", () => under.registry.allocation(left.ID) === undefined);
  assert.equal(statusOf(under, ended.ID).ClientStatus, "failed");
});

test("a document that is not sound any more does not keep its allocation lost", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  await under.announce(agent);
  await under.until("it is held", () => under.registry.allocation(one.ID) !== undefined);
  await silence(under, agent);
  agent.overrides.set(agent.allocationsPath, (request, response) => {
    if (request.url?.includes("index=0") !== true) return; // a blocking query waits
    response.setHeader("X-Nomad-Index", 9);
    response.end(`[{"ID":"${one.ID}","NodeID":"${agent.nodeId}"}]`);
  });
  await under.announce(agent);
  await under.until("it runs", () => statusOf(under, one.ID).ClientStatus === "running");
  assert.deepEqual(under.dropped, ["malformed"]);
});

test("an agent that beats again but cannot be asked yet leaves its allocations lost", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  await under.announce(agent);
  await under.until("it is held", () => under.registry.allocation(one.ID) !== undefined);
  await silence(under, agent);
  agent.overrides.set(agent.allocationsPath, (request) => request.socket.destroy());
  const { length } = under.pulls;
  await under.announce(agent);
  await under.until("it was asked", () => under.pulls.length > length);
  assert.equal(under.registry.node(agent.nodeId)?.Status, "ready");
  assert.equal(statusOf(under, one.ID).ClientStatus, "lost");
  const { ModifyIndex } = under.registry.allocation(one.ID) ?? {};
  await silence(under, agent);
  assert.equal(under.registry.allocation(one.ID)?.ModifyIndex, ModifyIndex); // nothing new of it
});

test("a gateway started again calls nothing lost that it has not waited for", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  const first = await RegistryUnderTest.start(options);
  await first.announce(agent);
  await first.close();

  await using again = await RegistryUnderTest.start(options);
  const seen = new Set<unknown>();
  again.registry.feed.follow({
    begin: () => {},
    complete: () => {},
    apply: (_index, changes) => {
      for (const change of changes)
        if (change.kind === "allocation") seen.add(change.placement.terminal);
    },
  });
  again.time.advance(29_000);
  assert.equal(again.registry.node(agent.nodeId)?.Status, "initializing");
  await again.announce(agent);
  await again.until("it is held", () => again.registry.allocation(one.ID) !== undefined);
  again.time.advance(29_000); // the time since the start is long over; that since its beat is not
  assert.equal(statusOf(again, one.ID).ClientStatus, "running");
  assert.deepEqual([...seen], [undefined]);
  again.time.advance(3_000);
  assert.equal(statusOf(again, one.ID).ClientStatus, "lost");
  assert.deepEqual([...seen], [undefined, "lost"]);
});
