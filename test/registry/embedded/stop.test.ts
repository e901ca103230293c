import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { isUuid } from "../../../src/lib/uuid.ts";
import type { Credential } from "../../../src/ports.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { never, RegistryUnderTest } from "../registry-under-test.ts";

const caller: Credential = { secret: "callers-own", source: "header" };

const withAllocation = async (under: RegistryUnderTest, agent: AgentUnderTest) => {
  const one = allocationBody(agent.nodeId);
  agent.list(one);
  await under.announce(agent);
  await under.until("its query blocks", () => agent.heardOf(agent.allocationsPath) === 2);
  return one;
};

const fields = [
  "ID", "Namespace", "Priority", "Type", "TriggeredBy", "JobID", "JobModifyIndex", "Status", "PlanAnnotations",
  "QueuedAllocations", "SnapshotIndex", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime",
]; // biome-ignore format: a table

test("each allocation's evaluation is there, as Nomad would have made it", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = await withAllocation(under, agent);
  const evaluation = under.registry.evaluation(one.EvalID);
  assert.deepEqual(Object.keys(evaluation ?? {}), fields);
  assert.equal(evaluation?.["TriggeredBy"], "job-register");
  assert.equal(evaluation?.["Status"], "complete");
  assert.equal(evaluation?.["JobID"], "web");
  assert.equal(evaluation?.["Priority"], 70);
  assert.equal(evaluation?.["CreateTime"], one.CreateTime);
  assert.deepEqual([...under.registry.evaluations()], [evaluation]);
  agent.list();
  await under.until("both are gone", () => under.registry.evaluation(one.EvalID) === undefined);
});

test("an evaluation lives as long as one allocation names it", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const first = await withAllocation(under, agent);
  const second = allocationBody(agent.nodeId, { EvalID: first.EvalID });
  agent.list(first, second);
  await under.until("both are held", () => under.registry.allocation(second.ID) !== undefined);
  agent.list(second);
  await under.until("one is gone", () => under.registry.allocation(first.ID) === undefined);
  assert.ok(under.registry.evaluation(first.EvalID));
});

test("a stop tells the agent with the caller's own token, and is seen at once", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const { registry } = under;
  const one = await withAllocation(under, agent);
  const path = `/v1/allocation/${one.ID}/stop`;
  agent.overrides.set(path, (_request, response) => response.end("{}"));
  const before = registry.index("allocs");
  const { evaluationId, index } = await registry.stop(one.ID, caller, never);
  assert.ok(agent.heard.includes(`PUT ${path}`));
  assert.equal(agent.authorizations.get(path), "callers-own");
  assert.ok(isUuid(evaluationId));
  assert.ok(index > before);
  const evaluation = registry.evaluation(evaluationId);
  assert.deepEqual(Object.keys(evaluation ?? {}), fields);
  assert.equal(evaluation?.["TriggeredBy"], "alloc-stop");
  assert.equal(evaluation?.["Status"], "complete");
  assert.equal(evaluation?.["CreateIndex"], index);
  assert.equal(registry.index("evals"), index);
  const held = registry.allocation(one.ID);
  assert.equal(held?.DesiredStatus, "stop");
  assert.equal(held?.ModifyIndex, index);

  agent.list({ ...one, ClientDescription: "still on its way" }); // an older view of the agent
  await under.until("it is heard", () => (registry.allocation(one.ID)?.ModifyIndex ?? 0) > index);
  assert.equal(registry.allocation(one.ID)?.DesiredStatus, "stop");
  agent.list({ ...one, DesiredStatus: "stop", ClientStatus: "complete" });
  await under.until("it ended", () => registry.allocation(one.ID)?.ClientStatus === "complete");
  assert.equal(registry.allocation(one.ID)?.DesiredStatus, "stop");
});

test("an anonymous stop shows the agent no token", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = await withAllocation(under, agent);
  const path = `/v1/allocation/${one.ID}/stop`;
  agent.overrides.set(path, (_request, response) => response.end("{}"));
  await under.registry.stop(one.ID, { secret: undefined, source: "none" }, never);
  assert.equal(agent.authorizations.get(path), undefined);
});

test("a finished allocation may be stopped again; each stop has its evaluation", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = await withAllocation(under, agent);
  agent.overrides.set(`/v1/allocation/${one.ID}/stop`, (_request, response) => response.end("{}"));
  const first = await under.registry.stop(one.ID, caller, never);
  const second = await under.registry.stop(one.ID, caller, never);
  assert.notEqual(first.evaluationId, second.evaluationId);
  assert.equal([...under.registry.evaluations()].length, 3);
});

test("an unknown allocation is not found", async () => {
  await using under = await RegistryUnderTest.start();
  await assert.rejects(under.registry.stop(randomUUID(), caller, never), {
    code: "not_found",
    message: "allocation not found",
  });
});

const refusals: readonly (readonly [status: number, body: string, expected: { code: string; message?: string }])[] = [
  [403, "Permission denied", { code: "permission_denied" }],
  [404, "alloc not found", { code: "not_found", message: "allocation not found" }],
  [500, "the agent's words", { code: "failed", message: "the agent's words" }],
  [302, "elsewhere", { code: "upstream_invalid" }],
]; // biome-ignore format: a table
for (const [status, body, expected] of refusals)
  test(`an agent's ${status} to a stop is refused and marks nothing`, async () => {
    await using agent = await AgentUnderTest.start();
    await using under = await RegistryUnderTest.start();
    const one = await withAllocation(under, agent);
    agent.overrides.set(`/v1/allocation/${one.ID}/stop`, (_request, response) => {
      response.statusCode = status;
      response.end(body);
    });
    await assert.rejects(under.registry.stop(one.ID, caller, never), expected);
    assert.equal(under.registry.allocation(one.ID)?.DesiredStatus, "run");
  });

test("a stop ends with its caller", async () => {
  await using agent = await AgentUnderTest.start();
  await using under = await RegistryUnderTest.start();
  const one = await withAllocation(under, agent);
  const path = `/v1/allocation/${one.ID}/stop`;
  agent.overrides.set(path, () => {}); // never answers
  const leaver = new AbortController();
  const stopped = assert.rejects(under.registry.stop(one.ID, caller, leaver.signal));
  await under.until("the agent is asked", () => agent.heardOf(path) === 1);
  leaver.abort(new Error("the caller left"));
  await stopped;
  assert.equal(under.registry.allocation(one.ID)?.DesiredStatus, "run");
});
