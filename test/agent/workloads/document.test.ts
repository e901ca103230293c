/** Documents against what Nomad itself answered for the same job (golden-web.json, recorded from 2.0.5). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { CheckConfig } from "../../../src/agent/ports.ts";
import { isJsonObject, type Json, parseJson, stringifyJson } from "../../../src/lib/json.ts";
import { bench, first, task, until, workload } from "./support.ts";

const golden = parseJson(readFileSync(new URL("golden-web.json", import.meta.url), "utf8"));

const check = (name: string, type: "tcp" | "http", path: string): CheckConfig => ({
  name,
  type,
  path,
  port: undefined,
  intervalMs: 5_000,
  timeoutMs: 1_000,
});

const quiet = { logs: { maxFiles: 10, maxFileSizeMb: 10, disabled: true } };

const goldenWeb = workload(
  [
    task("init", "true", { killTimeoutMs: 5_000, lifecycle: { hook: "prestart", sidecar: false } }),
    task("web", "exec sleep 600", {
      env: { GREETING: "hello" },
      resources: { cpu: 50, memoryMb: 64 },
    }),
    task("quiet", "exec sleep 600", { killTimeoutMs: 5_000, ...quiet }),
    task("rot", "exec sleep 600", {
      killTimeoutMs: 5_000,
      logs: { maxFiles: 2, maxFileSizeMb: 1, disabled: false },
    }),
    task("later", "true", {
      killTimeoutMs: 5_000,
      lifecycle: { hook: "poststop", sidecar: false },
    }),
  ],
  {
    job: "golden-web",
    namespace: "golden",
    ports: [{ label: "http", static: undefined }],
    restart: { attempts: 3, intervalMs: 600_000, delayMs: 1_000, mode: "fail" },
    services: [
      {
        name: "golden-web",
        port: "http",
        task: undefined,
        tags: ["a", "b"],
        checks: [
          check("tcp-ok", "tcp", ""),
          check("http-ok", "http", "/hello.txt"),
          check("http-404", "http", "/missing"),
        ],
      },
    ],
  },
);

/** Times, ids, indexes, ports and what a scheduler alone knows. */
const variable = new Set([
  "ID", "EvalID", "NodeID", "DeploymentID", "DeploymentStatus", "SigningKeyID", "CreateIndex", "ModifyIndex",
  "AllocModifyIndex", "CreateTime", "ModifyTime", "SubmitTime", "JobModifyIndex", "Time", "LastRestart", "StartedAt",
  "FinishedAt", "Restarts", "Value", "Metrics", "NomadTokenID", "Datacenters", "Constraints", "Update", "Migrate",
  "ReschedulePolicy", "Identity", "Meta", "Status", "Config", "OnUpdate", "Events",
]); // biome-ignore format: a list

const compare = (ours: Json | undefined, theirs: Json, where: string): void => {
  if (isJsonObject(theirs)) {
    assert.ok(isJsonObject(ours ?? null), `${where} is an object`);
    if (!isJsonObject(ours ?? null)) return;
    const object = ours as typeof theirs; // asserted above
    const sorted = /Tasks$|TaskResources$|TaskStates$|TaskLifecycles$/.test(where);
    const keys = (value: object) => (sorted ? Object.keys(value).sort() : Object.keys(value));
    const expected = keys(theirs).filter((key) => !/^(Deployment|SigningKey)/.test(key));
    assert.deepEqual(keys(object), expected, `fields of ${where}`);
    for (const key of expected)
      if (!variable.has(key)) compare(object[key], theirs[key] ?? null, `${where}.${key}`);
  } else if (Array.isArray(theirs)) {
    assert.ok(Array.isArray(ours), `${where} is a list`);
    assert.equal(ours.length, theirs.length, `length of ${where}`);
    for (const [index, item] of theirs.entries()) compare(ours[index], item, `${where}[${index}]`);
  } else assert.deepEqual(ours, theirs, where);
};

test("a running service's document has Nomad's fields, order and values", async (t) => {
  const workloads = await bench(t).start([goldenWeb]);
  const allocation = first(workloads);
  await until("web runs", () => allocation.task("web")?.state === "running");
  await until("rot runs", () => allocation.task("rot")?.state === "running");
  await until("quiet runs", () => allocation.task("quiet")?.state === "running");
  const ours = parseJson(stringifyJson(allocation.document()));
  compare(ours, golden, "allocation");
  const events = allocation.document().TaskStates?.["web"]?.Events ?? [];
  assert.ok(isJsonObject(golden));
  const theirs = isJsonObject(golden) ? stringifyJson(golden["TaskStates"]) : "";
  const fields = Object.keys(events[0] ?? {});
  let at = -1;
  for (const field of fields) {
    const next = theirs.indexOf(`"${field}":`, at);
    assert.ok(next > at, `event field ${field} in Nomad's order`);
    at = next;
  }
});

test("times in documents are whole nanoseconds", async (t) => {
  const workloads = await bench(t).start([workload([task("b", "true")], { type: "batch" })]);
  await until("complete", () => first(workloads).clientStatus === "complete");
  const text = stringifyJson(first(workloads).document());
  assert.match(text, /"CreateTime":\d{19}[,}]/);
  assert.match(text, /"Time":\d{19},/);
  assert.match(text, /"SubmitTime":\d{19},/);
});
