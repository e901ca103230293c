import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { Meta } from "../../src/registry/meta.ts";
import { type BatcherOptions, MetadataBatcher } from "../../src/registry/metadata-batcher.ts";
import { FakeTime } from "./fake-time.ts";
import { until } from "./until.ts";

const never = new AbortController().signal;
const ignore = (): void => {};

interface Question {
  readonly nodeId: string;
  readonly signal: AbortSignal;
  readonly answer: (meta: Meta) => void;
  readonly fail: (error: Error) => void;
}

/** Agents that answer when the test says so, and a registry that counts its writes. */
class Fleet {
  readonly time = new FakeTime();
  readonly questions: Question[] = [];
  readonly written = new Map<string, Meta>();
  readonly batches: { readonly size: number; readonly result: string }[] = [];
  readonly delays: number[] = [];
  writes = 0;
  random = 0.5;
  /** Answers questions at once, while set; undefined leaves one open. */
  answers: ((nodeId: string) => Meta | Error | undefined) | undefined;
  readonly unknown = new Set<string>();
  readonly batcher: MetadataBatcher;

  constructor(options: Partial<BatcherOptions> = {}) {
    this.batcher = new MetadataBatcher(
      {
        timers: this.time,
        monotonic: () => this.time.monotonic(),
        random: () => this.random,
        log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
        isKnown: (nodeId) => !this.unknown.has(nodeId),
        ask: (nodeId, signal) => this.#ask(nodeId, signal),
        write: (nodeId, meta) => {
          this.written.set(nodeId, meta);
          this.writes++;
          return true;
        },
        observe: {
          batched: (batch) => this.batches.push(batch),
          applied: (delayMs) => this.delays.push(delayMs),
        },
      },
      options,
    );
  }

  async asked(count: number): Promise<void> {
    await until(`${count} questions`, () => this.questions.length === count);
  }

  #ask(nodeId: string, signal: AbortSignal): Promise<Meta> {
    return new Promise((resolve, reject) => {
      const answer = this.answers?.(nodeId);
      this.questions.push({ nodeId, signal, answer: resolve, fail: reject });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      if (answer instanceof Error) reject(answer);
      else if (answer) resolve(answer);
    });
  }
}

test("a thousand updates within a window become one question and one write", async () => {
  const fleet = new Fleet();
  let updates = 0;
  fleet.answers = () => ({ updates: String(updates) });
  for (; updates < 1_000; updates++) {
    fleet.batcher.touch("a");
    fleet.time.advance(8);
  }
  assert.equal(fleet.questions.length, 0);
  fleet.time.advance(2_000);
  await until("it is written", () => fleet.writes === 1);
  assert.equal(fleet.questions.length, 1);
  assert.deepEqual(fleet.written.get("a"), { updates: "1000" });
  assert.equal(fleet.batcher.pending, 0);
  assert.equal(fleet.time.waiting, 0);
  assert.deepEqual(fleet.batches, [{ size: 1, result: "ok" }]);
});

for (const random of [0, 0.25, 0.999_999])
  test(`a window lasts 9 to 10 s from the first update, never longer (random ${random})`, () => {
    const fleet = new Fleet();
    fleet.random = random;
    fleet.batcher.touch("a");
    const [delay = 0] = fleet.time.delays;
    assert.ok(delay >= 9_000 && delay <= 10_000, `${delay} ms`);
    fleet.time.advance(5_000);
    fleet.batcher.touch("b"); // does not put it off
    assert.deepEqual(fleet.time.delays, [delay - 5_000]);
  });

test("every dirty node is asked once a window, a bounded number of them at once", async () => {
  const fleet = new Fleet({ concurrency: 3 });
  for (let node = 0; node < 10; node++) fleet.batcher.touch(`node-${node}`);
  assert.equal(fleet.batcher.pending, 10);
  fleet.time.advance(10_000);
  await fleet.asked(3);
  await turn();
  assert.equal(fleet.questions.length, 3);
  for (let node = 0; node < 10; node++) {
    await until("the next is asked", () => fleet.questions.length > node);
    fleet.questions[node]?.answer({ node: String(node) });
  }
  await until("all are written", () => fleet.batches.length === 1);
  assert.equal(fleet.writes, 10);
  assert.equal(fleet.questions.length, 10);
  assert.deepEqual(fleet.batches, [{ size: 10, result: "ok" }]);
});

test("an update while its node is being asked is asked for again in the next window", async () => {
  const fleet = new Fleet();
  fleet.batcher.touch("a");
  fleet.time.advance(10_000);
  await fleet.asked(1);
  fleet.batcher.touch("a");
  fleet.questions[0]?.answer({ version: "1" });
  await until("the first is written", () => fleet.writes === 1);
  assert.equal(fleet.batcher.pending, 1);
  fleet.time.advance(10_000);
  await fleet.asked(2);
  fleet.questions[1]?.answer({ version: "2" });
  await until("the second is written", () => fleet.writes === 2);
  assert.deepEqual(fleet.written.get("a"), { version: "2" });
});

test("a node is pending until its change is written, asked or not, and counts once", async () => {
  const fleet = new Fleet({ concurrency: 1 });
  for (const node of ["a", "b", "c"]) fleet.batcher.touch(node);
  fleet.time.advance(10_000);
  await fleet.asked(1); // the other two wait for their turn in the batch
  assert.equal(fleet.batcher.pending, 3);
  fleet.batcher.touch("a");
  assert.equal(fleet.batcher.pending, 3);
  fleet.answers = () => ({ ok: "1" });
  fleet.questions[0]?.fail(new Error("connection refused"));
  await until("the batch ended", () => fleet.batches.length === 1);
  assert.equal(fleet.batcher.pending, 1);
  fleet.time.advance(10_000);
  await until("the second batch ended", () => fleet.batches.length === 2);
  assert.equal(fleet.batcher.pending, 0);
});

test("a node that cannot be asked stays dirty until it can, and its delay counts from the first update", async () => {
  const fleet = new Fleet();
  fleet.answers = (nodeId) => (nodeId === "a" ? new Error("connection refused") : { ok: "1" });
  fleet.batcher.touch("a");
  fleet.batcher.touch("b");
  fleet.time.advance(9_500);
  await until("the batch ended", () => fleet.batches.length === 1);
  assert.deepEqual([...fleet.written.keys()], ["b"]);
  assert.equal(fleet.batcher.pending, 1);
  fleet.time.advance(9_500);
  await until("the second batch ended", () => fleet.batches.length === 2);
  fleet.answers = () => ({ ok: "2" });
  fleet.time.advance(9_500);
  await until("the third batch ended", () => fleet.batches.length === 3);
  assert.deepEqual(fleet.written.get("a"), { ok: "2" });
  assert.deepEqual(
    fleet.batches.map(({ result }) => result),
    ["partial", "failed", "ok"],
  );
  assert.deepEqual(fleet.delays, [9_500, 28_500]);
  assert.equal(fleet.time.waiting, 0);
});

test("an agent that never answers is given up and asked again", async () => {
  const fleet = new Fleet({ askTimeoutMs: 5_000 });
  fleet.batcher.touch("a");
  fleet.time.advance(10_000);
  await fleet.asked(1);
  fleet.time.advance(5_000);
  await until("the batch ended", () => fleet.batches.length === 1);
  assert.ok(fleet.questions[0]?.signal.aborted);
  assert.equal(fleet.batcher.pending, 1);
});

test("agents that do not answer hold up none that was written to later", async () => {
  const fleet = new Fleet({ concurrency: 2, askTimeoutMs: 5_000 });
  for (const silent of ["a", "b", "c", "d"]) fleet.batcher.touch(silent);
  fleet.time.advance(9_500);
  await fleet.asked(2);
  fleet.time.advance(5_000);
  await fleet.asked(4);
  fleet.time.advance(5_000);
  await until("the batch ended", () => fleet.batches.length === 1);
  fleet.answers = (nodeId) => (nodeId === "good" ? { ok: "1" } : undefined);
  fleet.batcher.touch("good");
  fleet.time.advance(9_500);
  await fleet.asked(7); // the good one, and two that are silent
  assert.deepEqual(fleet.written.get("good"), { ok: "1" });
  assert.deepEqual(fleet.delays, [9_500]);
});

test("an answer that is overtaken by a newer one is not written", async () => {
  const fleet = new Fleet();
  fleet.batcher.touch("a");
  fleet.time.advance(10_000);
  await fleet.asked(1);
  fleet.batcher.touch("a");
  const flushed = fleet.batcher.flush(never);
  await fleet.asked(2);
  fleet.questions[1]?.answer({ version: "2" });
  await flushed;
  fleet.questions[0]?.answer({ version: "1" });
  await until("both batches ended", () => fleet.batches.length === 2);
  assert.deepEqual(fleet.written.get("a"), { version: "2" });
  assert.equal(fleet.writes, 1);
});

test("answers in any order leave every node with its newest metadata", async () => {
  const fleet = new Fleet();
  const rounds = 6;
  const flushes: Promise<void>[] = [];
  for (let round = 0; round < rounds; round++) {
    fleet.batcher.touch("a");
    flushes.push(fleet.batcher.flush(never));
    await fleet.asked(round + 1);
  }
  for (const at of [2, 0, 5, 1, 4, 3]) {
    fleet.questions[at]?.answer({ version: String(at) });
    await turn();
  }
  await Promise.all(flushes);
  assert.deepEqual(fleet.written.get("a"), { version: "5" });
  assert.equal(fleet.writes, 2); // 2, then 5
});

test("a flush lasts until what is dirty is answered, and what changes after it has a window again", async () => {
  const fleet = new Fleet();
  const done: string[] = [];
  fleet.batcher.touch("a");
  const flushed = fleet.batcher.flush(never).then(() => done.push("flushed"));
  await fleet.asked(1);
  await turn();
  assert.deepEqual(done, []);
  fleet.questions[0]?.answer({ last: "1" });
  await flushed;
  assert.deepEqual(fleet.written.get("a"), { last: "1" });
  fleet.batcher.touch("a");
  fleet.time.advance(10_000);
  await fleet.asked(2);
});

test("closing brings in what is dirty, and takes no more", async () => {
  const fleet = new Fleet();
  fleet.answers = () => ({ last: "1" });
  fleet.batcher.touch("a");
  await fleet.batcher.close(never);
  assert.deepEqual(fleet.written.get("a"), { last: "1" });
  fleet.batcher.touch("a");
  assert.equal(fleet.time.waiting, 0);
  assert.equal(fleet.batcher.pending, 0);
});

test("closing waits no longer than its signal allows", async () => {
  const fleet = new Fleet();
  fleet.batcher.touch("a");
  const patience = new AbortController();
  const closed = fleet.batcher.close(patience.signal);
  await fleet.asked(1);
  patience.abort();
  await closed;
  assert.equal(fleet.writes, 0);
  assert.equal(fleet.time.waiting, 0);
});

test("nodes that nobody knows are not remembered", () => {
  const fleet = new Fleet();
  fleet.unknown.add("stranger");
  fleet.batcher.touch("stranger");
  assert.equal(fleet.batcher.pending, 0);
  assert.equal(fleet.time.waiting, 0);
});
