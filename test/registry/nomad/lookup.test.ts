/** What is not in the picture is asked for, with the gateway's own token. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { GatewayError } from "../../../src/errors.ts";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { answers } from "../../support/scripted-nomad.ts";
import { until } from "../until.ts";
import { nodeEntry, patience, placementOf } from "./feed-harness.ts";
import { FeedUnderTest } from "./feed-under-test.ts";

const node = nodeEntry();

const isUnavailable = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === "registry_unavailable";

test("a look-up asks for exactly one allocation, in every namespace", async () => {
  await using under = await FeedUnderTest.start();
  const one = placementOf(node.id, { namespace: "spare", terminal: "complete" });
  under.nomad.know(one, placementOf(node.id));
  assert.deepEqual(await under.feed.lookup(one.id, patience()), one);
  const [seen] = under.nomad.requests;
  assert.equal(seen?.path, "/v1/allocations");
  assert.deepEqual(Object.fromEntries(seen?.query ?? []), {
    prefix: one.id,
    namespace: "*",
    task_states: "false",
  });
  assert.equal(seen?.token, "s.gateway");
});

test("what is no id is not found, and no server is asked", async () => {
  await using under = await FeedUnderTest.start();
  assert.equal(await under.feed.lookup("804797c1", patience()), undefined);
  assert.equal(
    await under.feed.lookup("../agent/self?x=aaaaaaaaaaaaaaaaaaaa", patience()),
    undefined,
  );
  assert.equal(under.nomad.requests.length, 0);
});

for (const [name, answer] of [
  ["403", answers.refuse(403, "Permission denied")],
  ["404", answers.refuse(404, "")],
  ["429", answers.tooManyConnections],
  ["500", answers.refuse(500, "No cluster leader")],
  ["half an answer", answers.half],
  ["no JSON", answers.json("busy")],
  ["JSON that breaks off", answers.json('[{"ID":"')],
  ["a cut", answers.cut],
] as const)
  test(`a look-up answered with ${name} is unavailable, and nothing is remembered of it`, async () => {
    await using under = await FeedUnderTest.start();
    const one = placementOf(node.id);
    under.nomad.know(one);
    under.nomad.overrides.set("/v1/allocations", answer);
    await assert.rejects(under.feed.lookup(one.id, patience()), isUnavailable);
    under.nomad.overrides.clear();
    assert.deepEqual(await under.feed.lookup(one.id, patience()), one);
  });

test("an answer about another allocation is none", async () => {
  await using under = await FeedUnderTest.start();
  const other = placementOf(node.id);
  const row = JSON.stringify([{ ID: other.id, NodeID: node.id }]);
  under.nomad.overrides.set("/v1/allocations", answers.json(row));
  assert.equal(await under.feed.lookup(randomUUID(), patience()), undefined);
});

test("with every server gone a look-up is unavailable; with one left, that one answers", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const [first, second] = under.nomads;
  assert.ok(first && second);
  const one = placementOf(node.id);
  second.know(one);
  await first.lose();
  assert.deepEqual(await under.feed.lookup(one.id, patience()), one);
  await second.lose();
  await assert.rejects(under.feed.lookup(one.id, patience()), (error: unknown) => {
    assert.ok(error instanceof GatewayError);
    assert.equal(
      error.message,
      "the registry cannot answer now: no Nomad server answers (ECONNREFUSED)",
    );
    return true;
  });
});

test("a caller who leaves while the servers think takes the question along", async () => {
  await using under = await FeedUnderTest.start();
  const cut = new Promise((resolve) => {
    under.nomad.overrides.set("/v1/allocations", (request) =>
      request.socket.once("close", resolve),
    );
  });
  const caller = new AbortController();
  const asked = under.feed.lookup(randomUUID(), caller.signal);
  const reason = new Error("the caller left");
  setImmediate(() => caller.abort(reason));
  await assert.rejects(asked, reason);
  if (under.nomad.requests.length > 0) await cut;
});

test("a server that does not answer a look-up in time gives way to the next, which answers it", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const { time, feed } = under;
  const [first, second] = under.nomads;
  assert.ok(first && second);
  const [one, another] = [placementOf(node.id), placementOf(node.id)];
  second.know(one, another);
  first.overrides.set("/v1/allocations", answers.never);
  const directory = new PackedDirectory({ clock: time, timers: time, feed });
  const found = directory.find(one.id, patience());
  await until("the first is asked", () => first.asked("/v1/allocations").length === 1);
  time.advance(3_000);
  assert.deepEqual(await found, one);
  assert.deepEqual(await directory.find(another.id, patience()), another);
});

test("a server that does not answer a question for a node in time gives way to the next", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const [first, second] = under.nomads;
  assert.ok(first && second);
  second.knowNode(node);
  first.overrides.set(`/v1/node/${node.id}`, answers.never);
  const found = under.feed.nodes.find(node.id, patience());
  await until("the first is asked", () => first.asked(`/v1/node/${node.id}`).length === 1);
  under.time.advance(3_000);
  assert.deepEqual(await found, node);
});

test("however many look-ups come at once, the servers get a few at a time: they admit 100 connections of one address", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time, feed } = under;
  const all = Array.from({ length: 200 }, () => placementOf(node.id));
  nomad.know(...all);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  nomad.overrides.set("/v1/allocations", (request, response) =>
    nomad.answer(request, response, released),
  );
  const directory = new PackedDirectory({ clock: time, timers: time, feed });
  const found = Promise.all(all.map(({ id }) => directory.find(id, patience())));
  await until("they are asked", () => nomad.requests.length >= 24);
  for (let turns = 0; turns < 200; turns++) await turn();
  assert.equal(nomad.requests.length, 24);
  release();
  assert.deepEqual(await found, all);
});
