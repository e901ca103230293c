/** Lists, jobs and search where the recorded answers say nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAsk, type Question } from "./ask.ts";
import { allocation, idOf, node, registryOf } from "./documents.ts";

const ids = (document: unknown): readonly unknown[] =>
  Array.isArray(document) ? document.map(({ ID }) => String(ID)[0]) : [];

const three = () =>
  registryOf([
    allocation(idOf("1"), { CreateIndex: 12, ClientStatus: "failed" }),
    allocation(idOf("2"), { CreateIndex: 9, JobID: "db" }),
    allocation(idOf("3"), { CreateIndex: 100, Namespace: "golden-b" }),
  ]);

const lists: readonly (Partial<Question> & { readonly query: string; readonly shown: readonly string[]; readonly next?: string })[] = [
  { query: "namespace=golden", shown: ["2", "1"] },
  { query: "namespace=*", shown: ["2", "1"] },
  { query: "namespace=*", token: "both-read", shown: ["2", "1", "3"] },
  { query: "namespace=*&reverse=true", token: "both-read", shown: ["3", "1", "2"] },
  { query: "namespace=*&per_page=2", token: "both-read", shown: ["2", "1"], next: `100.${idOf("3")}` },
  { query: "namespace=*&next_token=12", token: "both-read", shown: ["1", "3"] },
  { query: "namespace=*&reverse=true&next_token=12.g", token: "both-read", shown: ["1", "2"] },
  { query: `namespace=*&prefix=&next_token=9.${idOf("2")}&per_page=1`, token: "both-read", shown: ["2"], next: `12.${idOf("1")}` },
  { query: `namespace=golden&filter=${encodeURIComponent("ClientStatus != `failed`")}&per_page=1`, shown: ["2"] },
]; // biome-ignore format: a table

for (const { query, shown, next, token = "full" } of lists)
  test(`allocations?${query} asked by ${token}`, async () => {
    const { document, headers } = await createAsk(three())({ route: "allocs.list", query, token });
    assert.deepEqual(ids(document), shown);
    assert.equal(headers["X-Nomad-Nexttoken"], next);
  });

test("a job's allocations leave out those of an earlier job of its name unless all are asked for", async () => {
  const job = (CreateIndex: number) => ({
    ID: "web",
    Type: "service",
    CreateIndex,
    ModifyIndex: CreateIndex,
  });
  const registry = registryOf([
    allocation(idOf("1"), { Job: job(3) }),
    allocation(idOf("2"), { Job: job(8) }),
  ]);
  const ask = createAsk(registry);
  const question = { route: "job.allocations", key: "web", token: "full" };
  assert.deepEqual(
    ids((await ask({ ...question, query: "namespace=golden&all=false" })).document),
    ["2"],
  );
  assert.deepEqual(ids((await ask({ ...question, query: "namespace=golden&all=true" })).document), [
    "1",
    "2",
  ]);
});

test("a job is dead once all its allocations are, and its summary counts them", async () => {
  const registry = registryOf([
    allocation(idOf("1"), { ClientStatus: "complete" }),
    allocation(idOf("2"), { ClientStatus: "failed", ModifyIndex: 33 }),
  ]);
  const question = { route: "jobs.list", query: "namespace=golden", token: "full" };
  const { document } = await createAsk(registry)(question);
  const [job] = Array.isArray(document) ? document : [];
  assert.equal(job.Status, "dead");
  assert.deepEqual(job.JobSummary.Summary.g, {
    Queued: 0,
    Complete: 1,
    Failed: 1,
    Running: 0,
    Starting: 0,
    Lost: 0,
    Unknown: 0,
  });
  assert.equal(job.JobSummary.ModifyIndex, 33);
});

const many = () =>
  registryOf(
    Array.from({ length: 25 }, (_, i) =>
      allocation(`ab${String(i).padStart(6, "0")}${idOf("1").slice(8)}`),
    ),
    [node({ ID: `ab${idOf("1").slice(2)}` })],
  );

const searches: readonly {
  readonly prefix: string;
  readonly context: string;
  readonly token: string;
  readonly matches?: Readonly<Record<string, number>>;
  readonly truncated?: readonly string[];
  readonly status?: number;
}[] = [
  { prefix: "ab", context: "allocs", token: "full", matches: { allocs: 20 }, truncated: ["allocs"] },
  { prefix: "ab00001", context: "allocs", token: "full", matches: { allocs: 20 }, truncated: ["allocs"] },
  { prefix: "zz", context: "allocs", token: "full", matches: {} },
  { prefix: "we", context: "jobs", token: "full", matches: { jobs: 1 } },
  { prefix: "gold", context: "namespaces", token: "full", matches: { namespaces: 1 } },
  { prefix: "ab", context: "all", token: "node-read", matches: { nodes: 1 } },
  { prefix: "ab", context: "nodes", token: "read", status: 403 },
  { prefix: "ab", context: "allocs", token: "other-ns", status: 403 },
  { prefix: "ab", context: "", token: "full", status: 500 },
]; // biome-ignore format: a table

for (const { prefix, context, token, matches, truncated = [], status = 200 } of searches)
  test(`a search for ${prefix} in ${JSON.stringify(context)} by ${token} is ${status}`, async () => {
    const question = { route: "search", query: "namespace=golden", token };
    const body = { Prefix: prefix, Context: context };
    const { status: given, document } = await createAsk(many())({ ...question, body });
    assert.equal(given, status);
    if (matches === undefined) return;
    assert.ok(typeof document === "object" && document !== null);
    const { Matches, Truncations } = { Matches: {}, Truncations: {}, ...document };
    const counted = Object.entries(Matches).map(([kind, found]) => [
      kind,
      Array.isArray(found) ? found.length : 0,
    ]);
    assert.deepEqual(Object.fromEntries(counted), matches);
    assert.deepEqual(
      Object.entries(Truncations)
        .filter(([, cut]) => cut)
        .map(([kind]) => kind),
      truncated,
    );
  });

test("a stop is told to the registry under the id in its usual form", async () => {
  const registry = three();
  const key = idOf("a").toUpperCase();
  registry.put(allocation(idOf("a"), { ModifyIndex: 101 }));
  const outcome = await createAsk(registry)({ route: "alloc.stop", key, token: "full" });
  assert.equal(outcome.status, 200);
  assert.deepEqual(registry.stopped, [idOf("a")]);
  assert.deepEqual(Object.keys(outcome.headers), ["X-Nomad-Index"]);
});

test("a full allocation keeps signed identities to itself", async () => {
  const registry = registryOf([
    allocation(idOf("1"), { SignedIdentities: { web: "a token" }, PreemptedByAllocation: "" }),
  ]);
  const { document } = await createAsk(registry)({
    route: "alloc.read",
    key: idOf("1"),
    token: "full",
  });
  assert.ok(typeof document === "object" && document !== null);
  assert.equal("SignedIdentities" in document, false);
  assert.equal("PreemptedByAllocation" in document, false);
  assert.equal("CreateTime" in document && document.CreateTime, 1795315609563138962n);
});
