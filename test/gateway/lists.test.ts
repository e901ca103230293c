/** Lists and documents through the whole stack: blocking queries that wake, pages, filters, every namespace at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject, type JsonObject } from "../../src/lib/json.ts";
import { eventually, type Reply, type Rig, startRig } from "../support/rig.ts";

const job = (
  name: string,
  namespace: string,
  more: object = {},
): Readonly<Record<string, unknown>> => ({
  job: name,
  namespace,
  group: "main",
  tasks: [{ name: "main", command: "sleep", args: ["1000"], kill_timeout: "1s" }],
  ...more,
});

const start = (): Promise<Rig> =>
  startRig({
    settings: { metadata: { interval: "100ms" } },
    policies: {
      red: { namespace: [{ red: { policy: "read" } }] },
      both: { namespace: [{ "*": { policy: "read" } }], node: { policy: "read" } },
    },
    tokens: { red: { policies: ["red"] }, both: { policies: ["both"] }, none: {} },
    agents: [
      { name: "n1", workloads: [job("a", "red", { count: 3 }), job("b", "blue")] },
      { name: "n2", workloads: [job("c", "red"), job("d", "default")] },
    ],
  });

const itemsOf = (reply: Reply): readonly JsonObject[] => {
  assert.equal(reply.status, 200, reply.text);
  const list = reply.json();
  assert.ok(Array.isArray(list));
  return list.filter(isJsonObject);
};

const fields = (reply: Reply, field: string): readonly unknown[] =>
  itemsOf(reply).map((item) => item[field]);

const indexOf = (reply: Reply): number => Number(reply.headers["x-nomad-index"]);

interface Waiting {
  readonly seen: number;
  readonly reply: Promise<Reply>;
}

/** A query that waits, besides others. What changed a moment before (a task that ends) may still answer one: then it is asked anew. */
const waits = async (rig: Rig, path: string, token: string, besides = 0): Promise<Waiting> => {
  const sign = path.includes("?") ? "&" : "?";
  for (let attempt = 0; attempt < 50; attempt++) {
    const seen = indexOf(await rig.get(path, token));
    let answered = false;
    const reply = rig.get(`${path}${sign}index=${seen}&wait=30s`, token).then((answer) => {
      answered = true;
      return answer;
    });
    const isWaiting = await eventually("the query waits or is answered", () =>
      rig.gateway.registry.waiting > besides ? "waiting" : answered ? "answered" : undefined,
    );
    if (isWaiting === "waiting") return { seen, reply };
    await reply;
  }
  throw new Error("something changes all the time");
};

/** Asks with the index that was seen, and checks that a change, and nothing before it, is answered. */
const wakes = async (rig: Rig, path: string, change: () => Promise<unknown>): Promise<Reply> => {
  const { seen, reply: waiting } = await waits(rig, path, rig.secret("management"));
  await change();
  const reply = await waiting;
  assert.equal(reply.status, 200, reply.text);
  assert.ok(indexOf(reply) > seen, `${indexOf(reply)} after ${seen}`);
  return reply;
};

test("blocking queries wake when what they ask for changes", async (t) => {
  await using rig = await start();
  const token = rig.secret("management");
  const stop = (name: string): Promise<Reply> =>
    rig.ask({ method: "PUT", path: `/v1/allocation/${rig.allocation(name)}/stop`, token });

  await t.test("one allocation", async () => {
    const reply = await wakes(rig, `/v1/allocation/${rig.allocation("b")}`, () => stop("b"));
    const document = reply.json();
    assert.ok(isJsonObject(document));
    assert.equal(document["DesiredStatus"], "stop");
  });
  await t.test("the list of allocations", async () => {
    const reply = await wakes(rig, "/v1/allocations?namespace=*", () => stop("c"));
    assert.equal(itemsOf(reply).length, 6);
  });
  await t.test("a node's metadata wakes the node and the list of nodes", async () => {
    const { nodeId } = rig.agent();
    const write = (value: string) => (): Promise<Reply> =>
      rig.ask({
        method: "POST",
        path: "/v1/client/metadata",
        token,
        body: JSON.stringify({ NodeID: nodeId, Meta: { color: value } }),
      });
    const node = (await wakes(rig, `/v1/node/${nodeId}`, write("green"))).json();
    assert.ok(isJsonObject(node) && isJsonObject(node["Meta"]));
    assert.equal(node["Meta"]["color"], "green");
    assert.equal(itemsOf(await wakes(rig, "/v1/nodes", write("red"))).length, 2);
  });
  await t.test("without a change it answers the same index when its time is over", async () => {
    const path = `/v1/allocation/${rig.allocation("d")}`;
    const seen = await rig.get(path, token);
    const again = await rig.get(`${path}?index=${indexOf(seen)}&wait=200ms`, token);
    assert.equal(indexOf(again), indexOf(seen));
    assert.deepEqual(again.json(), seen.json());
  });
  await t.test("a caller that leaves takes its wait with it", async () => {
    const gone = new AbortController();
    const { signal } = gone;
    const left = fetch(`${rig.url}/v1/nodes?index=99999999999999&wait=60s`, {
      headers: { "x-nomad-token": token },
      signal,
    }).catch(() => "left");
    await eventually("it waits", () => (rig.gateway.registry.waiting > 0 ? true : undefined));
    gone.abort();
    assert.equal(await left, "left");
    await eventually("nobody waits", () => (rig.gateway.registry.waiting === 0 ? true : undefined));
  });
});

test("pages add up to the whole list, forwards and backwards", async () => {
  await using rig = await start();
  const token = rig.secret("management");
  const whole = fields(await rig.get("/v1/allocations?namespace=*", token), "ID");
  for (const reverse of [false, true]) {
    const seen: unknown[] = [];
    let next = "";
    do {
      const reply = await rig.get(
        `/v1/allocations?namespace=*&per_page=2&reverse=${reverse}&next_token=${encodeURIComponent(next)}`,
        token,
      );
      const page = fields(reply, "ID");
      assert.ok(page.length <= 2);
      seen.push(...page);
      next = String(reply.headers["x-nomad-nexttoken"] ?? "");
    } while (next !== "");
    assert.equal(new Set(seen).size, whole.length);
    assert.deepEqual(seen, reverse ? whole.toReversed() : whole);
  }
});

// biome-ignore format: a table
const filters: readonly { readonly path: string; readonly count: number }[] = [
  { path: 'JobID == "a"', count: 3 },
  { path: 'JobID == "a" or JobID == "b"', count: 4 },
  { path: 'ClientStatus == "running" and NodeName == "n2"', count: 2 },
  { path: 'Namespace matches "^re"', count: 4 },
  { path: 'JobID == "none"', count: 0 },
];

test("filters choose, and a bad one is refused in Nomad's words", async (t) => {
  await using rig = await start();
  const token = rig.secret("management");
  await eventually("all run", () =>
    [...rig.gateway.registry.allocations()].every((one) => one.ClientStatus === "running")
      ? true
      : undefined,
  );
  for (const { path, count } of filters)
    await t.test(path, async () => {
      const reply = await rig.get(
        `/v1/allocations?namespace=*&filter=${encodeURIComponent(path)}`,
        token,
      );
      assert.equal(itemsOf(reply).length, count);
    });
  await t.test("a filter that does not parse", async () => {
    const reply = await rig.get("/v1/allocations?filter=JobID%20==", token);
    assert.equal(reply.status, 400);
    assert.match(
      reply.text,
      /^failed to create result paginator: failed to read filter expression: /,
    );
  });
});

test("each caller sees the namespaces it has a right in, and no other", async () => {
  await using rig = await start();
  const seenBy = async (name: string, namespace: string): Promise<readonly unknown[]> => {
    const reply = await rig.get(`/v1/allocations?namespace=${namespace}`, rig.secret(name));
    return [...new Set(fields(reply, "Namespace"))].sort();
  };
  assert.deepEqual(await seenBy("management", "*"), ["blue", "default", "red"]);
  assert.deepEqual(await seenBy("both", "*"), ["blue", "default", "red"]);
  assert.deepEqual(await seenBy("red", "*"), ["red"]);
  assert.deepEqual(await seenBy("red", "red"), ["red"]);
  assert.equal((await rig.get("/v1/allocations?namespace=blue", rig.secret("red"))).status, 403);
  assert.equal((await rig.get("/v1/allocations", rig.secret("none"))).status, 403);
  assert.equal((await rig.get("/v1/nodes", rig.secret("red"))).status, 403);
  assert.equal((await rig.get("/v1/allocations?namespace=*")).status, 403, "anonymous");
  const [blue] = rig.allocationsOf("b");
  const foreign = await rig.get(`/v1/allocation/${blue?.ID}`, rig.secret("red"));
  assert.deepEqual(
    [foreign.status, foreign.text],
    [500, `Unknown allocation "${blue?.ID}"`],
    "as Nomad: not shown",
  );
});

const heedless = [
  ["/v1/agent/self?region=mars&wait=x", 200, ""],
  ["/v1/agent/members?region=mars", 200, ""],
  ["/v1/agent/members?wait=x", 400, "Invalid wait time"],
  ["/v1/agent/servers?region=mars&index=x", 501, "Invalid method"],
  ["/v1/status/leader?region=mars", 500, "No path to region"],
  ["/v1/volumes?type=nfs&wait=x", 404, "resource not found"],
  ["/v1/allocations?resources=x&wait=x", 400, "Invalid wait time"],
  ["/v1/allocations?resources=x&region=mars", 500, /^Failed to parse value of "resources"/],
] as const;

test("what an answer does not read it does not refuse, and Nomad's first fault is the one that is told", async (t) => {
  await using rig = await start();
  const token = rig.secret("management");
  for (const [path, status, words] of heedless)
    await t.test(`${path}: ${status}`, async () => {
      const reply = await rig.ask({ path, token });
      assert.equal(reply.status, status, reply.text);
      if (typeof words !== "string") assert.match(reply.text, words);
      else if (words !== "") assert.equal(reply.text, words);
    });
  await t.test("a stop", async () => {
    const { status, text } = await rig.ask({
      method: "PUT",
      path: "/v1/allocation/5a1f0d1e-0000-4000-8000-000000000000/stop?wait=x",
      token,
    });
    assert.deepEqual([status, text], [404, "allocation not found"]);
  });
});

const waitingFor: Readonly<Record<string, (blue: string) => string>> = {
  "the allocations of every namespace": () => "/v1/allocations?namespace=*",
  "the jobs of every namespace": () => "/v1/jobs?namespace=*",
  "the evaluations of every namespace": () => "/v1/evaluations?namespace=*",
  "the namespaces": () => "/v1/namespaces",
  "an allocation": (blue) => `/v1/allocation/${blue}`,
};

test("a query that waits is answered with what its caller may see then", async () => {
  await using rig = await start();
  for (const name of ["a", "b", "c", "d"]) await rig.until(name, "running");
  const [blue] = rig.allocationsOf("b");
  assert.ok(blue);
  const queries: (readonly [what: string, reply: Promise<Reply>])[] = [];
  for (const [what, of] of Object.entries(waitingFor)) {
    const { reply } = await waits(rig, of(blue.ID), rig.secret("both"), queries.length);
    queries.push([what, reply]);
  }
  rig.writePolicy("both", { namespace: [{ red: { policy: "read" } }] });
  await rig.gateway.reload();
  await rig.ask({
    method: "PUT",
    path: `/v1/allocation/${blue.ID}/stop`,
    token: rig.secret("management"),
  });
  for (const [what, reply] of queries) {
    const { status, text } = await reply;
    assert.ok(!text.includes(`"blue"`), `${what}: ${text}`);
    assert.equal(status, what === "an allocation" ? 500 : 200, what);
  }
});
