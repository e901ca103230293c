/** What filters find in documents, and what cannot be asked of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { allocationType } from "../../../src/registry/filter/allocation-type.ts";
import { FilterFault } from "../../../src/registry/filter/expression.ts";
import { compileFilter } from "../../../src/registry/filter/filter.ts";
import { nodeType } from "../../../src/registry/filter/node-type.ts";
import type { Struct } from "../../../src/registry/filter/types.ts";

const allocation = {
  ID: "307b0057-418f-b6f1-922f-691b03e2fdef",
  JobID: "golden-web",
  ClientStatus: "running",
  TaskGroup: "g",
  Job: {
    ID: "golden-web",
    Priority: 50,
    Datacenters: ["dc1", "dc2"],
    Meta: { owner: "ops" },
    TaskGroups: [
      { Name: "g", Count: 2, Tasks: [{ Name: "web", Driver: "raw_exec", Config: { command: "/bin/sh", args: ["-c", 7, true] } }] },
    ],
  },
  TaskStates: { web: { State: "running", Failed: false, Restarts: 2, StartedAt: "2026-01-01T00:00:00Z" } },
  Metrics: { ScoreMetaData: [{ NodeID: "n", NormScore: 0.25 }] },
  DeploymentStatus: { Healthy: true, Timestamp: null, Canary: false, ModifyIndex: 88 },
  CreateIndex: 73,
  CreateTime: 1795315609563138962n,
}; // biome-ignore format: a fixture

const node = {
  ID: "97f516e4-4611-169d-81ac-e99860b1284c",
  Name: "client-2",
  SecretID: "never to be told",
  HTTPAddr: "127.0.0.12:4646",
  TLSEnabled: false,
  Attributes: { "kernel.name": "linux" },
  Meta: { rack: "r2" },
  Drivers: { raw_exec: { Attributes: { "driver.raw_exec": "true" }, Healthy: true } },
};

type Outcome = boolean | string;

const missing = "error finding value in datum: ";
const unreadable = "error getting match value in expression: ";

const allocationCases: readonly (readonly [filter: string, outcome: Outcome])[] = [
  ['JobID == "golden-web"', true],
  ['JobID != "golden-web" or ID is empty', false],
  ["JobID == `golden-web`", true],
  ['JobID matches "^golden-(web|batch)$"', true],
  ['JobID not matches "^web"', true],
  ['"den" in JobID', true],
  ['JobID contains "x"', false],
  ["CreateIndex == 73", true],
  ["CreateIndex == `0x49`", true],
  ["CreateIndex == 3", false],
  ["CreateTime == 1795315609563138962", true],
  ["CreateTime == 1795315609563138963", false],
  ["NextAllocation is empty", true],
  ["PreemptedAllocations is empty", true],
  ["PreemptedAllocations is nil", true],
  ["RescheduleTracker is nil", true],
  ["DeploymentStatus is not nil", true],
  ["DeploymentStatus.Healthy == true", true],
  ["DeploymentStatus.Canary == t", false],
  ['not (ClientStatus == "complete")', true],
  ['TaskStates.web.State == "running"', true],
  ["TaskStates.web.Restarts == 2", true],
  ['TaskStates["web"].Failed == false', true],
  ['"/TaskStates/web/State" == "running"', true],
  ["web in TaskStates", true],
  ["TaskStates.nope is nil", true],
  ["TaskStates.nope is empty", true],
  ["TaskStates.nope == x", false],
  ["TaskStates.nope != x", true],
  ["x not in TaskStates.nope", true],
  ["any TaskStates as t { t == web }", true],
  ["any TaskStates as _, t { t.State == running }", true],
  ["all TaskStates as k, t { k == web and t.Restarts == 2 }", true],
  ['any Job.TaskGroups as g { any g.Tasks as t { t.Driver == "raw_exec" } }', true],
  ["any Job.TaskGroups as i, _ { i == 1 }", false],
  ["all PreemptedAllocations as p { p is empty }", true],
  ["Job.Datacenters contains dc2", true],
  ["Job.Datacenters.1 == dc2", true],
  ["Job.Meta.owner == ops", true],
  ["Job.Meta.none is empty", true],
  ['Job.TaskGroups.0.Tasks.0.Config.command == "/bin/sh"', false],
  ['Job.TaskGroups.0.Tasks.0.Config.command == `/bin/sh`', true],
  ["Job.TaskGroups.0.Tasks.0.Config.args contains 7", true],
  ["Job.TaskGroups.0.Tasks.0.Config.args contains nope", false],
  ["Metrics.ScoreMetaData.0.NormScore == 0.25", true],
  ['Foo == "x"', `${missing}/Foo at part 0: couldn't find key: struct field with name "Foo"`],
  ["Job.Foo is empty", `${missing}/Job/Foo at part 1: couldn't find key: struct field with name "Foo"`],
  ["jobid == x", `${missing}/jobid at part 0: couldn't find key: struct field with name "jobid"`],
  ["__proto__ == x", "parse"],
  ["constructor == x", `${missing}/constructor at part 0: couldn't find key: struct field with name "constructor"`],
  ["TaskStates.constructor is nil", true],
  ['TaskStates.nope.State == "running"', `${missing}/TaskStates/nope/State at part 1: couldn't find key "nope"`],
  ["RescheduleTracker.LastReschedule == x", `${missing}/RescheduleTracker/LastReschedule: at part 1, invalid value kind: invalid`],
  ["JobID.x == y", `${missing}/JobID/x: at part 1, invalid value kind: string`],
  ["Job.Datacenters.9 == x", `${missing}/Job/Datacenters/9 at part 2: index 9 is out of range (length = 2)`],
  ["Job.Datacenters.x == x", `${missing}/Job/Datacenters/x at part 2: couldn't convert "x" to type int`],
  ['CreateIndex == "x"', `${unreadable}strconv.ParseUint: parsing "x": invalid syntax`],
  ["CreateIndex == -1", `${unreadable}strconv.ParseUint: parsing "-1": invalid syntax`],
  ["Job.Priority == high", `${unreadable}strconv.ParseInt: parsing "high": invalid syntax`],
  ["CreateTime == 9223372036854775808", `${unreadable}strconv.ParseInt: parsing "9223372036854775808": value out of range`],
  ["TaskStates.web.Failed == no", `${unreadable}strconv.ParseBool: parsing "no": invalid syntax`],
  ["Metrics.ScoreMetaData.0.NormScore == x", `${unreadable}strconv.ParseFloat: parsing "x": invalid syntax`],
  ["TaskStates == web", "unable to find suitable primitive comparison function for matching"],
  ["RescheduleTracker == x", "unable to find suitable primitive comparison function for matching"],
  ['Job.TaskGroups contains "g"', 'unable to find suitable primitive comparison function for "in" comparison'],
  ['"1" in CreateIndex', 'cannot perform in/contains operations on type uint64 for selector: "CreateIndex"'],
  ["CreateIndex is empty", 'cannot perform is-empty operations on type uint64 for selector: "CreateIndex"'],
  ["JobID is nil", 'cannot perform is-nil operations on type string for selector: "JobID"'],
  ["CreateIndex matches x", "value of type uint64 is not convertible to []byte"],
  ["any JobID as x { x == y }", "JobID is not a list or a map"],
  ["any TaskStates as t { t.State == x }", "/t references a string so /t/State is invalid"],
  ["any TaskStates as t, t { t == x }", '"t" cannot be used as a placeholder for both the index and the value'],
  ['JobID matches "("', 'failed to compile regular expression "(": error parsing regexp: missing closing ): `(`'],
]; // biome-ignore format: a table

const nodeCases: readonly (readonly [filter: string, outcome: Outcome])[] = [
  ['Attributes["kernel.name"] == "linux"', true],
  ['Meta.rack == "r2"', true],
  ["Meta.row is empty", true],
  ['HTTPAddr == "127.0.0.12:4646"', true],
  ["Drivers.raw_exec.Healthy == true", true],
  ["TLSEnabled == false", true],
  ["SecretID is empty", true],
  ["SecretID matches never", false],
  ['Address == "127.0.0.12"', `${missing}/Address at part 0: couldn't find key: struct field with name "Address"`],
]; // biome-ignore format: a table

const outcomeOf = (filter: string, type: Struct, document: object): Outcome => {
  try {
    return compileFilter(filter, type)(document);
  } catch (error) {
    assert.ok(error instanceof FilterFault);
    return error.stage === "parse" ? "parse" : error.message;
  }
};

for (const [filter, outcome] of allocationCases)
  test(`an allocation is asked ${filter}`, () => {
    assert.equal(outcomeOf(filter, allocationType, allocation), outcome);
  });

for (const [filter, outcome] of nodeCases)
  test(`a node is asked ${filter}`, () => {
    assert.equal(outcomeOf(filter, nodeType, node), outcome);
  });

test("collections inside one another end when the budget of steps is spent", () => {
  const events = Array.from({ length: 200 }, () => ({ Type: "x" }));
  const nested = (depth: number): string =>
    depth === 0 ? "ID == none" : `any TaskStates.web.Events as e${depth} { ${nested(depth - 1)} }`;
  const ask = compileFilter(nested(6), allocationType);
  assert.throws(() => ask({ TaskStates: { web: { Events: events } } }), /too many steps/);
});

test("a pattern made to stall a backtracking engine is answered", () => {
  const ask = compileFilter('JobID matches "^(a+)+$"', allocationType);
  assert.equal(ask({ JobID: `${"a".repeat(5000)}!` }), false);
});

test("a long pattern on long texts is paid by the budget", () => {
  const ask = compileFilter(`JobID matches "(x?){200}${"x".repeat(1000)}"`, allocationType);
  assert.throws(() => ask({ JobID: "x".repeat(20_000) }), /too many steps/);
});

test("the steps of one document are counted for itself and for the whole list", () => {
  const ask = compileFilter("JobID != none", allocationType, 5);
  assert.equal(ask({ JobID: "web" }), true);
  assert.equal(ask({ JobID: "web" }), true);
  assert.throws(() => ask({ JobID: "web" }), /too many steps/);
});
