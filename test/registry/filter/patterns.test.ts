/** Patterns are weighed before they are compiled: a short text can be a large program. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { FilterFault } from "../../../src/registry/filter/expression.ts";
import {
  createPatterns,
  maxPatternWeight,
  patternWeight,
} from "../../../src/registry/filter/patterns.ts";

const light: readonly string[] = [
  "^golden-(web|batch)$",
  "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
  "^([0-9]{1,3}\\\\.){3}[0-9]{1,3}$".replaceAll("\\\\", "\\"),
  "(?i)^team-(?P<name>[[:alpha:]]+)-\\d{2,}$",
  "\\Qa.b{1000}\\E|[]{1000}]|\\x{41}\\p{Greek}",
];

for (const text of light)
  test(`${text} is compiled and its size known`, () => {
    const { size } = createPatterns()(text);
    assert.ok(size > 0 && size < maxPatternWeight);
  });

const heavy: readonly (readonly [name: string, text: string])[] = [
  ["a row of repetitions", "a{1000}".repeat(500)],
  ["optional groups", "(a?){1000}".repeat(300)],
  ["repetitions inside repetitions", "((a{30}){30}){1}".repeat(200)],
  ["repeated classes", "[\\p{L}\\p{N}]{1000}".repeat(200)],
  ["a class that hides a parenthesis", "([[:alpha:])]a{1000}){1000}"],
  ["open repetitions", "(ab{999,}){999,}"],
];

for (const [name, text] of heavy)
  test(`${name} are refused before they are compiled`, () => {
    assert.ok(patternWeight(text) > maxPatternWeight);
    assert.throws(() => createPatterns()(text), FilterFault);
  });

test("many patterns of one filter are weighed together", () => {
  const patternOf = createPatterns();
  const some = (n: number) => `${"abcdefghij".repeat(40)}${n}`;
  for (let n = 0; n < 4; n++) patternOf(some(n));
  patternOf(some(0));
  assert.throws(() => patternOf(some(4)), /too large/);
});

const pieces = fc.constantFrom(
  "a", "[a-z]", "\\d", "\\p{L}", "(", ")", "(?:", "|", "*", "+?", "?", "{3}", "{2,5}", "{4,}", "[[:alpha:])]", "\\Q(\\E", ".",
); // biome-ignore format: a list

test("no pattern that compiles is much larger than it was weighed", () => {
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 14 }).map((all) => all.join("")),
      (text) => {
        const weight = patternWeight(text);
        fc.pre(weight <= maxPatternWeight);
        try {
          assert.ok(
            RE2JS.compile(text).programSize() <= 6 * weight + 10,
            `${text} weighs ${weight}`,
          );
        } catch (error) {
          if (!(error instanceof Error && error.name === "RE2JSSyntaxException")) throw error;
        }
      },
    ),
    { numRuns: 500 },
  );
});
