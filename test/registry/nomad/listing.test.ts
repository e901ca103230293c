/** How whole pictures are read: page by page, beside the stream, over failures. */
import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { test } from "node:test";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { answers } from "../../support/scripted-nomad.ts";
import { until } from "../until.ts";
import { nodeEntry, patience, placementOf } from "./feed-harness.ts";
import { FeedUnderTest } from "./feed-under-test.ts";

const node = nodeEntry();
const some = (count: number) => Array.from({ length: count }, () => placementOf(node.id));

test("pages follow each other to the end, and the first one's index is the picture's", async () => {
  await using under = await FeedUnderTest.start({ perPage: 10 });
  const { nomad, record } = under;
  const nodes = Array.from({ length: 25 }, () => nodeEntry());
  nomad.knowNode(...nodes);
  const placements = some(95);
  nomad.know(...placements);
  await under.synced();
  assert.equal(nomad.asked("/v1/allocations").length, 10);
  assert.equal(nomad.asked("/v1/nodes").length, 3);
  assert.equal(record.allocations.size, 95);
  assert.equal(record.nodes.size, 25);
  assert.equal(under.feed.index, nomad.index);
  assert.deepEqual([...new Set(record.indexes)], [nomad.index]);
});

test("an allocation that ended stays, with how it ended", async () => {
  await using under = await FeedUnderTest.start();
  const ended = (["complete", "failed", "lost"] as const).map((terminal) =>
    placementOf(node.id, { terminal, namespace: 'spare \u00e9 "quoted"' }),
  );
  under.nomad.know(...ended);
  await under.synced();
  for (const one of ended) assert.deepEqual(under.record.allocations.get(one.id), one);
});

/** Lets the second page wait, as it was when it was asked for, until the test has done what it does meanwhile. */
const holdSecondPage = (
  under: FeedUnderTest,
): { readonly isHeld: () => boolean; readonly release: () => void } => {
  const { nomad } = under;
  const { promise, resolve } = Promise.withResolvers<void>();
  let isHeld = false;
  nomad.overrides.set("/v1/allocations", (request, response) => {
    if (!request.url?.includes("next_token")) return nomad.answer(request, response);
    isHeld = true;
    nomad.overrides.delete("/v1/allocations");
    nomad.answer(request, response, promise);
  });
  return { isHeld: () => isHeld, release: resolve };
};

test("a change that comes before an older page is not undone by that page", async () => {
  await using under = await FeedUnderTest.start({ perPage: 2 });
  const { nomad, record } = under;
  const placements = some(3);
  const [, , third] = placements.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  assert.ok(third);
  nomad.know(...placements);
  const page = holdSecondPage(under);
  under.feed.follow(record);
  await until("the second page is on its way", page.isHeld);
  nomad.put({ ...third, terminal: "failed" });
  await until("the change is told at once", () => record.told.get(third.id)?.terminal === "failed");
  page.release();
  await under.completed(1);
  assert.equal(record.allocations.get(third.id)?.terminal, "failed");
});

test("until a new picture is whole the old one stays, and changes are told meanwhile", async () => {
  await using under = await FeedUnderTest.start({ perPage: 2 });
  const { nomad, record, time } = under;
  const placements = some(3);
  nomad.know(...placements);
  await under.synced();
  time.advance(20_000);
  const page = holdSecondPage(under);
  nomad.cutStreams();
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await until("the second page is on its way", page.isHeld);
  assert.equal(record.allocations.size, 3);
  assert.equal(under.feed.state, "ready");
  const fresh = placementOf(node.id);
  nomad.put(fresh);
  await until("the change is told", () => record.told.has(fresh.id));
  page.release();
  await under.completed(2);
  assert.equal(record.allocations.size, 4);
});

test("a list that takes longer than the period is not ended by it", async () => {
  await using under = await FeedUnderTest.start({
    perPage: 2,
    relistMs: 1_000,
    answerTimeoutMs: 1_000_000,
    silenceMs: 1_000_000,
  });
  const { nomad, record, time } = under;
  nomad.put(...some(3));
  const page = holdSecondPage(under);
  under.feed.follow(record);
  await until("the second page is on its way", page.isHeld);
  for (let periods = 0; periods < 4; periods++) {
    time.advance(1_200);
    await under.beat();
  }
  page.release();
  await under.completed(1);
  assert.deepEqual(record.begins, ["start"]);
  time.advance(10_000);
  await under.completed(2);
  assert.deepEqual(record.begins, ["start", "periodic"]);
});

test("more changes during a page than may be remembered: everything is listed again", async () => {
  await using under = await FeedUnderTest.start({ perPage: 2, maxPending: 5 });
  const { nomad, record, time } = under;
  nomad.know(...some(3));
  const page = holdSecondPage(under);
  under.feed.follow(record);
  await until("the second page is on its way", page.isHeld);
  const many = some(6);
  nomad.put(...many);
  await until("they are told", () => many.every(({ id }) => record.told.has(id)));
  page.release();
  await until("a list waits for its turn", () => time.delays.includes(10_000));
  assert.equal(record.completes, 0);
  time.advance(10_000);
  await under.completed(1);
  assert.deepEqual(record.begins, ["start", "start"]);
  assert.equal(record.allocations.size, 9);
});

test("what vanished while a picture was begun twice is dropped with the picture that becomes whole", async () => {
  await using under = await FeedUnderTest.start({ perPage: 2, maxPending: 5 });
  const { nomad, time } = under;
  const directory = new PackedDirectory({ clock: time, timers: time, feed: under.feed });
  const kept = some(1);
  const [old, brief] = [some(1), some(2)].map((placements) => placements[0]);
  assert.ok(old && brief);
  nomad.know(...kept, old, ...some(1));
  under.feed.follow(directory);
  await under.synced();
  time.advance(20_000);
  nomad.know(brief, ...some(2));
  const page = holdSecondPage(under);
  nomad.say("x\n"); // a broken line: everything is listed again
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await until("the second page is on its way", page.isHeld);
  nomad.collect(old.id, brief.id);
  nomad.put(...some(6));
  await until("they are told", () => under.record.told.size >= 6);
  page.release();
  await until("a list waits for its turn", () =>
    time.delays.some((ms) => ms > 1_000 && ms <= 10_000),
  );
  assert.ok(directory.allocation(old.id), "the old picture answers until then");
  time.advance(10_000);
  await under.completed(2);
  assert.deepEqual(
    [old, brief, ...kept].map(({ id }) => directory.allocation(id) !== undefined),
    [false, false, true],
  );
  directory.close();
});

test("an allocation that has ended stays while the servers have it; once collected it is unknown as in Nomad", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time } = under;
  const directory = new PackedDirectory({ clock: time, timers: time, feed: under.feed });
  const [one] = some(1);
  assert.ok(one);
  nomad.know(one);
  under.feed.follow(directory);
  await under.synced();
  const ended = { ...one, terminal: "complete" } as const;
  nomad.put(ended);
  await until("its end is told", () => directory.allocation(one.id)?.terminal === "complete");
  const relist = async (times: number): Promise<void> => {
    time.advance(20_000);
    nomad.say("x\n"); // a broken line: everything is listed again
    await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
    time.advance(1_000);
    await under.completed(times);
  };
  await relist(2);
  assert.deepEqual(await directory.find(one.id, patience()), ended);
  nomad.collect(one.id);
  await relist(3);
  assert.equal(await directory.find(one.id, patience()), undefined);
  directory.close();
});

test("an index that falls from page to page makes it begin anew", async () => {
  await using under = await FeedUnderTest.start({ perPage: 2 });
  const { nomad, record, time } = under;
  nomad.know(...some(3));
  nomad.overrides.set("/v1/allocations", (request, response) => {
    if (!request.url?.includes("next_token")) return nomad.answer(request, response);
    nomad.overrides.clear();
    answers.json("[]", { "x-nomad-index": "3" })(request, response);
  });
  under.feed.follow(record);
  await until("a list waits for its turn", () => time.delays.includes(10_000));
  assert.equal(record.completes, 0);
  time.advance(10_000);
  await under.completed(1);
  assert.equal(record.allocations.size, 3);
});

const once = (under: FeedUnderTest, path: string, answer: RequestListener): void => {
  under.nomad.overrides.set(path, (request, response) => {
    under.nomad.overrides.delete(path);
    answer(request, response);
  });
};

const faults: readonly (readonly [string, RequestListener])[] = [
  ["429 and the end", answers.tooManyConnections],
  ["half an answer", answers.half],
  ["a cut", answers.cut],
  ["no JSON", answers.json("<html>busy</html>")],
  ["JSON that breaks off", answers.json('[{"ID":"54bc24bf-b455-d16b-fb44-abb740ea7b4b",')],
  ["an object where a list belongs", answers.json('{"error":"no"}')],
  ["500 without a leader", answers.refuse(500, "No cluster leader")],
  ["403", answers.refuse(403, "Permission denied")],
];

for (const path of ["/v1/allocations", "/v1/nodes"])
  for (const [name, answer] of faults)
    test(`a page of ${path} answered with ${name} is asked for again`, async () => {
      await using under = await FeedUnderTest.start();
      const { nomad, record, time } = under;
      nomad.knowNode(node);
      const [one] = some(1);
      assert.ok(one);
      nomad.know(one);
      once(under, path, answer);
      under.feed.follow(record);
      await until("it is told", () => under.warnings().length === 1);
      assert.match(under.warnings()[0] ?? "", /^the list cannot be read: /);
      assert.equal(record.completes, 0);
      await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
      time.advance(1_000);
      await under.completed(1);
      assert.equal(record.allocations.size, 1);
      assert.equal(record.nodes.size, 1);
    });

test("a page that never comes is asked for again", async () => {
  await using under = await FeedUnderTest.start({ silenceMs: 1_000_000 });
  const { nomad, record, time } = under;
  once(under, "/v1/allocations", answers.never);
  under.feed.follow(record);
  await until("it is asked", () => nomad.asked("/v1/allocations").length === 1);
  time.advance(60_000);
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await under.completed(1);
  assert.match(under.warnings()[0] ?? "", /took too long/);
});

test("an answer larger than the bound is not taken in", async () => {
  await using under = await FeedUnderTest.start({ maxPageBytes: 2_000 });
  under.nomad.know(...some(10));
  under.feed.follow(under.record);
  await until("it is told", () => under.warnings().length === 1);
  assert.match(under.warnings()[0] ?? "", /larger than 2000 bytes/);
  assert.equal(under.record.completes, 0);
});

test("a page that is too large is asked for with fewer items until it fits, those behind it with more", async () => {
  await using under = await FeedUnderTest.start({ perPage: 16, maxPageBytes: 40_000 });
  const { nomad, record, time } = under;
  const long = some(9).map((one) => ({
    ...one,
    jobId: "j".repeat(4_000),
    taskGroup: "g".repeat(4_000),
  }));
  nomad.know(...long);
  nomad.know(...some(60));
  under.feed.follow(record);
  await until("everything is listed", () => {
    if (time.delays.some((ms) => ms < 1_000)) time.advance(1_000);
    return record.completes === 1;
  });
  assert.equal(record.allocations.size, 69);
  const sizes = nomad.asked("/v1/allocations").map(({ query }) => query.get("per_page"));
  assert.deepEqual([...new Set(sizes)], ["16", "8", "4"]);
  assert.equal(sizes.at(-1), "16");
});

test("a list that never ends, or does not go on, is given up", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time } = under;
  nomad.overrides.set("/v1/allocations", answers.json("[]", { "x-nomad-nexttoken": "7.x" }));
  under.feed.follow(under.record);
  await until("it is given up", () => time.delays.includes(10_000));
  assert.equal(nomad.asked("/v1/allocations").length, 2);
  nomad.overrides.clear();
  time.advance(10_000);
  await under.completed(1);
});

test("a page is asked of the next server when one fails", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const [first, second] = under.nomads;
  assert.ok(first && second);
  const [one] = some(1);
  assert.ok(one);
  second.know(one);
  first.overrides.set("/v1/allocations", answers.refuse(500, "No cluster leader"));
  under.feed.follow(under.record);
  await under.completed(1);
  assert.ok(under.record.allocations.has(one.id));
  assert.equal(first.asked("/v1/allocations").length, 1);
});

test("the token is asked for before each request", async () => {
  let token = "s.one";
  await using under = await FeedUnderTest.start({ token: () => token });
  await under.synced();
  token = "s.two";
  under.time.advance(20_000);
  under.nomad.cutStreams();
  await until("it backs off", () => under.time.delays.some((ms) => ms < 1_000));
  under.time.advance(1_000);
  await under.completed(2);
  assert.deepEqual(
    under.nomad.asked("/v1/event/stream").map(({ token: given }) => given),
    ["s.one", "s.two"],
  );
  assert.ok(under.said.every((line) => !JSON.stringify(line).includes("s.one")));
});

test("documents that are no allocation on a node are left out", async () => {
  await using under = await FeedUnderTest.start();
  const good = placementOf(node.id);
  const rows = [
    { ID: "no-uuid", NodeID: node.id },
    { ID: good.id, NodeID: "" },
    { ID: 7, NodeID: null },
    "text",
    null,
    {
      ID: good.id,
      NodeID: node.id,
      Namespace: "default",
      JobID: "web",
      TaskGroup: "front",
      ClientStatus: "running",
      CreateIndex: 18446744073709551615n.toString(),
    },
  ];
  once(under, "/v1/allocations", answers.json(JSON.stringify(rows)));
  await under.synced();
  assert.deepEqual([...under.record.allocations.values()], [good]);
});

// Nomad sets no bound to a job's or a group's name: whoever may submit a job chooses them
for (const [what, long] of [
  ["job", { jobId: "j".repeat(5_000) }],
  ["group", { taskGroup: "g".repeat(5_000) }],
] as const)
  test(`an allocation whose ${what}'s name is too long to be held is left out, and nothing else with it`, async () => {
    await using under = await FeedUnderTest.start();
    const { nomad, record, feed } = under;
    const [listed, told, later] = some(3);
    assert.ok(listed && told && later);
    const [longListed, longTold] = [placementOf(node.id, long), placementOf(node.id, long)];
    nomad.know(longListed, listed);
    await under.synced();
    nomad.put(longTold, told);
    nomad.put(later);
    await until("what comes later is told", () => record.allocations.has(later.id));
    assert.deepEqual([...record.allocations.values()], [listed, told, later]);
    assert.deepEqual([under.losses, under.warnings()], [[], []]);
    assert.equal(await feed.lookup(longListed.id, patience()), undefined);
  });
