import assert from "node:assert/strict";
import { test } from "node:test";
import { Counts } from "../../src/lib/counts.ts";

test("each key is counted for itself, and together they are the total", () => {
  const counts = new Counts();
  for (const key of ["a", "b", "a", "__proto__"]) counts.add(key);
  assert.deepEqual(
    ["a", "b", "c", "__proto__"].map((key) => counts.of(key)),
    [2, 1, 0, 1],
  );
  assert.equal(counts.total, 4);
  for (const key of ["a", "a", "b", "__proto__"]) counts.remove(key);
  assert.deepEqual(
    ["a", "b", "__proto__"].map((key) => counts.of(key)),
    [0, 0, 0],
  );
  assert.equal(counts.total, 0);
});
