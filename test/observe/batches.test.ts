import assert from "node:assert/strict";
import { test } from "node:test";
import { Batches } from "../../src/observe/batches.ts";

const all = Number.POSITIVE_INFINITY;
const takenFrom = (batches: Batches): readonly string[] => {
  const taken: string[] = [];
  for (let next = batches.take(); next !== undefined; next = batches.take()) {
    taken.push(next.toString());
    batches.recycle(next);
  }
  return taken;
};

test("lines are packed whole and in order, into batches no longer than asked", () => {
  const batches = new Batches(10);
  assert.deepEqual(
    ["abc\n", "déf\n", "ghi\n", "日本語語語\n", "j\n"].map((line) => batches.add(line, all)),
    [4, 5, 4, 16, 2],
  );
  assert.deepEqual(takenFrom(batches), ["abc\ndéf\n", "ghi\n", "日本語語語\n", "j\n"]);
  assert.equal(batches.isEmpty, true);
});

test("a line is measured in bytes where it might not fit, to the byte", () => {
  const batches = new Batches(100);
  assert.deepEqual([batches.add("日本\n", 6), batches.isEmpty], [0, true]);
  assert.deepEqual([batches.add("日本\n", 7), batches.isEmpty], [7, false]);
  assert.equal(batches.add("abcdefg", 7), 7);
  assert.deepEqual(takenFrom(batches), ["日本\nabcdefg"]);
});

test("the memory of a batch that was written holds the next, never one that waits", () => {
  const batches = new Batches(8);
  batches.add("one\n", all);
  const first = batches.take();
  assert.ok(first);
  batches.add("two\n", all);
  const second = batches.take();
  assert.deepEqual([first.toString(), second?.toString()], ["one\n", "two\n"]);
  batches.recycle(first);
  batches.add("three\n", all);
  batches.add("four\n", all);
  const third = batches.take();
  assert.equal(third?.buffer, first.buffer);
  assert.deepEqual(
    [second?.toString(), third?.toString(), batches.take()?.toString()],
    ["two\n", "three\n", "four\n"],
  );
});
