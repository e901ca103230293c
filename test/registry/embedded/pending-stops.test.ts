/** Stops that are accepted while their node cannot be asked: shown at once, kept over a crash, carried out when it is back. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { rmdirSync } from "node:fs";
import { cp, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { test } from "node:test";
import type { AllocationDocument } from "../../../src/documents.ts";
import type { Credential } from "../../../src/ports.ts";
import { PendingStops } from "../../../src/registry/embedded/pending-stops.ts";
import type { EmbeddedOptions } from "../../../src/registry/embedded/registry.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { never, RegistryUnderTest, TemporaryFolder } from "../registry-under-test.ts";

const caller: Credential = { secret: "callers-own-secret", source: "header" };
const stopPath = ({ ID }: AllocationDocument): string => `/v1/allocation/${ID}/stop`;
const fileIn = ({ path }: TemporaryFolder): string => `${path}/stops.json`;

const kinds = ({ audited }: RegistryUnderTest, id: string): readonly string[] =>
  audited.filter(({ allocationId }) => allocationId === id).map(({ kind }) => kind);

/** Takes stops as a real agent does: from then on its document says so. */
const obeys = (agent: AgentUnderTest, one: AllocationDocument): void => {
  const ended = { DesiredStatus: "stop", ClientStatus: "complete" } as const;
  agent.overrides.set(stopPath(one), (_request, response) => {
    response.end("{}");
    agent.list(
      ...agent.documents.map((document) =>
        document.ID === one.ID ? { ...document, ...ended } : document,
      ),
    );
  });
};

const hold = async (
  under: RegistryUnderTest,
  agent: AgentUnderTest,
  ...documents: readonly AllocationDocument[]
): Promise<void> => {
  agent.list(...documents);
  await under.announce(agent);
  await under.until("all are held", () =>
    documents.every(({ ID }) => under.registry.allocation(ID) !== undefined),
  );
};

const silence = (under: RegistryUnderTest, { nodeId }: AgentUnderTest): Promise<void> =>
  under.until("it is down", () => under.registry.node(nodeId)?.Status === "down", 1_000);

const stopped = ({ registry }: RegistryUnderTest, { ID }: AllocationDocument): boolean =>
  registry.allocation(ID)?.DesiredStatus === "stop" &&
  registry.allocation(ID)?.ClientStatus === "complete";

test("a stop is accepted while its node is down, and carried out with the gateway's own credential when it is back", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
  const { registry } = under;
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await silence(under, agent);
  const index = registry.index("allocs");
  const answer = await registry.stop(one.ID, caller, never);
  assert.ok(answer.index > index);
  assert.equal(registry.evaluation(answer.evaluationId)?.["TriggeredBy"], "alloc-stop");
  assert.equal(registry.allocation(one.ID)?.DesiredStatus, "stop");
  assert.equal(registry.allocation(one.ID)?.ClientStatus, "lost");
  assert.equal(registry.allocation(one.ID)?.ModifyIndex, answer.index);
  assert.equal(registry.pendingStops, 1);
  assert.equal(agent.heardOf(stopPath(one)), 0);
  const text = await readFile(fileIn(folder), "utf8");
  assert.deepEqual(JSON.parse(text), {
    Stops: [{ AllocationID: one.ID, NodeID: agent.nodeId }],
  });
  assert.equal((await stat(fileIn(folder))).mode & 0o777, 0o600);

  obeys(agent, one);
  const { PullSecret } = await under.announce(agent);
  await under.until("it is stopped", () => stopped(under, one));
  assert.equal(agent.authorizations.get(stopPath(one)), `Bearer ${PullSecret}`);
  assert.equal(agent.heardOf(stopPath(one)), 1);
  await under.until("nothing waits", () => registry.pendingStops === 0);
  assert.deepEqual(kinds(under, one.ID), ["stop_deferred", "stop_delivered"]);
  await under.close();
  assert.deepEqual(JSON.parse(await readFile(fileIn(folder), "utf8")), { Stops: [] });
});

test("what its agent tells before it has heard of the stop is shown as stopped", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await silence(under, agent);
  await registry.stop(one.ID, caller, never);
  agent.overrides.set(stopPath(one), () => {}); // its tasks take their time
  await under.announce(agent);
  await under.until("it is asked", () => agent.heardOf(stopPath(one)) === 1);
  const { ClientStatus, DesiredStatus, DesiredDescription } = registry.allocation(one.ID) ?? {};
  assert.deepEqual(
    [ClientStatus, DesiredStatus, DesiredDescription],
    ["running", "stop", "alloc was stopped on request"],
  );
});

test("a stop asked again is the same stop; each has its evaluation", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await silence(under, agent);
  const answers = await Promise.all(
    [1, 2, 3].map(() => under.registry.stop(one.ID, caller, never)),
  );
  assert.equal(new Set(answers.map(({ evaluationId }) => evaluationId)).size, 3);
  assert.equal(under.registry.pendingStops, 1);
  obeys(agent, one);
  await under.announce(agent);
  await under.until("it is stopped", () => stopped(under, one));
  await under.until("nothing waits", () => under.registry.pendingStops === 0);
  assert.equal(agent.heardOf(stopPath(one)), 1);
});

test("a node that beats but cannot be dialled is told its stop as soon as it can", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  agent.overrides.set(stopPath(one), (request) => request.socket.destroy());
  await registry.stop(one.ID, caller, never);
  assert.equal(registry.allocation(one.ID)?.DesiredStatus, "stop");
  await under.until("it was tried again", () => agent.heardOf(stopPath(one)) === 3);
  assert.equal(registry.pendingStops, 1);
  obeys(agent, one);
  await under.until("it is stopped", () => stopped(under, one));
  await under.until("nothing waits", () => registry.pendingStops === 0);
});

test("a stop does not wait behind another of its node whose tasks take their time", async () => {
  await using agent = await AgentUnderTest.start();
  const [slow, quick] = [allocationBody(agent.nodeId), allocationBody(agent.nodeId)];
  await using under = await down({}, agent, slow, quick);
  await under.registry.stop(slow.ID, caller, never);
  agent.overrides.set(stopPath(slow), () => {}); // its tasks take their time
  await under.announce(agent);
  await under.until("the slow one is asked", () => agent.heardOf(stopPath(slow)) === 1);
  agent.overrides.set(stopPath(quick), (request) => request.socket.destroy());
  await under.registry.stop(quick.ID, caller, never);
  obeys(agent, quick);
  await under.until("the quick one is stopped", () => stopped(under, quick));
  await under.until("the slow one waits", () => under.registry.pendingStops === 1);
  assert.equal(agent.heardOf(stopPath(slow)), 1);
});

test("a crash of the gateway loses no stop that was answered", async () => {
  await using folder = await TemporaryFolder.make();
  await using crashed = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const one = allocationBody(agent.nodeId);
  {
    await using first = await RegistryUnderTest.start({ dataDirectory: folder.path });
    await hold(first, agent, one);
    await silence(first, agent);
    await first.registry.stop(one.ID, caller, never);
    // what a sudden end leaves, but for a file that is just being written anew
    const filter = (source: string): boolean => !source.endsWith(".new");
    await cp(folder.path, crashed.path, { recursive: true, filter });
  }
  await using again = await RegistryUnderTest.start({ dataDirectory: crashed.path });
  assert.equal(again.registry.pendingStops, 1);
  agent.overrides.set(stopPath(one), () => {});
  await again.announce(agent);
  await again.until("it is asked", () => agent.heardOf(stopPath(one)) === 1);
  assert.equal(again.registry.allocation(one.ID)?.DesiredStatus, "stop");
  assert.equal(again.registry.allocation(one.ID)?.ClientStatus, "running");
});

test("a stop that was carried out just before a crash is dropped after it", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const one = allocationBody(agent.nodeId, { DesiredStatus: "stop" });
  await writeFile(
    fileIn(folder),
    JSON.stringify({ Stops: [{ AllocationID: one.ID, NodeID: agent.nodeId }] }),
  );
  await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
  await hold(under, agent, one);
  await under.until("nothing waits", () => under.registry.pendingStops === 0);
  assert.deepEqual(kinds(under, one.ID), ["stop_dropped"]);
  assert.equal(agent.heardOf(stopPath(one)), 0);
});

test("a stop of what ended meanwhile is dropped, and it is shown as its agent says", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await silence(under, agent);
  await under.registry.stop(one.ID, caller, never);
  agent.list({ ...one, ClientStatus: "failed" });
  await under.announce(agent);
  await under.until("nothing waits", () => under.registry.pendingStops === 0);
  assert.equal(under.registry.allocation(one.ID)?.ClientStatus, "failed");
  assert.equal(under.registry.allocation(one.ID)?.DesiredStatus, "run");
  assert.equal(agent.heardOf(stopPath(one)), 0);
});

test("a stop of what its agent does not know any more is dropped", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  await silence(under, agent);
  await under.registry.stop(one.ID, caller, never);
  agent.list();
  await under.announce(agent);
  await under.until("nothing waits", () => under.registry.pendingStops === 0);
  assert.equal(agent.heardOf(stopPath(one)), 1); // it answered 404
  assert.deepEqual(kinds(under, one.ID), ["stop_deferred", "stop_dropped"]);
});

test("an allocation that has ended can be stopped while its node is down, and nothing waits for it", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId, { ClientStatus: "complete" });
  await hold(under, agent, one);
  await silence(under, agent);
  const { evaluationId } = await under.registry.stop(one.ID, caller, never);
  assert.ok(under.registry.evaluation(evaluationId));
  assert.equal(under.registry.pendingStops, 0);
});

for (const status of [403, 500, 503])
  test(`an agent's ${status} to the gateway's own stop is tried again, less and less often`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start();
    const one = allocationBody(agent.nodeId);
    await hold(under, agent, one);
    await silence(under, agent);
    await under.registry.stop(one.ID, caller, never);
    agent.overrides.set(stopPath(one), (_request, response) => {
      response.statusCode = status;
      response.end("not now");
    });
    const startedAt = under.time.monotonic();
    await under.announce(agent);
    await under.until("it was asked four times", () => agent.heardOf(stopPath(one)) === 4);
    assert.ok(under.time.monotonic() - startedAt >= 250 + 500 + 1_000);
    assert.equal(under.registry.pendingStops, 1);
    obeys(agent, one);
    await under.until("it is stopped", () => stopped(under, one));
  });

test("a refusal of the caller by a node that is up is no stop", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await hold(under, agent, one);
  agent.overrides.set(stopPath(one), (_request, response) => {
    response.statusCode = 403;
    response.end("Permission denied");
  });
  await assert.rejects(under.registry.stop(one.ID, caller, never), { code: "permission_denied" });
  assert.equal(under.registry.pendingStops, 0);
  assert.equal(under.registry.allocation(one.ID)?.DesiredStatus, "run");
});

const down = async (
  options: Partial<EmbeddedOptions>,
  agent: AgentUnderTest,
  ...documents: readonly AllocationDocument[]
): Promise<RegistryUnderTest> => {
  const under = await RegistryUnderTest.start(options);
  await hold(under, agent, ...documents);
  await silence(under, agent);
  return under;
};

test("no more stops wait than may; the next is refused and marks nothing", async () => {
  await using agent = await AgentUnderTest.start();
  const [one, two, three] = [1, 2, 3].map(() => allocationBody(agent.nodeId));
  assert.ok(one && two && three);
  await using under = await down({ maxPendingStops: 2 }, agent, one, two, three);
  await under.registry.stop(one.ID, caller, never);
  await under.registry.stop(two.ID, caller, never);
  await assert.rejects(under.registry.stop(three.ID, caller, never), {
    code: "registry_unavailable",
    message: /too many stops wait/,
  });
  await under.registry.stop(one.ID, caller, never); // waits already
  assert.equal(under.registry.pendingStops, 2);
  await under.announce(agent);
  await under.until("it runs", () => under.registry.allocation(three.ID)?.ClientStatus === "running"); // biome-ignore format: one line
  assert.equal(under.registry.allocation(three.ID)?.DesiredStatus, "run");
});

test("a stop waits longer than its node is remembered, and at the bound gives way", async () => {
  await using gone = await AgentUnderTest.start();
  await using agent = await AgentUnderTest.start();
  const [one, two] = [allocationBody(gone.nodeId), allocationBody(agent.nodeId)];
  await using under = await down({ maxPendingStops: 1, forgetAfterMs: 60_000 }, gone, one);
  await under.registry.stop(one.ID, caller, never);
  await under.until("it is forgotten", () => under.registry.node(gone.nodeId) === undefined, 1_000);
  assert.equal(under.registry.pendingStops, 1);
  agent.overrides.set(stopPath(two), (request) => request.socket.destroy());
  await hold(under, agent, two);
  await under.registry.stop(two.ID, caller, never);
  assert.equal(under.registry.pendingStops, 1);
  await under.announce(gone);
  await under.until("it runs", () => under.registry.allocation(one.ID) !== undefined);
  assert.equal(gone.heardOf(stopPath(one)), 0);
});

test("a forgotten node that comes back is told the stop that waits for it", async () => {
  await using agent = await AgentUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await using under = await down({ forgetAfterMs: 60_000 }, agent, one);
  await under.registry.stop(one.ID, caller, never);
  await under.until("it is forgotten", () => under.registry.node(agent.nodeId) === undefined, 1_000); // biome-ignore format: one line
  obeys(agent, one);
  await under.announce(agent);
  await under.until("it is stopped", () => stopped(under, one));
});

test("a stop that cannot be written down is refused and marks nothing", async () => {
  await using folder = await TemporaryFolder.make();
  await using agent = await AgentUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await using under = await down({ dataDirectory: folder.path }, agent, one);
  await mkdir(`${fileIn(folder)}.new`); // stands where the file is to be written
  await assert.rejects(under.registry.stop(one.ID, caller, never), {
    code: "registry_unavailable",
    message: /cannot be saved/,
  });
  assert.equal(under.registry.pendingStops, 0);
  assert.ok(under.logged.includes("a stop cannot be saved"));
  await under.announce(agent);
  await under.until("it runs", () => under.registry.allocation(one.ID)?.ClientStatus === "running");
  assert.equal(under.registry.allocation(one.ID)?.DesiredStatus, "run");
  assert.equal(agent.heardOf(stopPath(one)), 0);
});

test("a stop that is accepted outlives the failed writing of the same stop before it", async () => {
  await using folder = await TemporaryFolder.make();
  const file = fileIn(folder);
  const obstacle = `${file}.new`; // stands where the file is to be written, until that has failed
  await mkdir(obstacle);
  const quiet = (): void => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: () => rmdirSync(obstacle) };
  const options = { file, maxPendingStops: 10 };
  const stops = new PendingStops({ log, isKnown: () => true }, options, []);
  const stop = { allocationId: randomUUID(), nodeId: randomUUID() };
  const first = stops.add(stop);
  for (let i = 0; i < 5; i++) await Promise.resolve(); // it is being written
  const second = stops.add(stop);
  await assert.rejects(first, { code: "registry_unavailable" });
  await second;
  assert.ok(stops.has(stop.allocationId));
  assert.deepEqual(JSON.parse(await readFile(file, "utf8")), {
    Stops: [{ AllocationID: stop.allocationId, NodeID: stop.nodeId }],
  });
});

for (const [name, text] of [
  ["no JSON", "{"],
  ["no list of stops", `{"Stops":7}`],
] as const)
  test(`a file of stops that is ${name} is set aside`, async () => {
    await using folder = await TemporaryFolder.make();
    await writeFile(fileIn(folder), text);
    await using under = await RegistryUnderTest.start({ dataDirectory: folder.path });
    assert.equal(under.registry.pendingStops, 0);
    assert.equal(await readFile(`${fileIn(folder)}.unreadable`, "utf8"), text);
  });

test("saved stops that are not valid, or more than may wait, are left out", async () => {
  await using folder = await TemporaryFolder.make();
  const sound = () => ({ AllocationID: randomUUID(), NodeID: randomUUID() });
  const Stops = [7, { AllocationID: "x", NodeID: randomUUID() }, sound(), sound(), sound()];
  await writeFile(fileIn(folder), JSON.stringify({ Stops }));
  const options = { dataDirectory: folder.path, maxPendingStops: 2 };
  await using under = await RegistryUnderTest.start(options);
  assert.equal(under.registry.pendingStops, 2);
  assert.ok(under.logged.includes("saved items are not valid"));
});

test("a gateway that closes waits for no stop", async () => {
  await using agent = await AgentUnderTest.start();
  const one = allocationBody(agent.nodeId);
  await using under = await down({}, agent, one);
  await under.registry.stop(one.ID, caller, never);
  agent.overrides.set(stopPath(one), () => {}); // never answers
  await under.announce(agent);
  await under.until("it is asked", () => agent.heardOf(stopPath(one)) === 1);
  await under.close();
  assert.equal(under.time.waiting, 0);
});
