/** Lists of services, of evaluations and of what does not exist here, asked as clients ask. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../../src/lib/json.ts";
import { createAsk, type Question } from "./ask.ts";
import { allocation, idOf, node, nodeId, registryOf } from "./documents.ts";
import { MemoryRegistry } from "./memory-registry.ts";

const service = (
  Name: string,
  Tags: readonly string[] = [],
  more: JsonObject = {},
): JsonObject => ({
  Name,
  PortLabel: "http",
  Provider: "nomad",
  Tags,
  ...more,
});

const serving = (id: string, changed: Parameters<typeof allocation>[1] = {}) =>
  allocation(id, {
    Job: {
      ID: "web",
      TaskGroups: [
        {
          Name: "g",
          Services: [service("web", ["b", "a"]), service("elsewhere", [], { Provider: "consul" })],
          Tasks: [{ Name: "t", Services: [service("api", [`of-${id[0]}`])] }],
        },
      ],
    },
    AllocatedResources: { Shared: { Ports: [{ Label: "http", HostIP: "10.0.0.7", Value: 8080 }] } },
    ...changed,
  });

const served = () =>
  registryOf(
    [
      serving(idOf("1")),
      serving(idOf("2"), { CreateIndex: 11 }),
      serving(idOf("3"), { Namespace: "golden-b" }),
      serving(idOf("4"), { ClientStatus: "complete" }),
      serving(idOf("5"), { NodeID: idOf("b") }),
    ],
    [node(), node({ ID: idOf("b"), Status: "down" })],
  );

const api = (...digits: readonly string[]) => ({
  ServiceName: "api",
  Tags: digits.map((digit) => `of-${digit}`),
});
const web = { ServiceName: "web", Tags: ["a", "b"] };

const seen: readonly (Question & { readonly shown: unknown })[] = [
  { route: "services.list", query: "namespace=golden", token: "full", shown: [{ Namespace: "golden", Services: [api("1", "2"), web] }] },
  { route: "services.list", query: "namespace=*", token: "both-read", shown: [
    { Namespace: "golden", Services: [api("1", "2"), web] },
    { Namespace: "golden-b", Services: [api("3"), web] },
  ] },
  { route: "services.list", query: "namespace=*", token: "other-ns", shown: [{ Namespace: "golden-b", Services: [api("3"), web] }] },
  { route: "services.list", query: "namespace=*", token: "", shown: [] },
  { route: "services.list", query: "namespace=nowhere", token: "management", shown: [] },
  { route: "services.list", query: "namespace=golden", token: "list-jobs", shown: 403 },
  { route: "services.list", query: "namespace=golden", token: "other-ns", shown: 403 },
  { route: "service.read", key: "web", query: "namespace=*", token: "management", shown: [] },
  { route: "service.read", key: "none", query: "namespace=golden", token: "full", shown: [] },
  { route: "service.read", key: "web", query: "namespace=golden", token: "list-jobs", shown: 403 },
  { route: "service.read", key: "web", query: "namespace=golden&choose=x", token: "full", shown: 400 },
  { route: "service.read", key: "web", query: "namespace=golden&choose=1|", token: "full", shown: 400 },
  { route: "service.read", key: "web", query: "namespace=golden&choose=0|k", token: "full", shown: [] },
  { route: "service.read", key: "web", query: "namespace=golden&filter=Nope==x", token: "full", shown: 400 },
  { route: "service.read", key: "web", query: "namespace=golden&filter=Port==1", token: "full", shown: [] },
  { route: "volumes.list", query: "", token: "", shown: [] },
  { route: "volumes.list", query: "type=nfs", token: "", shown: 404 },
  { route: "volumes.list", query: "type=host", token: "", shown: [] },
  { route: "volumes.list", query: "type=csi&namespace=golden", token: "", shown: 403 },
  { route: "volumes.list", query: "type=csi&namespace=golden", token: "read-job", shown: 403 },
  { route: "volumes.list", query: "type=csi&namespace=golden", token: "list-jobs", shown: [] },
  { route: "volumes.list", query: "type=csi&namespace=golden", token: "other-ns", shown: 403 },
  { route: "volumes.list", query: "type=csi&namespace=*", token: "other-ns", shown: [] },
  { route: "deployments.list", query: "namespace=golden", token: "read-job", shown: [] },
  { route: "deployments.list", query: "namespace=golden", token: "list-jobs", shown: 403 },
  { route: "deployments.list", query: "namespace=golden&prefix=zz", token: "full", shown: 500 },
  { route: "deployments.list", query: "namespace=golden&filter=((", token: "full", shown: 400 },
  { route: "job.deployments", key: "web", query: "namespace=golden&all=true", token: "full", shown: [] },
  { route: "job.deployment", key: "web", query: "namespace=golden", token: "full", shown: null },
  { route: "job.deployment", key: "web", query: "namespace=golden", token: "other-ns", shown: 403 },
  { route: "job.evaluations", key: "web", query: "namespace=golden", token: "full", shown: [] },
  { route: "job.summary", key: "nope", query: "namespace=golden", token: "full", shown: 404 },
  { route: "job.versions", key: "web", query: "namespace=golden-c", token: "management", shown: 404 },
]; // biome-ignore format: a table

for (const { shown, ...question } of seen)
  test(`${question.route} ${question.key ?? ""}?${question.query} asked by ${question.token || "nobody"}`, async () => {
    const { status, document } = await createAsk(served())(question);
    assert.deepEqual(status === 200 ? document : status, shown);
  });

test("a service is where its allocations run, in the order of their ids, page by page", async () => {
  const ask = createAsk(served());
  const question = { route: "service.read", key: "web", token: "full" } as const;
  const of = (id: string, CreateIndex: number) => ({
    ID: `_nomad-task-${id}-group-g-web-http`,
    ServiceName: "web",
    Namespace: "golden",
    NodeID: nodeId,
    Datacenter: "dc1",
    JobID: "web",
    AllocID: id,
    Tags: ["b", "a"],
    Address: "10.0.0.7",
    Port: 8080,
    CreateIndex,
    ModifyIndex: CreateIndex,
  });
  const whole = await ask({ ...question, query: "namespace=golden" });
  assert.deepEqual(whole.document, [of(idOf("1"), 10), of(idOf("2"), 11)]);
  const first = await ask({ ...question, query: "namespace=golden&per_page=1" });
  assert.deepEqual(first.document, [of(idOf("1"), 10)]);
  const next = first.headers["X-Nomad-Nexttoken"] ?? "";
  assert.equal(next, `golden._nomad-task-${idOf("2")}-group-g-web-http`);
  const second = await ask({
    ...question,
    query: `namespace=golden&per_page=1&next_token=${encodeURIComponent(next)}`,
  });
  assert.deepEqual(second.document, [of(idOf("2"), 11)]);
  assert.equal(second.headers["X-Nomad-Nexttoken"], undefined);
});

const addresses = (document: unknown): readonly string[] =>
  Array.isArray(document) ? document.map(({ AllocID }) => String(AllocID)[0] ?? "") : [];

test("a tag that is no text is left out, and spoils no other service", async () => {
  const odd = serving(idOf("6"), {
    Job: {
      ID: "web",
      TaskGroups: [
        { Name: "g", Services: [service("web", [], { Tags: [{ toString: 0, valueOf: 0 }, "c"] })] },
      ],
    },
  });
  const registry = registryOf([serving(idOf("1")), odd], [node()]);
  const asked = { route: "services.list", query: "namespace=golden", token: "full" } as const;
  const { document } = await createAsk(registry)(asked);
  const web = { ServiceName: "web", Tags: ["a", "b", "c"] };
  assert.deepEqual(document, [{ Namespace: "golden", Services: [api("1"), web] }]);
});

test("a key chooses the same service as long as it runs, whatever else comes", async () => {
  const choose = async (digits: string, key: string) => {
    const registry = registryOf([...digits].map((digit) => serving(idOf(digit))));
    const query = `namespace=golden&choose=${encodeURIComponent(`1|${key}`)}`;
    const asked = { route: "service.read", key: "web", query, token: "full" };
    return addresses((await createAsk(registry)(asked)).document)[0] ?? "";
  };
  const keys = Array.from({ length: 40 }, (_, i) => `caller-${i}`);
  const firsts = await Promise.all(keys.map((key) => choose("123", key)));
  assert.deepEqual([...new Set(firsts)].sort(), ["1", "2", "3"], "load is spread");
  for (const [i, key] of keys.entries()) {
    assert.equal(await choose("321", key), firsts[i], "the order plays no part");
    const more = await choose("1234", key);
    assert.ok(more === firsts[i] || more === "4", "one that comes takes from others, no more");
  }
});

const evaluation = (id: string, changed: JsonObject = {}): JsonObject => ({
  ID: id,
  Namespace: "golden",
  JobID: "web",
  Status: "complete",
  CreateIndex: 5,
  ...changed,
});

const evaluated = () =>
  new MemoryRegistry({
    allocations: [],
    nodes: [],
    evaluations: [
      evaluation(idOf("3"), { CreateIndex: 100 }),
      evaluation(idOf("2"), { CreateIndex: 20, JobID: "db" }),
      evaluation(idOf("1"), { CreateIndex: 30, Status: "pending" }),
      evaluation(idOf("4"), { CreateIndex: 7, Namespace: "golden-b" }),
    ],
    indexes: { allocs: 1, nodes: 1, evals: 100 },
  });

const listed: readonly (Partial<Question> & { readonly query: string; readonly shown: string | number; readonly next?: string })[] = [
  { query: "namespace=golden", shown: "213" },
  { query: "namespace=golden&reverse=true", shown: "312" },
  { query: "namespace=*", shown: "213" },
  { query: "namespace=*", token: "both-read", shown: "4213" },
  { query: "namespace=*&per_page=2", token: "both-read", shown: "42", next: `30.${idOf("1")}` },
  { query: `namespace=*&per_page=2&next_token=30.${idOf("1")}`, token: "both-read", shown: "13" },
  { query: "namespace=golden&prefix=11", shown: "1" },
  { query: "namespace=golden&prefix=1", shown: 500 },
  { query: "namespace=golden&status=complete", shown: "23" },
  { query: "namespace=golden&job=web&status=complete", shown: "3" },
  { query: "namespace=golden&filter=JobID==db", shown: "2" },
  { query: "namespace=golden&filter=JobID==db&status=x", shown: 400 },
  { query: "namespace=golden&filter=Nope==db", shown: 400 },
  { query: "namespace=golden", token: "list-jobs", shown: 403 },
  { query: "namespace=*", token: "", shown: 403 },
  { route: "job.evaluations", key: "web", query: "namespace=golden", shown: "13" },
  { route: "job.evaluations", key: "web", query: "namespace=golden-b", token: "both-read", shown: "4" },
  { route: "job.evaluations", key: "web", query: "namespace=*", token: "both-read", shown: "" },
]; // biome-ignore format: a table

for (const { shown, next, route = "evaluations.list", token = "full", ...rest } of listed)
  test(`${route}?${rest.query} asked by ${token || "nobody"}`, async () => {
    const { status, document, headers } = await createAsk(evaluated())({ route, token, ...rest });
    const ids = Array.isArray(document) ? document.map(({ ID }) => String(ID)[0]).join("") : "";
    assert.deepEqual(status === 200 ? ids : status, shown);
    assert.equal(headers["X-Nomad-Nexttoken"], next);
  });

test("a job's versions are those its allocations carry, the newest first, without those of an earlier job", async () => {
  const job = (Version: number, CreateIndex = 8) => ({
    Job: { ID: "web", Version, CreateIndex, ModifyIndex: CreateIndex + Version },
  });
  const registry = registryOf([
    allocation(idOf("1"), job(9, 3)),
    allocation(idOf("2"), job(0)),
    allocation(idOf("3"), job(2)),
    allocation(idOf("4"), job(2)),
  ]);
  const query = "namespace=golden&diffs=false";
  const asked = { route: "job.versions", key: "web", query, token: "full" };
  const { document } = await createAsk(registry)(asked);
  assert.deepEqual(document, {
    Versions: [
      { ID: "web", Version: 2, CreateIndex: 8, ModifyIndex: 10, Stop: false, Status: "running" },
      { ID: "web", Version: 0, CreateIndex: 8, ModifyIndex: 8, Stop: false, Status: "running" },
    ],
    Diffs: null,
    Index: 10,
    LastContact: 0,
    KnownLeader: true,
    NextToken: "",
  });
});
