import assert from "node:assert/strict";
import { test } from "node:test";
import { readPage, rendered } from "./compatibility.ts";
import { differences } from "./differences.ts";

test("docs/compatibility.md tells of every permitted difference", () => {
  const text = readPage();
  assert.equal(text, rendered(text), "run node test/conformance/compatibility.ts");
  for (const { kind, serai } of differences)
    if (kind !== "cluster") assert.ok(text.includes(serai), serai);
});
