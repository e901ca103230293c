import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentUnderTest } from "../agent-under-test.ts";
import { never, RegistryUnderTest, TemporaryFolder } from "../registry-under-test.ts";

const path = "/v1/client/metadata";

/** An announced node whose first question (every new session asks) is behind it. */
const settled = async (under: RegistryUnderTest, agent: AgentUnderTest): Promise<void> => {
  await under.announce(agent, { Meta: { ...(agent.meta as Record<string, string>) } });
  await under.registry.flushMetadata(never);
};

test("a thousand updates within a window are one write of the node registry", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await settled(under, agent);
  const { registry, time } = under;
  const writes = registry.nodeWrites;
  const questions = agent.heardOf(path);
  const index = registry.index("nodes");
  for (let update = 1; update <= 1_000; update++) {
    agent.meta = { rack: "r1", update: String(update) };
    registry.touchMetadata(agent.nodeId);
    time.advance(8);
  }
  await under.until("it is written", () => registry.node(agent.nodeId)?.Meta["update"] === "1000");
  assert.equal(registry.nodeWrites, writes + 1);
  assert.equal(agent.heardOf(path), questions + 1);
  assert.equal(registry.index("nodes"), index + 1);
  const { PullSecret } = await under.announce(agent);
  assert.equal(agent.authorizations.get(path), `Bearer ${PullSecret}`);
  const [, delay = 0] = under.delays;
  assert.ok(delay >= 9_000 && delay <= 10_100, `${delay} ms`);
});

test("metadata that has not changed is no write", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await settled(under, agent);
  const writes = under.registry.nodeWrites;
  under.registry.touchMetadata(agent.nodeId);
  await under.registry.flushMetadata(never);
  assert.equal(under.registry.nodeWrites, writes);
});

test("a beat that was on its way when metadata changed does not bring the old one back", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await settled(under, agent);
  const { registry } = under;
  agent.meta = { rack: "r2" };
  registry.touchMetadata(agent.nodeId);
  await registry.flushMetadata(never);
  await under.announce(agent, { Meta: { rack: "r1" } }); // built before the change
  assert.deepEqual(registry.node(agent.nodeId)?.Meta, { rack: "r2" });
  assert.equal(registry.pendingMetadata, 1); // and it is asked for, in case the beat was right
  await registry.flushMetadata(never);
  assert.deepEqual(registry.node(agent.nodeId)?.Meta, { rack: "r2" });
});

test("a change that the agent made by itself comes in with the next window after its beat", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await settled(under, agent);
  agent.meta = { rack: "r9" };
  await under.announce(agent, { Meta: { rack: "r9" } });
  under.time.advance(10_000);
  await under.until(
    "it is written",
    () => under.registry.node(agent.nodeId)?.Meta["rack"] === "r9",
  );
});

test("an update that a killed gateway had not brought in yet is there after the next start", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  await using killed = await RegistryUnderTest.start(options);
  await settled(killed, agent);
  agent.meta = { rack: "r7" };
  killed.registry.touchMetadata(agent.nodeId);
  // the first one is left as it is, as a process that was killed leaves its file; the agent announces itself to another
  await using next = await RegistryUnderTest.start(options);
  await next.announce(agent, { Meta: { rack: "r7" } });
  assert.deepEqual(next.registry.node(agent.nodeId)?.Meta, { rack: "r7" });
});

test("an announcement that is older than the last update is set right within a window", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  agent.meta = { rack: "r7" };
  await under.announce(agent, { Meta: { rack: "r1" } });
  assert.equal(under.registry.pendingMetadata, 1);
  under.time.advance(10_000);
  await under.until(
    "it is set right",
    () => under.registry.node(agent.nodeId)?.Meta["rack"] === "r7",
  );
});

test("a node that went down is not asked until it is back, and not pending meanwhile", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await settled(under, agent);
  under.registry.touchMetadata(agent.nodeId);
  await under.until(
    "it is down",
    () => under.registry.node(agent.nodeId)?.Status === "down",
    1_000,
  );
  await under.registry.flushMetadata(never);
  assert.equal(under.registry.pendingMetadata, 0);
  under.registry.touchMetadata(agent.nodeId);
  assert.equal(under.registry.pendingMetadata, 0);
  agent.meta = { rack: "r4" };
  await under.announce(agent, { Meta: { rack: "r4" } });
  assert.deepEqual(under.registry.node(agent.nodeId)?.Meta, { rack: "r4" });
});

const badAnswers: readonly (readonly [name: string, status: number, body: string])[] = [
  ["is an error", 500, "no"],
  ["is no JSON", 200, "{"],
  ["is a list", 200, "[]"],
  ["holds numbers", 200, `{"Meta":{"a":1}}`],
  ["names a prototype", 200, `{"Meta":{"__proto__":"x"}}`],
  ["is too large", 200, `{"Meta":{"a":"${"x".repeat(300_000)}"}}`],
];
for (const [name, status, body] of badAnswers)
  test(`an answer that ${name} changes nothing and is asked for again`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start();
    await settled(under, agent);
    agent.overrides.set(path, (_request, response) => {
      response.statusCode = status;
      response.end(body);
    });
    under.registry.touchMetadata(agent.nodeId);
    await under.registry.flushMetadata(never);
    assert.deepEqual(under.registry.node(agent.nodeId)?.Meta, { rack: "r1" });
    assert.equal(under.registry.pendingMetadata, 1);
    agent.overrides.clear();
    agent.meta = { rack: "r3" };
    under.time.advance(10_000);
    await under.until(
      "it is written",
      () => under.registry.node(agent.nodeId)?.Meta["rack"] === "r3",
    );
  });

test("closing brings in what was touched", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  const under = await RegistryUnderTest.start(options);
  await settled(under, agent);
  agent.meta = { rack: "r5" };
  under.registry.touchMetadata(agent.nodeId);
  await under.close();
  await using next = await RegistryUnderTest.start(options);
  assert.deepEqual(next.registry.node(agent.nodeId)?.Meta, { rack: "r5" });
});
