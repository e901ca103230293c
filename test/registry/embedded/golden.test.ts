/** The documents of a real Nomad pass as an agent's would, and the evaluations made here look like its own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  isJsonObject,
  type Json,
  type JsonObject,
  parseJson,
  stringifyJson,
} from "../../../src/lib/json.ts";
import { checkAllocation } from "../../../src/registry/embedded/allocation-document.ts";
import { Evaluations } from "../../../src/registry/embedded/evaluations.ts";
import { splitDocuments } from "../../../src/registry/embedded/split-documents.ts";
import { checkNode } from "../../../src/registry/node-document.ts";

const bodyOf = (file: string, name: string): string => {
  const url = new URL(`../../conformance/golden/${file}.json`, import.meta.url);
  const cases: unknown = JSON.parse(readFileSync(url, "utf8"));
  assert.ok(Array.isArray(cases));
  const found: unknown = cases.find((one) => one.name === name && one.via === "server")?.response
    .body;
  assert.ok(typeof found === "string", name);
  return found;
};

const object = (value: Json | undefined): JsonObject => {
  assert.ok(isJsonObject(value));
  return value;
};

const lists = [
  "node allocations: one running",
  "node allocations: blocks 1s, unchanged",
  "node allocations: a restart ends the wait",
];
for (const name of lists)
  test(`Nomad's own documents are taken whole: ${name}`, () => {
    const text = bodyOf("companions", name);
    for (const bytes of splitDocuments(Buffer.from(text))) {
      const source = object(parseJson(Buffer.from(bytes).toString()));
      const checked = checkAllocation(bytes, String(source["NodeID"]));
      assert.ok(checked.ok);
      const {
        CreateIndex: _c,
        ModifyIndex: _m,
        DesiredDescription,
        ClientDescription,
        ...rest
      } = checked.document;
      const {
        CreateIndex: _ci,
        ModifyIndex: _mi,
        DesiredDescription: _d,
        ClientDescription: _cd,
        ...given
      } = source;
      assert.equal(ClientDescription, source["ClientDescription"]);
      assert.equal(DesiredDescription, source["DesiredDescription"] ?? "");
      assert.deepEqual(JSON.parse(stringifyJson(rest)), JSON.parse(stringifyJson(given)));
      assert.equal(rest.CreateTime, source["CreateTime"]);
    }
  });

test("a real node's document is taken with all its fields", () => {
  const source = object(parseJson(bodyOf("servers", "node: read")));
  const checked = checkNode(source, String(source["ID"]));
  assert.ok(checked.ok);
  const { Status: _s, CreateIndex: _c, ModifyIndex: _m, ...rest } = checked.value;
  const { Status: _gs, CreateIndex: _gc, ModifyIndex: _gm, ...given } = source;
  assert.deepEqual(rest, given);
});

/** The shape of a value: its keys, all the way down, where they do not name a task group. */
const shapeOf = (value: Json): Json =>
  isJsonObject(value)
    ? Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shapeOf(member)]))
    : typeof value;

test("an evaluation has the fields of Nomad's, in its order", () => {
  const source = object(parseJson(bodyOf("companions", "evaluation")));
  const [bytes = Buffer.alloc(0)] = splitDocuments(
    Buffer.from(bodyOf("companions", lists[0] ?? "")),
  );
  const checked = checkAllocation(bytes, "a7d2c342-c719-82a4-0780-ef4200313be6");
  assert.ok(checked.ok);
  const evaluations = new Evaluations();
  evaluations.hold(checked.document, 19);
  const ours = object(evaluations.get(String(source["ID"])));
  const { DeploymentID: _, ...theirs } = source; // there are no deployments here
  assert.deepEqual(Object.keys(ours), Object.keys(theirs));
  const comparable = (from: JsonObject): Json => shapeOf(parseJson(stringifyJson(from)));
  assert.deepEqual(comparable(ours), comparable(theirs));
  for (const field of [
    "Namespace",
    "Priority",
    "Type",
    "TriggeredBy",
    "JobID",
    "Status",
    "QueuedAllocations",
  ])
    assert.deepEqual(ours[field], theirs[field]);
});
