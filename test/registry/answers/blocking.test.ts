/** Blocking queries: what ends a wait, and what is answered then. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../../../src/errors.ts";
import { maxWaitMs, waitMsOf } from "../../../src/registry/answers/blocking.ts";
import { createAsk, type Question } from "./ask.ts";
import { allocation, idOf, nodeId, registryOf } from "./documents.ts";
import type { MemoryRegistry } from "./memory-registry.ts";

const id = idOf("1");

/** Resolves once a query waits for a change, so that the change surely comes later. */
const untilWaiting = async (registry: MemoryRegistry): Promise<void> => {
  const endsAt = performance.now() + 5_000;
  while (registry.waiting === 0) {
    assert.ok(performance.now() < endsAt, "no query waits");
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const waits: readonly (Question & { readonly name: string })[] = [
  { name: "an allocation", route: "alloc.read", key: id, query: "index=10&wait=20s" },
  { name: "the list of allocations", route: "allocs.list", query: "namespace=golden&index=100&wait=20s" },
  { name: "a node's allocations", route: "node.allocations", key: nodeId, query: "index=10&wait=20s" },
  { name: "an allocation's services", route: "alloc.services", key: id, query: "namespace=golden&index=100&wait=20s" },
  { name: "an allocation that is still unknown", route: "alloc.read", key: idOf("2"), query: "index=100&wait=20s" },
  { name: "a job", route: "job.read", key: "web", query: "namespace=golden&index=10&wait=20s" },
]; // biome-ignore format: a table

for (const { name, ...question } of waits)
  test(`a change ends the wait for ${name}`, async () => {
    const registry = registryOf([allocation(id)]);
    const answer = createAsk(registry)({ ...question, token: "management" });
    await untilWaiting(registry);
    const stopped = { ClientStatus: "complete", ModifyIndex: 101 } as const;
    registry.put(allocation(question.key === idOf("2") ? idOf("2") : id, stopped));
    const { status, headers } = await answer;
    assert.equal(status, 200);
    assert.equal(headers["X-Nomad-Index"], "101");
    assert.equal(registry.waiting, 0);
  });

test("a change of another allocation does not end the wait for one", async () => {
  const registry = registryOf([allocation(id), allocation(idOf("2"))]);
  const ask = createAsk(registry);
  const query = "index=10&wait=20s";
  const answer = ask({ route: "alloc.read", key: id, query, token: "management" });
  await untilWaiting(registry);
  registry.put(allocation(idOf("2"), { ModifyIndex: 101 }));
  await untilWaiting(registry);
  registry.put(allocation(id, { ModifyIndex: 102 }));
  const { headers } = await answer;
  assert.equal(headers["X-Nomad-Index"], "102");
});

test("a change that many lists wait for makes one of them after the other, with time for others between", async () => {
  const registry = registryOf([allocation(id)]);
  const ask = createAsk(registry);
  const query = "namespace=golden&index=100&wait=20s";
  const asked = Array.from({ length: 100 }, () =>
    ask({ route: "allocs.list", query, token: "management" }),
  );
  while (registry.waiting < asked.length) await untilWaiting(registry);
  let made = 0;
  const { allocations } = registry;
  registry.allocations = () => {
    made++;
    return allocations.call(registry);
  };
  registry.put(allocation(id, { ClientStatus: "complete", ModifyIndex: 101 }));
  let most = 0;
  while (made < asked.length) {
    const before = made;
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, made - before);
  }
  for (const { status } of await Promise.all(asked)) assert.equal(status, 200);
  assert.ok(most <= 2, `${most} in one turn`);
});

test("the end of the time is no error: what is there, with the index unchanged", async () => {
  const registry = registryOf([allocation(id)]);
  const query = "index=99999999&wait=30ms";
  const outcome = await createAsk(registry)({ route: "alloc.read", key: id, query, token: "full" });
  assert.equal(outcome.status, 200);
  assert.equal(outcome.headers["X-Nomad-Index"], "10");
  assert.equal(registry.waiting, 0);
});

test("a right that is missing is refused before any wait", async () => {
  const registry = registryOf([allocation(id)]);
  const query = "index=99999999&wait=20s";
  const outcome = await createAsk(registry)({ route: "alloc.read", key: id, query });
  assert.equal(outcome.status, 500);
  assert.equal(outcome.text, `Unknown allocation "${id}"`);
});

test("the end of the exchange ends the wait with its reason", async () => {
  const registry = registryOf([allocation(id)]);
  const exchange = new AbortController();
  const query = "index=10&wait=20s";
  const question = { route: "alloc.read", key: id, query, token: "full", signal: exchange.signal };
  const answer = createAsk(registry)(question);
  await untilWaiting(registry);
  exchange.abort(new GatewayError("draining"));
  assert.equal((await answer).status, 503);
  assert.equal(registry.waiting, 0);
});

const times: readonly (readonly [askedMs: number, random: number, waitMs: number])[] = [
  [0, 0, maxWaitMs],
  [-5, 0, maxWaitMs],
  [1_000, 0, 1_000],
  [1_600, 1, 1_700],
  [3_600_000, 0, maxWaitMs],
  [3_600_000, 1, 318_750],
];

for (const [askedMs, random, waitMs] of times)
  test(`a wait of ${askedMs} ms lasts ${waitMs} ms with jitter ${random}`, () => {
    assert.equal(
      waitMsOf(askedMs, () => random),
      waitMs,
    );
  });
