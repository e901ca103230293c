/** Where nodes are: from events, or asked for when somebody first wants to go there. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { GatewayError } from "../../../src/errors.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { stringifyJson } from "../../../src/lib/json.ts";
import { NodeBook } from "../../../src/registry/nomad/node-book.ts";
import { defaultBounds } from "../../../src/registry/nomad/options.ts";
import { realTimers } from "../../../src/registry/timers.ts";
import { answers, nodeDocument } from "../../support/scripted-nomad.ts";
import { until } from "../until.ts";
import { nodeEntry, patience } from "./feed-harness.ts";
import { FeedUnderTest } from "./feed-under-test.ts";

const asked = (under: FeedUnderTest, id: string): number =>
  under.nomad.asked(`/v1/node/${id}`).length;

const isUnavailable = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === "registry_unavailable";

test("a node of the list is asked for once at first use, however many want it, and then known", async () => {
  await using under = await FeedUnderTest.start();
  const node = nodeEntry({ tls: true });
  under.nomad.knowNode(node);
  await under.synced();
  assert.equal(under.record.nodes.get(node.id)?.address, "", "lists tell no port");
  const { nodes } = under.feed;
  const found = await Promise.all([1, 2, 3].map(() => nodes.find(node.id, patience())));
  assert.deepEqual(found, [node, node, node]);
  assert.deepEqual(nodes.find(node.id, patience()), node, "at once");
  assert.equal(asked(under, node.id), 1);
  assert.equal(under.nomad.asked(`/v1/node/${node.id}`)[0]?.token, "s.gateway");
});

test("an event brings a node's address, and its new one when it moves", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const node = nodeEntry();
  under.nomad.register(node);
  await until("it is told", () => under.record.nodes.get(node.id)?.address === node.address);
  assert.deepEqual(under.feed.nodes.find(node.id, patience()), node);
  const moved = { ...node, address: "127.0.0.77:4646", tls: true, status: "down" as const };
  under.nomad.register(moved, "NodeStreamEvent");
  await until("it is told", () => under.record.nodes.get(node.id)?.address === moved.address);
  assert.deepEqual(under.feed.nodes.find(node.id, patience()), moved);
  assert.equal(asked(under, node.id), 0);
});

test("a node's event that changes nothing is not told", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const node = nodeEntry();
  under.nomad.register(node);
  await until("it is told", () => under.record.nodes.has(node.id));
  const told = under.record.indexes.length;
  for (let round = 0; round < 5; round++) under.nomad.register(node, "AllocationUpdated");
  const other = nodeEntry();
  under.nomad.register(other);
  await until("a later one", () => under.record.nodes.has(other.id));
  assert.equal(under.record.indexes.length, told + 1);
});

test("a node that is deregistered is gone", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const node = nodeEntry();
  under.nomad.register(node);
  await until("it is told", () => under.record.nodes.has(node.id));
  under.nomad.register(node, "NodeDeregistration");
  await until("it is gone", () => !under.record.nodes.has(node.id));
});

test("a list keeps the addresses that are known", async () => {
  await using under = await FeedUnderTest.start();
  const node = nodeEntry();
  under.nomad.register(node);
  await under.synced();
  await until("its event was heard", () => under.feed.nodes.size === 1);
  await under.feed.nodes.find(node.id, patience());
  under.time.advance(20_000);
  under.nomad.forgetEvents();
  under.nomad.cutStreams();
  await until("it backs off", () => under.time.delays.some((ms) => ms < 1_000));
  under.time.advance(1_000);
  await until("it waits for an event", () => under.time.delays.includes(3_000));
  under.time.advance(3_000);
  await under.completed(2);
  assert.equal(under.record.nodes.get(node.id)?.address, node.address);
});

test("an address that does not work is asked for again, and not more often than that", async () => {
  await using under = await FeedUnderTest.start();
  const node = nodeEntry();
  under.nomad.knowNode(node);
  await under.synced();
  const { nodes } = under.feed;
  await nodes.find(node.id, patience());
  under.time.advance(6_000);
  const moved = { ...node, address: "127.0.0.78:4646" };
  under.nomad.knowNode(moved);
  nodes.unreachable(node.id);
  assert.deepEqual(await nodes.find(node.id, patience()), moved);
  nodes.unreachable(node.id);
  assert.deepEqual(nodes.find(node.id, patience()), moved, "it was asked for just now");
  assert.equal(asked(under, node.id), 2);
  under.time.advance(6_000);
  under.nomad.overrides.set(`/v1/node/${node.id}`, answers.refuse(500, "No cluster leader"));
  assert.deepEqual(await nodes.find(node.id, patience()), moved, "the old one, when nobody knows");
});

for (const [what, type, now] of [
  ["has moved", "NodeRegistration", { address: "127.0.0.80:4646" }],
  ["is gone", "NodeDeregistration", undefined],
] as const)
  test(`a node that ${what} while it is asked for is as its event told, not as the older answer does`, async () => {
    await using under = await FeedUnderTest.start();
    const { nomad, record, feed } = under;
    const [node, other] = [nodeEntry(), nodeEntry()];
    nomad.register(node);
    await under.synced();
    await until("it is told", () => record.nodes.has(node.id));
    under.time.advance(6_000);
    const { promise: sent, resolve: send } = Promise.withResolvers<void>();
    const path = `/v1/node/${node.id}`;
    nomad.overrides.set(path, (request, response) => {
      const answer = answers.json(stringifyJson(nodeDocument(node)));
      void sent.then(() => answer(request, response));
    });
    feed.nodes.unreachable(node.id);
    const found = feed.nodes.find(node.id, patience());
    await until("it is asked for", () => asked(under, node.id) === 1);
    const after = now && { ...node, ...now };
    nomad.register(after ?? node, type);
    nomad.register(other);
    await until("the events are told", () => record.nodes.has(other.id));
    send();
    assert.deepEqual(await found, after);
    nomad.overrides.set(path, answers.refuse(404, "node not found"));
    assert.deepEqual(await feed.nodes.find(node.id, patience()), after);
  });

test("an answer about a node counts though a list told its new name meanwhile", async () => {
  const node = nodeEntry();
  const moved = { ...node, name: "renamed", address: "127.0.0.81:4646" };
  const { promise: body, resolve: answer } = Promise.withResolvers<Buffer>();
  const ask = async () => ({ status: 200, index: 1, nextToken: undefined, body: await body });
  const book = new NodeBook({ clock: systemClock, timers: realTimers, ask }, defaultBounds);
  book.tell(node);
  book.unreachable(node.id);
  const found = book.find(node.id, patience());
  const { id, name, status } = moved;
  book.tell({ id, name, status, address: undefined, tls: false });
  answer(Buffer.from(stringifyJson(nodeDocument(moved))));
  assert.deepEqual(await found, moved);
});

test("an address that no event told for minutes is refreshed behind the request's back", async () => {
  await using under = await FeedUnderTest.start({ silenceMs: 1_000_000 });
  const node = nodeEntry();
  under.nomad.knowNode(node);
  await under.synced();
  const { nodes } = under.feed;
  await nodes.find(node.id, patience());
  under.time.advance(300_000);
  const moved = { ...node, address: "127.0.0.79:4646" };
  under.nomad.knowNode(moved);
  assert.deepEqual(nodes.find(node.id, patience()), node);
  await until("the new one is known", () => {
    const found = nodes.find(node.id, patience());
    return !(found instanceof Promise) && found?.address === moved.address;
  });
  assert.equal(asked(under, node.id), 2);
});

test("a node that nobody knows is not found, and asked for once", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const id = randomUUID();
  assert.equal(await under.feed.nodes.find(id, patience()), undefined);
  assert.equal(await under.feed.nodes.find(id, patience()), undefined);
  assert.equal(asked(under, id), 1);
  assert.equal(await under.feed.nodes.find("../agent/self", patience()), undefined);
});

for (const [name, answer] of [
  ["a server error", answers.refuse(500, "No cluster leader")],
  ["403", answers.refuse(403, "Permission denied")],
  ["no JSON", answers.json("busy")],
  ["another node", answers.json(JSON.stringify({ ID: randomUUID(), HTTPAddr: "127.0.0.9:1" }))],
  ["a cut", answers.cut],
] as const)
  test(`a node without an address answered with ${name} is unavailable, and asked for again`, async () => {
    await using under = await FeedUnderTest.start();
    const node = nodeEntry();
    under.nomad.knowNode(node);
    await under.synced();
    under.nomad.overrides.set(`/v1/node/${node.id}`, answer);
    await assert.rejects(async () => under.feed.nodes.find(node.id, patience()), isUnavailable);
    under.nomad.overrides.clear();
    under.time.advance(6_000);
    assert.deepEqual(await under.feed.nodes.find(node.id, patience()), node);
  });

test("questions for addresses are bounded in number", async () => {
  await using under = await FeedUnderTest.start({ maxNodeFlights: 2 });
  const nodes = [1, 2, 3].map(() => nodeEntry());
  under.nomad.knowNode(...nodes);
  await under.synced();
  for (const { id } of nodes) under.nomad.overrides.set(`/v1/node/${id}`, answers.never);
  const abort = new AbortController();
  const [first, second, third] = nodes.map(async ({ id }) =>
    under.feed.nodes.find(id, abort.signal),
  );
  await assert.rejects(async () => third, isUnavailable);
  abort.abort(new Error("the callers left"));
  await assert.rejects(async () => first, /the callers left/);
  await assert.rejects(async () => second, /the callers left/);
});

test("no more nodes are kept than may be", async () => {
  await using under = await FeedUnderTest.start({ maxNodes: 2 });
  under.nomad.knowNode(nodeEntry(), nodeEntry(), nodeEntry());
  await under.synced();
  assert.equal(under.feed.nodes.size, 2);
  assert.equal(under.record.nodes.size, 2);
});
