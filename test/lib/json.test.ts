/** Integers stay whole as far as Go has them; no document makes one that is dear to read and to write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
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

/** The same by means of the language alone. */
const asSaid = (_key: string, value: unknown, { source = "" }: { readonly source?: string }) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d{1,20}$/.test(source)
    ? BigInt(source)
    : value;
const revived = JSON as unknown as { parse(text: string, reviver: typeof asSaid): unknown };

const numbers = fc.stringMatching(
  /^-?(?:0|[1-9]\d{0,2}|[1-9]\d{14,22})(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?$/,
);
/** With all that could be taken for a number, for a string's end, or for what is put in a number's place. */
const strings = fc
  .array(
    fc.oneof(
      numbers,
      fc.string({ unit: "binary" }),
      fc.constantFrom("\0", '"', "\\", "\\u0000", ",", ":"),
    ),
    { maxLength: 5 },
  )
  .map((parts) => JSON.stringify(parts.join("")));
const { document } = fc.letrec<{ document: string }>((tie) => ({
  document: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    numbers,
    strings,
    fc.constantFrom("true", "false", "null"),
    fc.array(tie("document"), { maxLength: 5 }).map((items) => `[${items.join(" ,")}]`),
    fc
      .array(fc.tuple(fc.oneof(strings, fc.constant(`"__proto__"`)), tie("document")), {
        maxLength: 5,
      })
      .map((members) => `{${members.map(([name, value]) => `${name} : ${value}`).join(",")}}`),
  ),
}));

test("what is read of any document is what the language's own reader makes of it", () => {
  fc.assert(
    fc.property(document, (text) => {
      assert.deepStrictEqual(parseJson(text), revived.parse(text, asSaid));
    }),
    { numRuns: 2_000 },
  );
});

test("what is no JSON is refused, whatever number is in it", () => {
  for (const text of [
    "{12345678901234567:1}",
    "[01234567890123456]",
    `["a"12345678901234567]`,
    "[12345678901234567",
    `"12345678901234567`,
  ])
    assert.throws(() => parseJson(text), SyntaxError, text);
});

/** The least of some rounds: whatever else the machine does is not the work's. */
const spentOn = (work: () => unknown): number => {
  const rounds = Array.from({ length: 20 }, () => {
    const before = performance.now();
    work();
    return performance.now() - before;
  });
  return Math.min(...rounds);
};

for (const [what, text] of [
  ["small numbers", `[${"1,".repeat(100_000)}1]`],
  ["small numbers and a long one", `[${"1,".repeat(100_000)}18446744073709551615]`],
] as const)
  test(`reading ${what} costs not much more than it must`, () => {
    const least = spentOn(() => JSON.parse(text));
    const spent = spentOn(() => parseJson(text));
    assert.ok(spent < 40 * least, `${spent} ms, of which ${least} ms are needed`);
  });
