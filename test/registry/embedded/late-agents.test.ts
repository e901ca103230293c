import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { stringifyJson } from "../../../src/lib/json.ts";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { FakeTime } from "../fake-time.ts";
import { never, RegistryUnderTest } from "../registry-under-test.ts";
import { until } from "../until.ts";

const directoryOf = (under: RegistryUnderTest): PackedDirectory => {
  const { feed } = under.registry;
  const directory = new PackedDirectory({ clock: under.time, timers: under.time, feed });
  feed.follow(directory);
  return directory;
};

test("an allocation of an agent that could not be asked is found as soon as somebody wants it", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const directory = directoryOf(under);
  agent.overrides.set(agent.allocationsPath, (request) => request.socket.destroy());
  await under.announce(agent);
  await until("it failed", () => under.pulls.length === 1); // time stands still: no retry comes by itself
  const one = allocationBody(agent.nodeId);
  agent.overrides.clear();
  agent.list(one);
  const found = await directory.find(one.ID, never);
  assert.equal(found?.nodeId, agent.nodeId);
});

test("an allocation is waited for while its agent, which could not be asked, is being asked again", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const directory = directoryOf(under);
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  const one = allocationBody(agent.nodeId);
  let answer = (): void => {};
  agent.overrides.set(agent.allocationsPath, (_request, response) => {
    answer = () => response.end(stringifyJson([one]));
  });
  agent.cut();
  await under.until("it is asked again", () => agent.heardOf(agent.allocationsPath) === 3);
  const finding = directory.find(one.ID, never);
  await until("somebody waits", () => under.registry.waiting === 1);
  answer();
  assert.equal((await finding)?.nodeId, agent.nodeId);
});

test("an unknown allocation is waited for only a little while an agent cannot be asked", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ catchUpMs: 500 });
  const directory = directoryOf(under);
  agent.overrides.set(agent.allocationsPath, () => {}); // never answers
  await under.announce(agent);
  const started = under.time.monotonic();
  const finding = directory.find(randomUUID(), never);
  let isDone = false;
  void finding.finally(() => {
    isDone = true;
  });
  await under.until("it is given up", () => isDone);
  assert.equal(await finding, undefined);
  const tookMs = under.time.monotonic() - started;
  assert.ok(tookMs >= 500, `${tookMs} ms`);
  assert.equal(under.registry.waiting, 0);
});

for (const when of ["before it is asked for", "while it is waited for"] as const)
  test(`a registry that lets everyone go ${when} waits for no unknown allocation`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start();
    const directory = directoryOf(under);
    agent.overrides.set(agent.allocationsPath, () => {}); // never answers
    await under.announce(agent);
    if (when === "before it is asked for") under.registry.release();
    const finding = directory.find(randomUUID(), never); // time stands still: patience never ends
    if (when === "while it is waited for") {
      await until("it waits", () => under.registry.waiting === 1);
      under.registry.release();
    }
    assert.equal(await finding, undefined);
  });

test("with every agent heard, an unknown allocation is unknown at once", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const directory = directoryOf(under);
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  assert.equal(await directory.find(randomUUID(), never), undefined); // time stands still
});

test("an agent that always has something new is asked no more often than allowed", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ minGapMs: 100 });
  let index = 0;
  agent.overrides.set(agent.allocationsPath, (_request, response) => {
    response.setHeader("X-Nomad-Index", ++index);
    response.end("[]");
  });
  await under.announce(agent);
  await until("the first is taken", () => under.pulls.length === 1);
  for (let taken = 1; taken < 10; taken++) {
    under.time.advance(99);
    assert.equal(agent.heardOf(agent.allocationsPath), taken);
    under.time.advance(1);
    await until("the next is taken", () => under.pulls.length === taken + 1);
  }
});

/** Each look at the clock is a millisecond of work. */
class WorkingTime extends FakeTime {
  #workMs = 0;

  override monotonic(): number {
    this.#workMs += 1;
    return super.monotonic() + this.#workMs;
  }
}

test("an agent whose answer waited for its turn is asked again as soon as its own cost allows", async () => {
  await using agent = await AgentUnderTest.start();
  const time = new WorkingTime();
  await using under = await RegistryUnderTest.start({}, time);
  const first = Array.from({ length: 20 }, () => allocationBody(agent.nodeId));
  agent.list(...first);
  await under.announce(agent);
  // between any two turns others have the loop for a second
  await under.until("it is taken in", () => under.pulls.length === 1, 1_000);
  const next = allocationBody(agent.nodeId);
  agent.list(...first, next);
  const takenAtMs = time.now();
  const isHeld = (): boolean => under.registry.allocation(next.ID) !== undefined;
  await under.until("the next is held", isHeld, 50);
  const restMs = time.now() - takenAtMs;
  assert.ok(restMs < 1_000, `it rested for ${restMs} ms`);
});

test("an agent that stops in the middle of its answer is left with its session", async () => {
  await using agent = await AgentUnderTest.start();
  const under = await RegistryUnderTest.start();
  agent.overrides.set(agent.allocationsPath, (_request, response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    response.write("[{");
  });
  await under.announce(agent);
  await until("it is asked", () => agent.heardOf(agent.allocationsPath) === 1);
  under.time.advance(32_000);
  assert.equal(under.registry.node(agent.nodeId)?.Status, "down");
  await under.close(); // would wait for a pull that did not end
  assert.equal(under.time.waiting, 0);
});
