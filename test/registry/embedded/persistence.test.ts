import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { FakeTime } from "../fake-time.ts";
import { never, RegistryUnderTest, TemporaryFolder } from "../registry-under-test.ts";
import { until } from "../until.ts";

test("a gateway started again knows its nodes, and its index does not run backwards", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  const first = await RegistryUnderTest.start(options);
  await first.announce(agent);
  const before = first.registry.node(agent.nodeId);
  const index = first.registry.index("nodes");
  await first.close();
  const { mode } = await stat(`${folder.path}/nodes.json`);
  assert.equal(mode & 0o777, 0o600);
  assert.deepEqual(await readdir(folder.path), ["nodes.json"]);

  const past = new FakeTime(1_000_000); // the clock was set back
  await using again = await RegistryUnderTest.start(options, past);
  const node = again.registry.node(agent.nodeId);
  assert.deepEqual({ ...node, Status: "ready" }, { ...before });
  assert.equal(node?.Status, "initializing");
  assert.ok(again.registry.index("nodes") >= index);
  past.advance(32_000);
  assert.equal(again.registry.node(agent.nodeId)?.Status, "down");
  await again.announce(agent);
  assert.equal(again.registry.node(agent.nodeId)?.Status, "ready");
  assert.equal(again.registry.node(agent.nodeId)?.CreateIndex, before?.CreateIndex);
});

test("a node that was down when a gateway started counts its time from then, by the wall clock at the start", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path, forgetAfterMs: 3_600_000 };
  const first = await RegistryUnderTest.start(options);
  await first.announce(agent);
  first.time.advance(60_000);
  assert.equal(first.registry.node(agent.nodeId)?.Status, "down");
  await first.close();

  const later = new FakeTime(first.time.now() + 3_000_000);
  await using again = await RegistryUnderTest.start(options, later);
  later.advance(500_000);
  assert.equal(again.registry.node(agent.nodeId)?.Status, "down");
  later.advance(200_000);
  assert.equal(again.registry.node(agent.nodeId), undefined);
});

test("what is known is in the file soon after each change, without a close", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
  await under.announce(agent);
  under.time.advance(20);
  let text = "";
  await under.until("the file is there", () => {
    readFile(`${folder.path}/nodes.json`, "utf8").then(
      (found) => {
        text = found;
      },
      () => {},
    );
    return text !== "";
  });
  assert.match(text, new RegExp(agent.nodeId));
});

test("nodes that could not be written down are written when the disk takes them, though nothing changes", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
  await mkdir(`${folder.path}/nodes.json.new`); // what is to be replaced cannot be written
  await under.announce(agent);
  under.time.advance(20);
  await until("it is told", () => under.logged.includes("the nodes cannot be saved"));
  await rmdir(`${folder.path}/nodes.json.new`);
  under.time.advance(15_000);
  await until("the file is there", () => existsSync(`${folder.path}/nodes.json`));
  assert.match(await readFile(`${folder.path}/nodes.json`, "utf8"), new RegExp(agent.nodeId));
});

for (const [name, text] of [
  ["no JSON", "{"],
  ["no list of nodes", `{"Nodes":7}`],
] as const)
  test(`a state file that is ${name} is set aside, and the gateway starts without it`, async () => {
    await using folder = await TemporaryFolder.make();
    await writeFile(`${folder.path}/nodes.json`, text);
    await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
    assert.deepEqual([...under.registry.nodes()], []);
    assert.equal(await readFile(`${folder.path}/nodes.json.unreadable`, "utf8"), text);
    assert.ok(under.logged.includes("a state file is not sound and was set aside"));
  });

for (const [name, file] of [
  ["nodes", "nodes.json"],
  ["stops", "stops.json"],
] as const)
  test(`${name} that the disk does not give now keep a gateway from starting without them`, async () => {
    await using folder = await TemporaryFolder.make();
    await mkdir(`${folder.path}/${file}`); // reading it fails, as from a disk that fails
    await assert.rejects(() => RegistryUnderTest.start({ dataDirectory: folder.path }), {
      message: `the state file ${folder.path}/${file} cannot be read: is a directory, not a file (EISDIR)`,
    });
    assert.deepEqual(await readdir(folder.path), [file]);
  });

test("saved nodes that are not valid are left out, the others are known", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  const first = await RegistryUnderTest.start(options);
  await first.announce(agent);
  await first.close();
  const file = `${folder.path}/nodes.json`;
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace(`"Nodes":[`, `"Nodes":[7,{"ID":"x"},`));
  await using under = await RegistryUnderTest.start(options);
  assert.deepEqual(
    [...under.registry.nodes()].map(({ ID }) => ID),
    [agent.nodeId],
  );
});

test("until the nodes known from before are heard, an unknown allocation is not called unknown", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path };
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  const first = await RegistryUnderTest.start(options);
  assert.equal(first.registry.feed.state, "ready"); // nothing is waited for
  await first.announce(agent);
  await first.close();

  await using again = await RegistryUnderTest.start(options);
  const { feed } = again.registry;
  const directory = new PackedDirectory({ clock: again.time, timers: again.time, feed });
  feed.follow(directory);
  assert.equal(feed.state, "syncing");
  await assert.rejects(directory.find(one.ID, never), { code: "registry_unavailable" });
  await again.announce(agent);
  await again.until("it is heard", () => directory.allocation(one.ID) !== undefined);
  assert.equal(feed.state, "ready");
  assert.equal(directory.node(agent.nodeId)?.status, "ready");
});

test("a node that never comes back is waited for only so long", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const options = { dataDirectory: folder.path, syncGraceMs: 15_000 };
  const first = await RegistryUnderTest.start(options);
  await first.announce(agent);
  await first.close();
  await using again = await RegistryUnderTest.start(options);
  assert.equal(again.registry.feed.state, "syncing");
  again.time.advance(15_000);
  assert.equal(again.registry.feed.state, "ready");
});
