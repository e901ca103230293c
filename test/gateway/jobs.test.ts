/** A job whose allocations lie on several nodes is one job, to whoever asks for it, its services and its evaluations. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject, type Json } from "../../src/lib/json.ts";
import { type Rig, startRig } from "../support/rig.ts";

const sleeper = { name: "t", command: "sleep", args: ["1000"], kill_timeout: "1s" };

const web = (group: string, count: number) => ({
  job: "web",
  group,
  count,
  ports: [{ label: "http" }],
  services: [{ name: "web", port: "http", tags: [group] }],
  tasks: [sleeper],
});

const documentOf = async (rig: Rig, path: string): Promise<Json> => {
  const reply = await rig.get(path, rig.secret("reader"));
  assert.equal(reply.status, 200, `${path}: ${reply.text}`);
  return reply.json();
};

const valuesOf = (document: Json, name: string): readonly unknown[] => {
  assert.ok(Array.isArray(document), "a list");
  return document.map((item: Json) => (isJsonObject(item) ? item[name] : undefined)).sort();
};

const fieldOf = (document: Json, name: string): Json => {
  assert.ok(isJsonObject(document), "an object");
  return document[name] ?? null;
};

const running = (count: number) => ({
  Queued: 0,
  Complete: 0,
  Failed: 0,
  Running: count,
  Starting: 0,
  Lost: 0,
  Unknown: 0,
});

test("a job of two nodes is one job", async (t) => {
  await using rig = await startRig({
    policies: { reader: { namespace: [{ default: { policy: "read" } }] } },
    tokens: { reader: { policies: ["reader"] }, boss: { management: true } },
    agents: [{ workloads: [web("a", 2)] }, { workloads: [web("a", 1), web("b", 1)] }],
  });
  const ids = rig.allocationsOf("web").map(({ ID }) => ID);
  assert.equal(ids.length, 4);

  await t.test(
    "its allocations are all there, also without asking for those of the past",
    async () => {
      const listed = await documentOf(rig, "/v1/job/web/allocations?all=false");
      assert.deepEqual(valuesOf(listed, "ID"), ids.toSorted());
    },
  );

  await t.test("its summary counts them by group", async () => {
    const summary = await documentOf(rig, "/v1/job/web/summary");
    assert.deepEqual(fieldOf(summary, "Summary"), { a: running(3), b: running(1) });
  });

  await t.test("it has one version and an evaluation for each placement", async () => {
    const versions = fieldOf(await documentOf(rig, "/v1/job/web/versions"), "Versions");
    assert.deepEqual(valuesOf(versions, "Version"), [0]);
    const evaluations = await documentOf(rig, "/v1/job/web/evaluations");
    assert.equal(valuesOf(evaluations, "TriggeredBy").length, 4);
    const listed = await documentOf(rig, "/v1/evaluations?job=web");
    assert.deepEqual(valuesOf(listed, "ID"), valuesOf(evaluations, "ID"));
  });

  await t.test("no deployment is made for it", async () => {
    assert.deepEqual(await documentOf(rig, "/v1/job/web/deployments?all=true"), []);
    assert.equal(await documentOf(rig, "/v1/job/web/deployment"), null);
    assert.deepEqual(await documentOf(rig, "/v1/deployments"), []);
  });

  await t.test("its service is at every allocation's port, with the tags of all", async () => {
    assert.deepEqual(await documentOf(rig, "/v1/services"), [
      { Namespace: "default", Services: [{ ServiceName: "web", Tags: ["a", "b"] }] },
    ]);
    const found = await documentOf(rig, "/v1/service/web");
    assert.deepEqual(valuesOf(found, "AllocID"), ids.toSorted());
    assert.equal(new Set(valuesOf(found, "Port")).size, 4);
  });

  await t.test(
    "one that is stopped leaves the list of its service, and the job runs on",
    async () => {
      const [stopped = ""] = ids;
      const reply = await rig.ask({
        method: "PUT",
        path: `/v1/allocation/${stopped}/stop`,
        token: rig.secret("boss"),
      });
      assert.equal(reply.status, 200, reply.text);
      let found = await rig.get("/v1/service/web", rig.secret("reader"));
      while (valuesOf(found.json(), "AllocID").includes(stopped)) {
        const index = found.headers["x-nomad-index"];
        found = await rig.get(`/v1/service/web?index=${index}&wait=10s`, rig.secret("reader"));
        assert.notEqual(found.headers["x-nomad-index"], index, "a change ends the wait");
      }
      assert.equal(valuesOf(found.json(), "AllocID").length, 3);
      const job = await documentOf(rig, "/v1/job/web");
      assert.deepEqual([fieldOf(job, "Status"), fieldOf(job, "Stop")], ["running", false]);
      const listed = await documentOf(rig, "/v1/evaluations?job=web&reverse=true&per_page=1");
      assert.deepEqual(valuesOf(listed, "TriggeredBy"), ["alloc-stop"]);
    },
  );
});
