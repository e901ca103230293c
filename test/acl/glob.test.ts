import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { closest, globMatcher, rankGlobs } from "../../src/acl/glob.ts";

/** Written from the rule's words, by exhaustive search. */
const naiveMatch = (label: string, name: string): boolean => {
  if (label === "") return name === "";
  if (label.startsWith("*")) {
    for (let skip = 0; skip <= name.length; skip++)
      if (naiveMatch(label.slice(1), name.slice(skip))) return true;
    return false;
  }
  return name !== "" && name[0] === label[0] && naiveMatch(label.slice(1), name.slice(1));
};

const distance = (label: string, name: string): number =>
  Buffer.byteLength(name) - Buffer.byteLength(label) + (label.match(/\*/g) ?? []).length;

const naiveClosest = (labels: readonly string[], name: string): string | undefined => {
  let best: string | undefined;
  for (const label of labels) {
    if (!naiveMatch(label, name)) continue;
    if (best === undefined) {
      best = label;
      continue;
    }
    const nearer = distance(label, name) - distance(best, name);
    const greater = Buffer.compare(Buffer.from(label), Buffer.from(best)) > 0;
    if (nearer < 0 || (nearer === 0 && greater)) best = label;
  }
  return best;
};

/** Few letters, so that labels match and tie often; a two-byte one, because lengths are bytes. */
const letters = fc.constantFrom("a", "b", "B", "-", "1", "é");
const name = fc.string({ unit: letters, maxLength: 8 });
const label = fc
  .string({ unit: fc.oneof(letters, fc.constant("*")), minLength: 1, maxLength: 7 })
  .map((text) => (text.includes("*") ? text : `${text}*`));

test("a label matches as the naive search says", () => {
  fc.assert(
    fc.property(label, name, (pattern, text) => {
      assert.equal(globMatcher(pattern)(text), naiveMatch(pattern, text));
    }),
    { numRuns: 5_000 },
  );
});

test("the closest label wins, ties go to the greatest in byte order, whatever the order of the labels", () => {
  fc.assert(
    fc.property(fc.uniqueArray(label, { maxLength: 8 }), name, (labels, text) => {
      const ranked = rankGlobs(new Map(labels.map((one) => [one, one])));
      assert.equal(closest(ranked, text), naiveClosest(labels, text));
      const reversed = rankGlobs(new Map(labels.toReversed().map((one) => [one, one])));
      assert.equal(closest(reversed, text), closest(ranked, text));
    }),
    { numRuns: 5_000 },
  );
});

const rows: readonly (readonly [label: string, name: string, matches: boolean])[] = [
  ["prod-*", "prod-", true],
  ["prod-*", "prod", false],
  ["**", "", true],
  ["a*a", "a", false],
  ["a*a", "aa", true],
  ["*ab*ab*", "ab", false],
  ["*ab*ab*", "abab", true],
  ["a?c*", "abc", false],
  ["[ab]*", "a", false],
  ["(a+)+*", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", false],
];
for (const [pattern, text, matches] of rows)
  test(`${pattern} ${matches ? "matches" : "does not match"} ${JSON.stringify(text)}`, () => {
    assert.equal(globMatcher(pattern)(text), matches);
  });
