import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import type { NodeEntry, Placement } from "../../src/ports.ts";
import { PackedDirectory, silentDirectoryObserver } from "../../src/registry/directory.ts";
import type { FeedState } from "../../src/registry/feed.ts";
import { Placements } from "../../src/registry/placements.ts";
import { FakeTime } from "./fake-time.ts";
import { until } from "./until.ts";

const placement = (over: Partial<Placement> = {}): Placement => ({
  id: randomUUID(),
  nodeId: "11111111-0000-4000-8000-000000000001",
  namespace: "default",
  jobId: "web",
  taskGroup: "front",
  terminal: undefined,
  ...over,
});

const node = (over: Partial<NodeEntry> = {}): NodeEntry => ({
  id: "11111111-0000-4000-8000-000000000001",
  name: "client-1",
  status: "ready",
  address: "127.0.0.1:4646",
  tls: false,
  ...over,
});

const never = new AbortController().signal;

/** A source whose answers the test gives one by one. */
class Source {
  state: FeedState = "ready";
  readonly asked: string[] = [];
  readonly #answers: {
    resolve: (found: Placement | undefined) => void;
    reject: (error: Error) => void;
  }[] = [];

  lookup(id: string): Promise<Placement | undefined> {
    this.asked.push(id);
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  }

  answer(found: Placement | undefined): void {
    this.#answers.shift()?.resolve(found);
  }

  fail(error: Error): void {
    this.#answers.shift()?.reject(error);
  }
}

const directoryUnderTest = (options: ConstructorParameters<typeof PackedDirectory>[1] = {}) => {
  const time = new FakeTime();
  const source = new Source();
  /** But for what was held. */
  const counted: string[] = [];
  const directory = new PackedDirectory(
    {
      clock: time,
      timers: time,
      feed: source,
      observe: {
        ...silentDirectoryObserver,
        lookedUp: (result) => result !== "held" && counted.push(result),
        refused: (kind) => counted.push(`refused ${kind}`),
      },
    },
    options,
  );
  return { directory, source, time, counted };
};

test("an allocation is found by its id", () => {
  const { directory } = directoryUnderTest();
  const one = placement({ terminal: "failed" });
  directory.apply(1, [{ kind: "allocation", placement: one }]);
  assert.deepEqual(directory.allocation(one.id), one);
});

test("an allocation's changed end, and its leaving, are seen at once", () => {
  const { directory } = directoryUnderTest();
  const one = placement();
  directory.apply(1, [{ kind: "allocation", placement: one }]);
  directory.apply(2, [{ kind: "allocation", placement: { ...one, terminal: "complete" } }]);
  assert.equal(directory.allocation(one.id)?.terminal, "complete");
  assert.equal(directory.size.allocations, 1);
  directory.apply(3, [{ kind: "allocation_gone", id: one.id }]);
  assert.equal(directory.allocation(one.id), undefined);
  assert.equal(directory.size.allocations, 0);
});

test("a new picture replaces the old one only when it is whole", () => {
  const { directory } = directoryUnderTest();
  const old = placement();
  const kept = placement();
  const fresh = placement();
  directory.begin("start");
  directory.apply(1, [
    { kind: "node", node: node() },
    { kind: "node", node: node({ id: "old" }) },
    { kind: "allocation", placement: old },
    { kind: "allocation", placement: kept },
  ]);
  directory.complete(1);
  directory.begin("gap");
  directory.apply(2, [
    { kind: "node", node: node({ status: "down" }) },
    { kind: "allocation", placement: kept },
    { kind: "allocation", placement: fresh },
  ]);
  assert.deepEqual(directory.allocation(old.id), old);
  assert.equal(directory.node("old")?.id, "old");
  assert.equal(directory.node(node().id)?.status, "down");
  directory.complete(2);
  assert.equal(directory.allocation(old.id), undefined);
  assert.equal(directory.node("old"), undefined);
  assert.deepEqual(directory.allocation(kept.id), kept);
  assert.deepEqual(directory.allocation(fresh.id), fresh);
  assert.deepEqual(directory.size, { allocations: 2, nodes: 1 });
});

test("nodes are counted by their status as it is now", () => {
  const { directory } = directoryUnderTest();
  directory.begin("start");
  directory.apply(1, [
    { kind: "node", node: node() },
    { kind: "node", node: node({ id: "second" }) },
    { kind: "node", node: node({ id: "third", status: "initializing" }) },
  ]);
  directory.complete(1);
  const none = { ready: 0, down: 0, initializing: 0, disconnected: 0 };
  assert.deepEqual(directory.nodesByStatus, { ...none, ready: 2, initializing: 1 });
  directory.apply(2, [
    { kind: "node", node: node({ id: "second", status: "down" }) },
    { kind: "node_gone", id: "third" },
  ]);
  assert.deepEqual(directory.nodesByStatus, { ...none, ready: 1, down: 1 });
});

test("pictures that follow each other before the old one is swept mix nothing up", () => {
  const placements = new Placements(new Uint8Array(8), 1_000);
  const all = Array.from({ length: 100 }, () => placement());
  for (const one of all) placements.set(one);
  placements.newEpoch();
  placements.settle();
  assert.equal(placements.get(all[0]?.id ?? ""), undefined);
  placements.newEpoch();
  assert.equal(placements.get(all[0]?.id ?? ""), undefined);
  placements.settle();
  while (placements.sweepOne());
  assert.equal(placements.size, 0);
  assert.equal(placements.workloads, 0);
});

for (const times of [2, 3, 63, 64, 65, 200])
  test(`a picture that is begun ${times} times drops what none but the last may name`, () => {
    const placements = new Placements(new Uint8Array(8), 1_000);
    const [old, partial, whole] = [1, 2, 3].map(() => placement());
    assert.ok(old && partial && whole);
    placements.set(old);
    placements.newEpoch();
    placements.set(partial);
    for (let begun = 1; begun < times; begun++) placements.newEpoch();
    placements.set(whole);
    assert.ok(
      [old, partial, whole].every(({ id }) => placements.get(id)),
      "all answer until then",
    );
    placements.settle();
    while (placements.sweepOne());
    assert.deepEqual(
      [old, partial, whole].map(({ id }) => placements.get(id) !== undefined),
      [false, false, true],
    );
    assert.deepEqual([placements.size, placements.workloads], [1, 1]);
  });

test("workloads are shared, and forgotten with their last allocation", () => {
  const placements = new Placements(new Uint8Array(8), 1_000);
  const first = placement({ jobId: "a", taskGroup: "bc" });
  const second = placement({ jobId: "ab", taskGroup: "c" });
  const third = placement({ jobId: "a", taskGroup: "bc" });
  for (const one of [first, second, third]) placements.set(one);
  assert.equal(placements.workloads, 2);
  assert.deepEqual(placements.get(first.id), first);
  assert.deepEqual(placements.get(second.id), second);
  placements.delete(first.id);
  assert.equal(placements.workloads, 2);
  placements.delete(third.id);
  assert.equal(placements.workloads, 1);
  placements.set({ ...second, jobId: "moved" });
  assert.equal(placements.workloads, 1);
});

test("an allocation that is told anew, or goes, lets go of its own workload and node alone", () => {
  const placements = new Placements(new Uint8Array(8), 1_000);
  const [first, second, third] = ["a", "b", "c"].map((name) =>
    placement({ namespace: name, nodeId: `node-${name}` }),
  );
  assert.ok(first && second && third);
  placements.set(first);
  for (let times = 0; times < 3; times++) placements.set(second);
  placements.delete(second.id);
  placements.set(third); // takes what has become free
  assert.deepEqual(placements.get(first.id), first);
  assert.deepEqual(placements.get(third.id), third);
  assert.equal(placements.workloads, 2);
});

test("however many pictures have become whole, the next one drops what it does not name", () => {
  const placements = new Placements(new Uint8Array(8), 1_000);
  for (let picture = 0; picture < 150; picture++) {
    placements.newEpoch();
    placements.set(placement());
    placements.settle();
    while (placements.sweepOne());
    assert.equal(placements.size, 1, `after picture ${picture}`);
  }
});

test("a node that has left is not found, nor when it leaves before the picture that names it is whole", () => {
  const { directory } = directoryUnderTest();
  const [one, other] = ["one", "other"];
  directory.apply(1, [{ kind: "node", node: node({ id: one }) }]);
  directory.begin("gap");
  directory.apply(2, [
    { kind: "node", node: node({ id: other }) },
    { kind: "node_gone", id: one },
    { kind: "node_gone", id: other },
  ]);
  assert.equal(directory.node(one), undefined);
  directory.complete(2);
  assert.equal(directory.node(other), undefined);
});

test("what a picture drops is freed a few milliseconds at a time, until all is or it is closed", () => {
  const time = new FakeTime();
  let nowMs = 0;
  const slow = { now: () => time.now(), monotonic: () => ++nowMs };
  const feed = new Source();
  const directory = new PackedDirectory({ clock: slow, timers: time, feed });
  const fill = (): void => {
    const changes = Array.from({ length: 2_000 }, () => placement());
    directory.apply(
      1,
      changes.map((one) => ({ kind: "allocation", placement: one })),
    );
  };
  const replace = (): void => {
    directory.begin("gap");
    assert.equal(time.waiting, 0);
    directory.complete(2);
    assert.equal(time.waiting, 1);
  };
  fill();
  replace();
  assert.ok(directory.size.allocations > 1_000);
  while (time.waiting > 0) time.advance(0);
  assert.equal(directory.size.allocations, 0);
  fill();
  replace();
  replace();
  directory.close();
  assert.equal(time.waiting, 0);
});

test("beyond its bound the directory takes no new allocation, counts it, and still changes those it holds", () => {
  const { directory, counted } = directoryUnderTest({ maxAllocations: 2, maxNodes: 1 });
  const held = [placement(), placement()];
  directory.apply(
    1,
    [...held, placement()].map((one) => ({ kind: "allocation" as const, placement: one })),
  );
  directory.apply(2, [
    { kind: "node", node: node() },
    { kind: "node", node: node({ id: "other" }) },
  ]);
  assert.deepEqual(directory.size, { allocations: 2, nodes: 1 });
  assert.deepEqual(counted, ["refused allocation", "refused node"]);
  const [one = placement()] = held;
  directory.apply(3, [{ kind: "allocation", placement: { ...one, terminal: "lost" } }]);
  assert.equal(directory.allocation(one.id)?.terminal, "lost");
});

test("allocations that have ended stay within a bound: those not asked for the longest give way, and are found again", async () => {
  const { directory, source } = directoryUnderTest({ maxEnded: 2 });
  const running = placement();
  const [first, second, third] = [1, 2, 3].map(() => placement({ terminal: "complete" }));
  assert.ok(first && second && third);
  const tell = (...placements: readonly Placement[]): void =>
    directory.apply(
      1,
      placements.map((one) => ({ kind: "allocation" as const, placement: one })),
    );
  tell(running, { ...first, terminal: undefined }, first, second);
  assert.deepEqual(directory.allocation(first.id), first);
  tell(third);
  assert.equal(directory.allocation(second.id), undefined, "the one not asked for");
  assert.deepEqual(directory.allocation(first.id), first);
  assert.deepEqual(directory.allocation(third.id), third);
  assert.deepEqual(directory.size.allocations, 3);
  const again = directory.find(second.id, never);
  await until("the source is asked", () => source.asked.length === 1);
  source.answer(second);
  assert.deepEqual(await again, second);
  assert.equal(directory.allocation(first.id), undefined);
  assert.deepEqual(directory.allocation(running.id), running, "what runs never gives way");
  tell({ ...second, terminal: undefined }, first);
  assert.ok(
    [second, first, third].every(({ id }) => directory.allocation(id)),
    "one runs again",
  );
});

test("at the bound of all allocations one that has ended gives way to a new one", () => {
  const { directory, counted } = directoryUnderTest({ maxAllocations: 2 });
  const [running, ended, fresh, more] = [1, 2, 3, 4].map(() => placement());
  assert.ok(running && ended && fresh && more);
  const all = [running, { ...ended, terminal: "lost" as const }, fresh];
  directory.apply(
    1,
    all.map((one) => ({ kind: "allocation" as const, placement: one })),
  );
  assert.deepEqual(
    all.map(({ id }) => directory.allocation(id) !== undefined),
    [true, false, true],
  );
  assert.deepEqual(counted, []);
  directory.apply(2, [{ kind: "allocation", placement: more }]);
  assert.deepEqual(counted, ["refused allocation"]);
});

test("many waiters for one unknown id make one look-up", async () => {
  const { directory, source, counted, time } = directoryUnderTest();
  const one = placement();
  const waits = Array.from({ length: 50 }, () => directory.find(one.id, never));
  await until("the source is asked", () => source.asked.length > 0);
  source.answer(one);
  for (const found of await Promise.all(waits)) assert.deepEqual(found, one);
  assert.deepEqual(source.asked, [one.id]);
  assert.deepEqual(counted, ["found"]);
  assert.equal(time.waiting, 0);
  assert.deepEqual(directory.allocation(one.id), one);
});

test("a waiter that leaves ends only its own wait", async () => {
  const { directory, source } = directoryUnderTest();
  const one = placement();
  const leaver = new AbortController();
  const left = directory.find(one.id, leaver.signal);
  const stays = directory.find(one.id, never);
  leaver.abort(new GatewayError("client_closed"));
  await assert.rejects(left, { code: "client_closed" });
  source.answer(one);
  assert.deepEqual(await stays, one);
  assert.equal(directory.pending.flights, 0);
});

test("an id that does not exist is asked for once in its time, then again", async () => {
  const { directory, source, time, counted } = directoryUnderTest({ negativeTtlMs: 1_500 });
  const id = randomUUID();
  const first = directory.find(id, never);
  source.answer(undefined);
  assert.equal(await first, undefined);
  time.advance(1_400);
  assert.equal(await directory.find(id, never), undefined);
  assert.equal(source.asked.length, 1);
  time.advance(200);
  const again = directory.find(id, never);
  source.answer(undefined);
  assert.equal(await again, undefined);
  assert.equal(source.asked.length, 2);
  assert.deepEqual(counted, ["absent", "negative", "absent"]);
});

test("an allocation that appears after its miss is found at once", async () => {
  const { directory, source } = directoryUnderTest();
  const one = placement();
  const miss = directory.find(one.id, never);
  source.answer(undefined);
  assert.equal(await miss, undefined);
  directory.apply(1, [{ kind: "allocation", placement: one }]);
  assert.deepEqual(await directory.find(one.id, never), one);
  directory.apply(2, [{ kind: "allocation_gone", id: one.id }]);
  const gone = directory.find(one.id, never);
  assert.equal(source.asked.length, 2); // the miss from before is forgotten
  source.answer(undefined);
  assert.equal(await gone, undefined);
});

test("an allocation told while its look-up is under way is what the look-up finds", async () => {
  const { directory, source } = directoryUnderTest();
  const one = placement();
  const found = directory.find(one.id, never);
  directory.apply(1, [{ kind: "allocation", placement: one }]);
  source.answer(undefined);
  assert.deepEqual(await found, one);
});

test("beyond its bound of look-ups the registry is unavailable, and no miss is remembered", async () => {
  const { directory, source, counted } = directoryUnderTest({ maxFlights: 2 });
  const waits = [directory.find(randomUUID(), never), directory.find(randomUUID(), never)];
  const id = randomUUID();
  await assert.rejects(directory.find(id, never), { code: "registry_unavailable" });
  source.answer(undefined);
  source.answer(undefined);
  await Promise.all(waits);
  const later = directory.find(id, never);
  source.answer(undefined);
  assert.equal(await later, undefined);
  assert.deepEqual(counted, ["refused", "absent", "absent", "absent"]);
});

test("a look-up that takes too long is given up", async () => {
  const { directory, time } = directoryUnderTest({ flightTimeoutMs: 5_000 });
  const wait = directory.find(randomUUID(), never);
  const refused = assert.rejects(wait, { code: "registry_unavailable" });
  time.advance(5_000);
  await refused;
  assert.equal(directory.pending.flights, 0);
});

test("a failed look-up is not remembered as a miss", async () => {
  const { directory, source } = directoryUnderTest();
  const one = placement();
  const failing = directory.find(one.id, never);
  source.fail(new Error("connection refused"));
  await assert.rejects(failing, { code: "registry_unavailable" });
  const next = directory.find(one.id, never);
  source.answer(one);
  assert.deepEqual(await next, one);
});

test("before the feed has told everything, an unknown id is no answer", async () => {
  const { directory, source } = directoryUnderTest();
  source.state = "syncing";
  const wait = directory.find(randomUUID(), never);
  source.answer(undefined);
  await assert.rejects(wait, { code: "registry_unavailable", message: /not synced yet/ });
});

test("ten thousand random ids leave a bounded memory of misses", async () => {
  const { directory, source } = directoryUnderTest({ maxNegative: 100, maxFlights: 10 });
  for (let number = 0; number < 10_000; number += 10) {
    const waits = Array.from({ length: 10 }, () => directory.find(randomUUID(), never));
    for (const _ of waits) source.answer(undefined);
    await Promise.all(waits);
  }
  assert.equal(source.asked.length, 10_000);
  assert.deepEqual(directory.pending, { flights: 0, negative: 100 });
});
