/** When the feed trusts its event stream, and when it lists everything again. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { PackedDirectory } from "../../../src/registry/directory.ts";
import { createBackoff } from "../../../src/registry/nomad/waits.ts";
import { answers } from "../../support/scripted-nomad.ts";
import { until } from "../until.ts";
import { nodeEntry, patience, placementOf } from "./feed-harness.ts";
import { FeedUnderTest } from "./feed-under-test.ts";

const node = nodeEntry();

test("the stream is opened, and has said something, before anything is listed", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, record } = under;
  const one = placementOf(node.id);
  nomad.knowNode(node);
  nomad.know(one);
  nomad.speaks = false;
  under.feed.follow(record);
  await until("the stream is asked for", () => nomad.streams === 1);
  assert.deepEqual(
    nomad.requests.map(({ path }) => path),
    ["/v1/event/stream"],
  );
  const [stream] = nomad.requests;
  assert.deepEqual(stream?.query.getAll("topic"), ["Allocation", "Node"]);
  assert.equal(stream?.query.get("namespace"), "*");
  assert.equal(stream?.query.get("index"), null);
  assert.equal(stream?.token, "s.gateway");
  nomad.speaks = true;
  nomad.beat();
  await under.completed(1);
  const [list] = nomad.asked("/v1/allocations");
  assert.equal(list?.query.get("namespace"), "*");
  assert.equal(list?.query.get("task_states"), "false");
  assert.deepEqual(record.begins, ["start"]);
  assert.deepEqual([...record.allocations.values()], [one]);
  assert.equal(record.nodes.get(node.id)?.status, "ready");
  assert.equal(under.feed.state, "ready");
});

test("a stream that says nothing within five seconds is refused, and the reason told once", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time } = under;
  nomad.permits = () => false;
  under.feed.follow(under.record);
  for (const round of [1, 2]) {
    await until("a stream", () => nomad.asked("/v1/event/stream").length === round);
    await until("it is watched", () => time.delays.includes(5_000));
    time.advance(5_000);
    await until("it is given up", () => under.losses.length === round);
    await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
    time.advance(1_000);
  }
  assert.deepEqual(under.losses, ["refused", "refused"]);
  assert.deepEqual(under.warnings(), [
    "the gateway's own token (nomad.token) lacks read-job: the servers say 403 Permission denied. See \"The gateway's own token\" in docs/operating.md",
  ]);
  const [asked] = nomad.asked("/v1/allocations");
  assert.equal(asked?.token, "s.gateway");
  assert.equal(asked?.query.get("per_page"), "1");
  assert.equal(under.feed.state, "syncing");
  nomad.permits = () => true;
  await until("the third stream", () => nomad.streams === 1);
  await under.completed(1);
});

test("a token that may list and not stream is told what it lacks", async () => {
  await using under = await FeedUnderTest.start();
  under.nomad.speaks = false;
  under.feed.follow(under.record);
  await until("it is watched", () => under.time.delays.includes(5_000));
  under.time.advance(5_000);
  await until("the reason", () => under.warnings().length === 1);
  assert.match(under.warnings()[0] ?? "", /needs node:read and read-job in every namespace/);
});

test("a stream that ends before it has said anything is refused too", async () => {
  await using under = await FeedUnderTest.start();
  under.nomad.permits = () => false;
  under.nomad.overrides.set("/v1/event/stream", (_request, response) => {
    response.writeHead(200).end();
  });
  under.feed.follow(under.record);
  await until("the reason", () => under.warnings().length === 1);
  assert.deepEqual(under.losses, ["refused"]);
  assert.match(under.warnings()[0] ?? "", /lacks read-job: the servers say 403 Permission denied/);
});

test("silence of more than 45 seconds is death; the stream is resumed from its last event", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time, record } = under;
  await under.synced();
  const one = placementOf(node.id);
  nomad.put(one);
  await until("it is told", () => record.allocations.has(one.id));
  const { index } = nomad;
  nomad.speaks = false;
  time.advance(45_000);
  assert.equal(under.feed.state, "ready");
  time.advance(45_000);
  await until("it is lost", () => under.losses.length === 1);
  assert.deepEqual(under.losses, ["silent"]);
  assert.equal(under.feed.state, "stale");
  assert.ok(under.feed.lagMs >= 45_000);
  nomad.speaks = true;
  await until("it is back", () => {
    time.advance(50);
    return under.feed.state === "ready";
  });
  assert.deepEqual(under.streamIndexes(), [null, String(index)]);
  assert.equal(under.feed.lagMs, 0);
});

test("heartbeats keep a quiet stream alive", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  for (let beats = 0; beats < 6; beats++) {
    under.time.advance(30_000);
    await under.beat();
  }
  assert.equal(under.feed.state, "ready");
  assert.deepEqual(under.losses, []);
  assert.equal(under.streamIndexes().length, 1);
});

const resumed = async (under: FeedUnderTest, meanwhile: () => void): Promise<void> => {
  const { nomad, time, record } = under;
  nomad.put(placementOf(node.id));
  await until("an event is told", () => record.allocations.size === 1);
  time.advance(20_000); // the next list may start at once
  nomad.cutStreams();
  meanwhile();
  await until("the loss is seen", () => under.losses.length === 1);
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await until("it is resumed", () => nomad.streams === 1);
};

test("a stream resumed with its last event goes on without a list", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const missed = placementOf(node.id);
  await resumed(under, () => under.nomad.put(missed));
  await until("what was missed is told", () => under.record.allocations.has(missed.id));
  under.time.advance(4_000);
  assert.deepEqual(under.record.begins, ["start"]);
  assert.equal(under.lists, 1);
  assert.equal(
    new Set(under.record.indexes).size,
    under.record.indexes.length,
    "nothing is told twice",
  );
});

test("a first event later than the one resumed from is a gap: everything is listed", async () => {
  await using under = await FeedUnderTest.start({}, { bufferSize: 2 });
  await under.synced();
  const missed = [1, 2, 3, 4].map(() => placementOf(node.id));
  await resumed(under, () => {
    for (const one of missed) under.nomad.put(one);
  });
  await under.completed(2);
  assert.deepEqual(under.record.begins, ["start", "gap"]);
  for (const { id } of missed) assert.ok(under.record.allocations.has(id));
});

test("no event after a resumption is a gap too, for the server has forgotten", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const missed = placementOf(node.id);
  await resumed(under, () => {
    under.nomad.put(missed);
    under.nomad.forgetEvents();
  });
  await until("it waits for the event", () => under.time.delays.includes(3_000));
  assert.equal(under.lists, 1);
  under.time.advance(3_000);
  await under.completed(2);
  assert.deepEqual(under.record.begins, ["start", "gap"]);
  assert.ok(under.record.allocations.has(missed.id));
});

test("an index that runs backwards after a resumption is a restored server: everything is listed", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, record } = under;
  const kept = placementOf(node.id);
  nomad.put(kept);
  await until("it is told", () => record.allocations.has(kept.id));
  nomad.put(placementOf(node.id));
  await until("a later one", () => record.allocations.size === 2);
  const [last] = [...record.allocations.keys()].filter((id) => id !== kept.id);
  under.time.advance(20_000);
  nomad.cutStreams();
  nomad.restoreTo(nomad.index - 1);
  nomad.collect(last ?? "");
  nomad.restoreTo(nomad.index - 1);
  await until("it backs off", () => under.time.delays.some((ms) => ms < 1_000));
  under.time.advance(1_000);
  await under.completed(2);
  assert.deepEqual(record.begins, ["start", "backwards"]);
  assert.deepEqual([...record.allocations.keys()], [kept.id]);
  nomad.put(placementOf(node.id));
  await until("changes follow at the lower index", () => record.allocations.size === 2);
  assert.equal(under.feed.index, nomad.index);
});

test("an index that runs backwards in the middle of a stream makes it list everything", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, record, time } = under;
  nomad.put(placementOf(node.id));
  nomad.put(placementOf(node.id));
  await until("they are told", () => record.allocations.size === 2);
  time.advance(20_000);
  nomad.restoreTo(5);
  nomad.put(placementOf(node.id));
  await under.completed(2);
  assert.deepEqual(record.begins, ["start", "backwards"]);
  assert.equal(record.allocations.size, 3);
});

test("a stream lost before any event is opened without an index, and everything is listed", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, time } = under;
  time.advance(20_000);
  nomad.cutStreams();
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await under.completed(2);
  assert.deepEqual(under.record.begins, ["start", "reconnect"]);
  assert.deepEqual(under.streamIndexes(), [null, null]);
});

test("lists start ten seconds apart, whatever happens", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, time } = under;
  for (let round = 2; round <= 4; round++) {
    nomad.cutStreams();
    await until("the loss is seen", () => under.losses.length === round - 1);
    await until("it backs off", () => time.delays.some((ms) => ms < 2_000));
    time.advance(2_000);
    await until("it is back", () => nomad.streams === 1);
  }
  await until("a list waits", () => time.delays.some((ms) => ms > 1_000 && ms <= 10_000));
  assert.equal(under.lists, 1);
  time.advance(10_000);
  await under.completed(2);
  assert.equal(under.lists, 2);
});

test("lost streams are tried again later and later, up to a bound", async () => {
  await using under = await FeedUnderTest.start({ maxBackoffMs: 2_000 });
  const { nomad, time } = under;
  nomad.overrides.set("/v1/event/stream", (request) => request.socket.destroy());
  under.feed.follow(under.record);
  const waits: number[] = [];
  for (let round = 1; round <= 6; round++) {
    await until("the loss is seen", () => under.losses.length === round);
    await until("it backs off", () => time.delays.some((ms) => ms <= 2_000));
    const [wait = 0] = time.delays;
    waits.push(wait);
    time.advance(wait);
  }
  assert.deepEqual(waits, [187.5, 375, 750, 1_500, 1_500, 1_500]);
  assert.equal(under.warnings().length, 1, "one line an outage");
});

test("no two gateways wait alike: up to half of each wait is chance", () => {
  const bounds = { minBackoffMs: 250, maxBackoffMs: 15_000 };
  const waits = (random: number): readonly number[] =>
    [0, 1, 5, 6, 40].map(createBackoff(bounds, () => random));
  assert.deepEqual(waits(0), [125, 250, 4_000, 7_500, 7_500]);
  assert.deepEqual(waits(1), [250, 500, 8_000, 15_000, 15_000]);
});

test("the words with which older servers say that events were lost end the stream, and everything is listed", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, time, record } = under;
  nomad.put(placementOf(node.id));
  await until("an event", () => record.allocations.size === 1);
  time.advance(20_000);
  const missed = placementOf(node.id);
  nomad.know(missed);
  nomad.say("event dropped from buffer\n");
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await under.completed(2);
  assert.deepEqual(
    under.streamIndexes(),
    [null, null],
    "resumed from no index that proves nothing",
  );
  assert.ok(record.allocations.has(missed.id));
});

test("servers that know another region alone are told as such, once, and their lists are not taken for ours", async () => {
  await using under = await FeedUnderTest.start({ region: "eu" });
  const { nomad, time } = under;
  nomad.know(placementOf(node.id));
  under.feed.follow(under.record);
  for (const round of [1, 2]) {
    await until("it is watched", () => time.delays.includes(5_000));
    time.advance(5_000);
    await until("it is given up", () => under.losses.length === round);
    await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
    time.advance(1_000);
  }
  const sentence =
    'the event stream is refused: the Nomad servers know no region "eu": check region';
  assert.deepEqual(under.warnings(), [sentence]);
  assert.equal(under.feed.trouble, sentence);
  assert.equal(under.feed.state, "syncing");
  nomad.region = "eu";
  await until("it is watched", () => time.delays.includes(5_000) || nomad.streams === 1);
  time.advance(5_000);
  await until(
    "it backs off or is open",
    () => nomad.streams === 1 || time.delays.some((ms) => ms < 1_000),
  );
  time.advance(1_000);
  await under.completed(1);
  assert.equal(under.feed.trouble, undefined);
});

test("a change is in the directory before anything that is asked after its event is answered", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time, feed } = under;
  const directory = new PackedDirectory({ clock: time, timers: time, feed });
  feed.follow(directory);
  await under.synced();
  for (let round = 0; round < 20; round++) {
    const one = placementOf(node.id);
    nomad.put(one);
    await under.feed.lookup(randomUUID(), patience());
    assert.deepEqual(directory.allocation(one.id), one);
  }
  assert.deepEqual(directory.pending, { flights: 0, negative: 0 });
  directory.close();
});

test("a fault that comes and goes is told once until the stream has lasted", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, time } = under;
  const flap = async (losses: number): Promise<void> => {
    await until("it is open", () => under.feed.trouble === undefined);
    nomad.cutStreams();
    await until("the loss is seen", () => under.losses.length === losses);
    await until("it is told", () => under.feed.trouble !== undefined);
    await until("it backs off", () => time.delays.some((ms) => ms < 2_000));
    time.advance(2_000);
    await until("it is back", () => nomad.streams === 1);
  };
  for (const losses of [1, 2, 3]) await flap(losses);
  assert.equal(under.warnings().length, 1);
  await until("it is open", () => under.feed.trouble === undefined);
  time.advance(10_000);
  await flap(4);
  assert.equal(under.warnings().length, 2);
});

test("a server that is gone gives way to the next", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const [first, second] = under.nomads;
  assert.ok(first && second);
  const one = placementOf(node.id);
  for (const nomad of under.nomads) nomad.know(one);
  await first.lose();
  under.feed.follow(under.record);
  await until("it backs off", () => under.time.delays.some((ms) => ms < 1_000));
  under.time.advance(1_000);
  await under.completed(1);
  assert.equal(under.servers.current, second.origin);
  assert.ok(under.record.allocations.has(one.id));
});

for (const { name, answer } of [
  { name: "403 as older servers say it", status: 403 },
  { name: "429 of too many connections", status: 429 },
  { name: "500 without a leader", status: 500 },
].map((row) => ({ ...row, answer: row.status })))
  test(`a stream answered with ${name} is told and tried again`, async () => {
    await using under = await FeedUnderTest.start();
    under.nomad.overrides.set("/v1/event/stream", (_request, response) => {
      response.writeHead(answer, { "content-type": "text/plain" }).end("no\n\u0007way");
    });
    under.feed.follow(under.record);
    await until("it is lost", () => under.losses.length === 1);
    assert.deepEqual(under.losses, ["status"]);
    assert.deepEqual(under.warnings(), [
      `the Nomad server at ${under.nomad.origin} refuses the event stream: ${answer} no way`,
    ]);
    under.nomad.overrides.clear();
    await until("it backs off", () => under.time.delays.some((ms) => ms < 1_000));
    under.time.advance(1_000);
    await under.completed(1);
  });

test("a server that refuses the stream and tells no reason in time gives way to the next", async () => {
  await using under = await FeedUnderTest.start({}, {}, 2);
  const { time } = under;
  const [first, second] = under.nomads;
  assert.ok(first && second);
  first.speaks = false;
  first.overrides.set("/v1/allocations", answers.never);
  under.feed.follow(under.record);
  await until("it is watched", () => time.delays.includes(5_000));
  time.advance(5_000);
  await until("the reason is asked for", () => first.asked("/v1/allocations").length === 1);
  time.advance(3_000);
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await under.completed(1);
  assert.equal(second.streams, 1);
});

test("a head that never comes is not waited for", async () => {
  await using under = await FeedUnderTest.start();
  under.nomad.overrides.set("/v1/event/stream", () => {});
  under.feed.follow(under.record);
  await until("it is asked", () => under.nomad.requests.length === 1);
  under.time.advance(60_000);
  await until("it is given up", () => under.losses.length === 1);
  assert.deepEqual(under.losses, ["broken"]);
});

test("a line that is no event ends the stream; the next one lists everything", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  const { nomad, time } = under;
  nomad.put(placementOf(node.id));
  await until("an event", () => under.record.allocations.size === 1);
  time.advance(20_000);
  nomad.say('{"Index":99,"Events":[{"Topic":"Allocation","Payload":{"Allo\n');
  await until("it is lost", () => under.losses.length === 1);
  assert.deepEqual(under.losses, ["garbled"]);
  await until("it backs off", () => time.delays.some((ms) => ms < 1_000));
  time.advance(1_000);
  await under.completed(2);
  assert.deepEqual(under.streamIndexes(), [null, null]);
  assert.deepEqual(under.record.begins, ["start", "reconnect"]);
});

test("a line longer than the bound is passed over, and everything is listed", async () => {
  await using under = await FeedUnderTest.start({ maxLineBytes: 100_000 });
  await under.synced();
  const { nomad, record } = under;
  under.time.advance(20_000);
  const lost = Array.from({ length: 30 }, () => placementOf(node.id));
  nomad.put(...lost);
  await under.completed(2);
  assert.deepEqual(record.begins, ["start", "gap"]);
  assert.equal(record.allocations.size, 30);
  assert.deepEqual(under.losses, [], "the stream goes on");
  nomad.put(placementOf(node.id));
  await until("the next line is told", () => record.allocations.size === 31);
});

test("now and then the stream is opened anew and what vanished is dropped", async () => {
  await using under = await FeedUnderTest.start();
  const { nomad, time, record } = under;
  const [gone, kept] = [placementOf(node.id), placementOf(node.id, { terminal: "failed" })];
  assert.ok(gone && kept);
  nomad.knowNode(node);
  nomad.put(gone, kept);
  await under.synced();
  nomad.collect(gone.id);
  nomad.forgetNode(node.id);
  for (let minutes = 0; minutes < 15; minutes++) {
    assert.equal(record.completes, 1);
    await under.beat();
    time.advance(30_000);
    await under.beat();
    time.advance(30_000);
  }
  await under.completed(2);
  assert.deepEqual(record.begins, ["start", "periodic"]);
  assert.deepEqual(
    [...record.allocations.values()],
    [kept],
    "what has ended stays while it is listed",
  );
  assert.equal(record.nodes.size, 0);
  assert.deepEqual(under.losses, []);
});

test("a feed that is closed leaves no timer, no stream and no follower", async () => {
  await using under = await FeedUnderTest.start();
  await under.synced();
  await under.feed.close(AbortSignal.timeout(1_000));
  assert.equal(under.time.waiting, 0);
  await until("the stream is gone", () => under.nomad.streams === 0);
  const { completes } = under.record;
  under.feed.follow(under.record);
  assert.equal(under.record.completes, completes);
});
