/** Integers stay whole as far as Go has them; no document makes one that is dear to read and to write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJson, stringifyJson } from "../../src/lib/json.ts";

const whole = [
  "0",
  "9007199254740991",
  "9007199254740993",
  "-9223372036854775808",
  "18446744073709551615",
];

for (const text of whole)
  test(`${text} is written as it was read`, () => {
    assert.equal(stringifyJson(parseJson(`{"a":[${text}]}`)), `{"a":[${text}]}`);
  });

test("a number of more digits than any integer of Go's has is a float", () => {
  assert.equal(parseJson("100000000000000000000000"), 1e23);
  assert.equal(typeof parseJson("9".repeat(100_000)), "number");
});
