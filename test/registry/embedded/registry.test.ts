import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { type JsonObject, stringifyJson } from "../../../src/lib/json.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody, nodeBody } from "../documents.ts";
import { joinSecret, never, RegistryUnderTest } from "../registry-under-test.ts";

test("an announced node is ready, and its allocations are held under the gateway's own indexes", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry, time } = under;
  const started = registry.index("nodes");
  assert.equal(started, time.now());
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  const { HeartbeatTTL, PullSecret } = await under.announce(agent);
  assert.equal(HeartbeatTTL, 10_000_000_000);
  await under.until("the allocation is held", () => registry.allocation(one.ID) !== undefined);
  assert.equal(agent.authorizations.get(agent.allocationsPath), `Bearer ${PullSecret}`);
  const node = registry.node(agent.nodeId);
  assert.equal(node?.Status, "ready");
  assert.equal(node?.CreateIndex, started + 1);
  assert.deepEqual(node?.Meta, { rack: "r1" });
  const { CreateIndex, ModifyIndex, CreateTime, Job } = registry.allocation(one.ID) ?? one;
  assert.equal(CreateIndex, ModifyIndex);
  assert.ok(CreateIndex > started + 1);
  assert.ok(registry.index("allocs") >= ModifyIndex);
  assert.equal(CreateTime, 1_795_315_433_863_450_958n);
  assert.deepEqual(Job, one.Job);
});

test("changed and removed allocations follow, in the order of their create index", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  const [first, second, third] = [1, 2, 3].map(() => allocationBody(agent.nodeId));
  assert.ok(first && second && third);
  agent.list(first, second);
  await under.announce(agent);
  await under.until("both are held", () => registry.allocation(second.ID) !== undefined);
  const before = registry.allocation(first.ID);
  const untouched = registry.allocation(second.ID);
  agent.list(third, { ...first, ClientStatus: "complete" }, second);
  await under.until("the change is seen", () => registry.allocation(third.ID) !== undefined);
  const after = registry.allocation(first.ID);
  assert.equal(after?.ClientStatus, "complete");
  assert.equal(after?.CreateIndex, before?.CreateIndex);
  assert.ok((after?.ModifyIndex ?? 0) > (before?.ModifyIndex ?? 0));
  assert.equal(registry.allocation(second.ID), untouched); // same bytes, same document
  const ids = [...registry.allocations()].map(({ ID }) => ID);
  assert.deepEqual(ids, [first.ID, second.ID, third.ID]);
  const index = registry.index("allocs");
  agent.list(third);
  await under.until("the others are gone", () => registry.allocation(first.ID) === undefined);
  assert.deepEqual(
    [...registry.allocations()].map(({ ID }) => ID),
    [third.ID],
  );
  assert.ok(registry.index("allocs") > index);
});

test("an agent whose index runs backwards is asked for everything again", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  agent.list(allocationBody(agent.nodeId));
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  const fresh = allocationBody(agent.nodeId);
  agent.forgetIndex();
  agent.list(fresh);
  await under.until("the new one is held", () => registry.allocation(fresh.ID) !== undefined);
  assert.equal([...registry.allocations()].length, 1);
  await under.until(
    "its query blocks again",
    () => agent.heard.at(-1)?.includes("index=1&") ?? false,
  );
});

const broken: readonly (readonly [name: string, text: (good: string) => string])[] = [
  ["not an object", () => "7"],
  ["no JSON", () => "{'a': 1}"],
  ["no id", () => `{"ID":"x"}`],
  [
    "no job",
    (good) => good.replace(/"Job":\{.*?\]\}/, `"Job":null`).replace(/"Job":null\]\}/, `"Job":null`),
  ],
  [
    "an unknown client status",
    (good) => good.replace(`"ClientStatus":"running"`, `"ClientStatus":"dancing"`),
  ],
  [
    "a status out of the prototype",
    (good) => good.replace(`"ClientStatus":"running"`, `"ClientStatus":"toString"`),
  ],
  ["a time that is a text", (good) => good.replace(/"CreateTime":\d+/, `"CreateTime":"now"`)],
  [
    "task states that are a list",
    (good) => good.replace(/"TaskStates":\{/, `"TaskStates":[],"Was":{`),
  ],
  [
    "full of the states of 257 tasks",
    (good) => {
      const document = JSON.parse(good);
      const { server } = document.TaskStates;
      const more = Array.from({ length: 256 }, (_, at) => [`t${at}`, server]);
      return JSON.stringify({
        ...document,
        TaskStates: Object.fromEntries([...more, ["s", server]]),
      });
    },
  ],
  ["nested without end", () => `{"ID":${"[".repeat(50_000)}${"]".repeat(50_000)}}`],
  [
    "nested so that it can be read, and no list with it can be written",
    (good) =>
      good.replace(
        `"Namespace"`,
        `"RescheduleTracker":${"[".repeat(2_000)}${"]".repeat(2_000)},"Namespace"`,
      ),
  ],
];
for (const [name, toText] of broken)
  test(`a document that is ${name} is dropped and counted, its neighbours are taken`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start();
    const good = allocationBody(agent.nodeId);
    const bad = allocationBody(agent.nodeId);
    const text = (document: typeof good): string =>
      JSON.stringify(document, (_key, value) =>
        typeof value === "bigint" ? Number(value) : value,
      );
    agent.overrides.set(agent.allocationsPath, (request, response) => {
      if (request.url?.includes("index=0") !== true) return;
      response.setHeader("X-Nomad-Index", 5);
      response.end(`[${toText(text(bad))},${text(good)}]`);
    });
    await under.announce(agent);
    await under.until(
      "the good one is held",
      () => under.registry.allocation(good.ID) !== undefined,
    );
    assert.equal(under.registry.allocation(bad.ID), undefined);
    assert.deepEqual(under.dropped, ["malformed"]);
  });

test("words that are none are left empty, and spoil neither their document nor its neighbours", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const good = allocationBody(agent.nodeId);
  const odd = allocationBody(agent.nodeId);
  const wordless = `{"toString":0,"valueOf":0}`;
  const text = stringifyJson([odd, good])
    .replace(`"Message":""`, `"Message":${wordless}`)
    .replace(`"Details":{}`, `"Details":{"exit_code":7,"signal":${wordless}}`)
    .replace(`"DesiredStatus"`, `"DesiredDescription":${wordless},"DesiredStatus"`);
  agent.overrides.set(agent.allocationsPath, (request, response) => {
    if (request.url?.includes("index=0") !== true) return;
    response.setHeader("X-Nomad-Index", 5);
    response.end(text);
  });
  await under.announce(agent);
  await under.until("it was asked", () => under.pulls.length > 0);
  assert.ok(under.registry.allocation(good.ID));
  const taken = under.registry.allocation(odd.ID);
  assert.equal(taken?.DesiredDescription, "");
  const [event] = taken.TaskStates?.["server"]?.Events ?? [];
  assert.equal(event?.Message, "");
  assert.deepEqual(event.Details, { exit_code: "7", signal: "" });
});

const refusedAnswers: readonly (readonly [name: string, status: number, body: string])[] = [
  ["no list", 200, `{"a":1}`],
  ["a list that does not end", 200, `[{"a":1}`],
  ["a text that does not end", 200, `[{"a":"1}]`],
  ["an error", 500, "broken"],
  ["larger than allowed", 200, `[${" ".repeat(20_000)}]`],
];
for (const [name, status, body] of refusedAnswers)
  test(`an answer that is ${name} changes nothing and is asked again later`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start({ maxBytes: 10_000 });
    const good = allocationBody(agent.nodeId);
    agent.list(good);
    await under.announce(agent);
    await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
    agent.overrides.set(agent.allocationsPath, (_request, response) => {
      response.statusCode = status;
      response.end(body);
    });
    agent.list(good);
    await under.until(
      "it failed twice",
      () => under.pulls.filter((one) => one === "failed").length > 1,
    );
    assert.ok(under.registry.allocation(good.ID));
    agent.overrides.clear();
    const next = allocationBody(agent.nodeId);
    agent.list(good, next);
    await under.until("it is heard again", () => under.registry.allocation(next.ID) !== undefined);
  });

test("an agent cannot list an allocation of another node, nor one under a foreign node's id", async () => {
  await using owner = await AgentUnderTest.start();
  await using rival = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry, audited } = under;
  const one = allocationBody(owner.nodeId);
  owner.list(one);
  await under.announce(owner);
  await under.until("the owner's is held", () => registry.allocation(one.ID) !== undefined);
  const own = allocationBody(rival.nodeId);
  const claimed = { ...one, NodeID: rival.nodeId };
  const foreign = allocationBody(owner.nodeId);
  rival.list(claimed, foreign, own);
  await under.announce(rival);
  await under.until("the rival's own is held", () => registry.allocation(own.ID) !== undefined);
  assert.equal(registry.allocation(one.ID)?.NodeID, owner.nodeId);
  assert.equal(registry.allocation(foreign.ID), undefined);
  assert.deepEqual(under.dropped.toSorted(), ["foreign_node", "rival"]);
  rival.list(claimed, foreign);
  await under.until("it is heard again", () => registry.allocation(own.ID) === undefined);
  assert.deepEqual(
    audited
      .filter(({ kind }) => kind.endsWith("allocation"))
      .map(({ kind, nodeId }) => ({ kind, nodeId })),
    [
      { kind: "foreign_allocation", nodeId: rival.nodeId },
      { kind: "rival_allocation", nodeId: rival.nodeId },
    ],
  ); // once each, however often it claims them
});

test("more allocations than a node or the registry may hold are refused and counted", async () => {
  await using agent = await AgentUnderTest.start();
  await using other = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ maxAllocationsOfNode: 2, maxAllocations: 3 });
  agent.list(...[1, 2, 3].map(() => allocationBody(agent.nodeId)));
  await under.announce(agent);
  await under.until("two are held", () => [...under.registry.allocations()].length === 2);
  assert.deepEqual(under.dropped, ["too_many"]);
  other.list(...[1, 2].map(() => allocationBody(other.nodeId)));
  await under.announce(other);
  await under.until("three are held", () => [...under.registry.allocations()].length === 3);
  assert.deepEqual(under.dropped, ["too_many", "too_many"]);
});

test("a node without a beat for 30 s is down, and ready again with its next one", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry, time } = under;
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  const { PullSecret: first } = await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  time.advance(25_000);
  assert.equal((await under.announce(agent)).PullSecret, first);
  time.advance(29_000);
  assert.equal(registry.node(agent.nodeId)?.Status, "ready");
  time.advance(2_500);
  assert.equal(registry.node(agent.nodeId)?.Status, "down");
  assert.ok(registry.allocation(one.ID)); // they are still its
  assert.ok(under.audited.some(({ kind }) => kind === "node_down"));
  const { PullSecret: second } = await under.announce(agent);
  assert.equal(registry.node(agent.nodeId)?.Status, "ready");
  assert.notEqual(second, first);
});

test("a gateway that stood still does not call its nodes down for it", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry, time } = under;
  await under.announce(agent);
  time.stall(40_000);
  assert.equal(registry.node(agent.nodeId)?.Status, "ready");
  time.advance(32_000);
  assert.equal(registry.node(agent.nodeId)?.Status, "down");
});

test("of two agents with one id the newest wins, at most once in its time, and it is audited", async () => {
  const nodeId = randomUUID();
  await using first = await AgentUnderTest.start(nodeId);
  await using second = await AgentUnderTest.start(nodeId);
  await using under = await RegistryUnderTest.start();
  const { registry, time, audited } = under;
  const one = await under.announce(first);
  const two = await under.announce(second);
  assert.notEqual(one.PullSecret, two.PullSecret);
  assert.equal(registry.node(nodeId)?.HTTPAddr, second.address);
  await assert.rejects(under.announce(first), {
    code: "registry_unavailable",
    message: /two addresses/,
  });
  assert.equal(registry.node(nodeId)?.HTTPAddr, second.address);
  time.advance(10_000);
  await under.announce(first);
  assert.equal(registry.node(nodeId)?.HTTPAddr, first.address);
  assert.deepEqual(
    audited.map(({ kind }) => kind),
    ["node_joined", "node_readdressed", "join_refused", "node_readdressed"],
  );
});

test("a beat that changes nothing writes nothing; one that brings another class is written", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await under.announce(agent);
  const writes = under.registry.nodeWrites;
  await under.announce(agent);
  await under.announce(agent);
  assert.equal(under.registry.nodeWrites, writes);
  await under.announce(agent, { NodeClass: "large" });
  assert.equal(under.registry.nodeWrites, writes + 1);
  assert.equal(under.registry.node(agent.nodeId)?.NodeClass, "large");
});

const id = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const badAnnouncements: readonly (readonly [
  name: string,
  announcement: { nodeId?: string; secret?: string; body?: JsonObject | undefined },
  expected: { code: string; message?: RegExp },
])[] = [
  ["a wrong token", { secret: "other" }, { code: "permission_denied" }],
  ["a wrong token and a bad body", { secret: "other", body: {} }, { code: "permission_denied" }],
  ["an id that is none", { nodeId: "../nodes" }, { code: "bad_request", message: /36 characters/ }],
  ["no body", { body: undefined }, { code: "bad_request", message: /a Nomad node/ }],
  ["another node's id in the body", { body: nodeBody(randomUUID(), "10.0.0.1:4646") }, { code: "bad_request", message: /ID must be/ }],
  ["an empty name", { body: nodeBody(id, "10.0.0.1:4646", { Name: "" }) }, { code: "bad_request", message: /Name must/ }],
  ["a name with a line break", { body: nodeBody(id, "10.0.0.1:4646", { Name: "a\nb" }) }, { code: "bad_request", message: /Name must/ }],
  ["a name that is no text", { body: nodeBody(id, "10.0.0.1:4646", { Name: "a\ud800" }) }, { code: "bad_request", message: /Name must/ }],
  ["an address without port", { body: nodeBody(id, "10.0.0.1") }, { code: "bad_request", message: /host:port/ }],
  ["port 0", { body: nodeBody(id, "10.0.0.1:0") }, { code: "bad_request", message: /host:port/ }],
  ["port 65536", { body: nodeBody(id, "10.0.0.1:65536") }, { code: "bad_request", message: /host:port/ }],
  ["an address with a path", { body: nodeBody(id, "10.0.0.1:80/x") }, { code: "bad_request", message: /host:port/ }],
  ["an address with user info", { body: nodeBody(id, "a@10.0.0.1:80") }, { code: "bad_request", message: /host:port/ }],
  ["an address the policy refuses", { body: nodeBody(id, "169.254.169.254:80") }, { code: "bad_request", message: /not an agent's address/ }],
  ["metadata that is a list", { body: nodeBody(id, "10.0.0.1:4646", { Meta: [] }) }, { code: "bad_request", message: /Meta must/ }],
  ["a number in the metadata", { body: nodeBody(id, "10.0.0.1:4646", { Meta: { a: 1 } }) }, { code: "bad_request", message: /Meta must/ }],
  ["metadata named __proto__", { body: nodeBody(id, "10.0.0.1:4646", { Meta: JSON.parse(`{"__proto__":"x"}`) }) }, { code: "bad_request", message: /Meta must/ }],
  ["an attribute that is no text", { body: nodeBody(id, "10.0.0.1:4646", { Attributes: { a: {} } }) }, { code: "bad_request", message: /Attributes must/ }],
  ["a body nested too deeply", { body: nodeBody(id, "10.0.0.1:4646", { Links: JSON.parse(`${"[".repeat(50)}${"]".repeat(50)}`) }) }, { code: "bad_request", message: /too deeply/ }],
]; // biome-ignore format: a table
for (const [name, { nodeId = id, secret = joinSecret, ...rest }, expected] of badAnnouncements)
  test(`an announcement with ${name} is refused and leaves nothing`, async () => {
    await using under = await RegistryUnderTest.start();
    under.refusedAddresses.add("169.254.169.254:80");
    const body = "body" in rest ? rest.body : nodeBody(id, "10.0.0.1:4646");
    await assert.rejects(
      under.registry.announce({ nodeId, secret, body, from: "127.0.0.1" }, never),
      expected,
    );
    assert.deepEqual([...under.registry.nodes()], []);
  });

test("what unmodified clients cannot do without is filled in, and what is the gateway's is not the agent's to say", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  await under.announce(agent, {
    NodeResources: null,
    ReservedResources: {},
    Drivers: null,
    Status: "down",
    SecretID: "s3cret",
    SchedulingEligibility: "ineligible",
    ModifyIndex: 1,
  });
  const node = under.registry.node(agent.nodeId);
  const empty = { Cpu: { CpuShares: 0 }, Memory: { MemoryMB: 0 }, Disk: { DiskMB: 0 } };
  assert.deepEqual(node?.["NodeResources"], empty);
  assert.deepEqual(node?.["ReservedResources"], empty);
  assert.deepEqual(node?.["Drivers"], {});
  assert.equal(node?.Status, "ready");
  assert.equal(node?.["SecretID"], "");
  assert.equal(node?.SchedulingEligibility, "eligible");
  assert.ok((node?.ModifyIndex ?? 0) > 1);
});

test("nodes are listed by id", async () => {
  await using under = await RegistryUnderTest.start();
  const ids = Array.from({ length: 20 }, () => randomUUID());
  for (const nodeId of ids)
    await under.registry.announce(
      { nodeId, secret: joinSecret, body: nodeBody(nodeId, "127.0.0.1:1"), from: "" },
      never,
    );
  assert.deepEqual(
    [...under.registry.nodes()].map(({ ID }) => ID),
    ids.toSorted(),
  );
});

test("a blocking query ends with the next change of its table, and only then", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  const woken: string[] = [];
  const waits = [
    registry.changed("allocs", registry.index("allocs"), never).then(() => woken.push("allocs")),
    registry.changed("evals", registry.index("evals"), never).then(() => woken.push("evals")),
  ];
  const leaver = new AbortController();
  const left = registry.changed("nodes", registry.index("nodes"), leaver.signal);
  assert.equal(registry.waiting, 3);
  leaver.abort();
  await left;
  assert.equal(registry.waiting, 2);
  assert.deepEqual(woken, []);
  agent.list(allocationBody(agent.nodeId));
  await under.until("both are woken", () => woken.length === 2);
  await Promise.all(waits);
  assert.equal(registry.waiting, 0);
  await registry.changed("allocs", 1, never); // long past
});

test("more blocking queries than allowed are refused", async () => {
  await using under = await RegistryUnderTest.start({ maxWaiters: 2 });
  const { registry } = under;
  const all = new AbortController();
  const index = registry.index("nodes");
  const waits = [1, 2].map(() => registry.changed("nodes", index, all.signal));
  await assert.rejects(registry.changed("nodes", index, never), { code: "registry_unavailable" });
  all.abort();
  await Promise.all(waits);
});

test("a closed registry leaves no timer and no pull", async () => {
  await using agent = await AgentUnderTest.start();
  const under = await RegistryUnderTest.start();
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  await under.close();
  assert.equal(under.time.waiting, 0);
  await assert.rejects(under.announce(agent), { code: "draining" });
});

test("a node that is down for a day is forgotten with its allocations", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start({ forgetAfterMs: 3_600_000 });
  const { registry, time } = under;
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  await under.announce(agent);
  await under.until("the allocation is held", () => registry.allocation(one.ID) !== undefined);
  time.advance(3_500_000);
  assert.equal(registry.node(agent.nodeId)?.Status, "down");
  time.advance(200_000);
  assert.equal(registry.node(agent.nodeId), undefined);
  assert.equal(registry.allocation(one.ID), undefined);
  assert.equal(registry.evaluation(one.EvalID), undefined);
});

for (const [name, stepMs] of [
  ["forward", 86_400_000],
  ["back", -86_400_000],
] as const)
  test(`a step of the wall clock by a day ${name} changes nothing in when a node is forgotten`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start({ forgetAfterMs: 3_600_000 });
    const { registry, time } = under;
    await under.announce(agent);
    time.advance(60_000);
    assert.equal(registry.node(agent.nodeId)?.Status, "down");
    time.step(stepMs);
    time.advance(3_500_000);
    assert.equal(registry.node(agent.nodeId)?.Status, "down");
    time.advance(200_000);
    assert.equal(registry.node(agent.nodeId), undefined);
  });
