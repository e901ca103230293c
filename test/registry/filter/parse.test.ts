/** What the filter language reads, and with which words and places it refuses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Expression } from "../../../src/registry/filter/expression.ts";
import { FilterFault } from "../../../src/registry/filter/expression.ts";
import { parseFilter } from "../../../src/registry/filter/parse.ts";
import { printFilter } from "./print.ts";

const blank = "[ \\t\\r\\n]";
const value = `"-", "0", "\\"", "\`", ${blank}, [1-9] or [a-zA-Z]`;

const refused: readonly (readonly [text: string, words: string])[] = [
  ['JobID = "x"', `1:7 (6): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or ${blank}`],
  ["CreateIndex < 3", `1:13 (12): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or ${blank}`],
  ["JobID == 'x'", `1:10 (9): no match found, expected: ${value}`],
  ["Name ==", `1:8 (7): no match found, expected: ${value}`],
  ["NodePool", `1:9 (8): no match found, expected: "!=", ".", "==", "[", ${blank} or [a-zA-Z0-9_/]`],
  ["Name == a Name", `1:11 (10): no match found, expected: "and", "or", ${blank} or EOF`],
  ["a in b and ", `1:12 (11): no match found, expected: "(", "-", "0", "\\"", "\`", "not", ${blank}, [1-9] or [a-zA-Z]`],
  ["a in b or ", `1:11 (10): no match found, expected: "(", "-", "0", "\\"", "\`", "all", "any", "not", ${blank}, [1-9] or [a-zA-Z]`],
  ["7 is empty", `1:3 (2): no match found, expected: "in", "not" or ${blank}`],
  ["all Tasks as { t is empty }", `1:14 (13): no match found, expected: "_", ${blank} or [a-zA-Z]`],
  ["ID ==\n  'x'", `2:3 (8): no match found, expected: ${value}`],
  ['Meta["ä"] = x', `1:11 (11): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or ${blank}`],
  ['ID == "12', '1:10 (9): rule "string": Unterminated string literal'],
  ["ID == `12", '1:10 (9): rule "string": Unterminated string literal'],
  ['ID == "a\\qb"', '1:7 (6): rule "string": invalid syntax'],
  ["ID == 3x", '1:8 (7): rule "number": Invalid number literal'],
  ["Meta[3] == a", '1:6 (5): rule "index": Invalid index'],
  ['Meta["a" == a', '1:10 (9): rule "index": Unclosed index expression'],
  ["a in 32", '1:6 (5): rule "match": Invalid selector'],
  ["(ID == 4", '1:9 (8): rule "grouping": Unmatched parentheses'],
  ["a == 1".padEnd(4097), "the expression is longer than 4096 bytes"],
  [`${"(".repeat(65)}a == 1${")".repeat(65)}`, "more than 64 expressions inside one another"],
  [`${"not ".repeat(65)}a == 1`, "more than 64 expressions inside one another"],
]; // biome-ignore format: a table

for (const [text, words] of refused)
  test(`${JSON.stringify(text.slice(0, 40))} is refused with Nomad's words`, () => {
    assert.throws(() => parseFilter(text), new FilterFault("parse", words));
  });

const match = (selector: string, operator: string, wanted?: string, negated = false) => ({
  kind: "match", selector: { path: selector.split("."), text: selector }, operator, negated, value: wanted,
}); // biome-ignore format: a row

const read: readonly (readonly [text: string, tree: object])[] = [
  ["a == 1", match("a", "equal", "1")],
  ["a!=b.c", match("a", "equal", "b.c", true)],
  ["( a == -0.5 )", match("a", "equal", "-0.5")],
  ["\t a \n==\r b ", match("a", "equal", "b")],
  ['"x" in a', match("a", "in", "x")],
  ["x not in a", match("a", "in", "x", true)],
  ["a contains x", match("a", "in", "x")],
  ["a not contains `x\"y`", match("a", "in", 'x"y', true)],
  ["a matches x", match("a", "matches", "x")],
  ["a not matches x", match("a", "matches", "x", true)],
  ["a is empty", match("a", "empty")],
  ["a is not empty", match("a", "empty", undefined, true)],
  ["a is nil", match("a", "nil")],
  ["a is not nil", match("a", "nil", undefined, true)],
  ['a == ""', match("a", "equal", "")],
  ['a == "\\u00e9\\x41\\101\\n"', match("a", "equal", "éAA\n")],
  ['a == "/b/c"', match("a", "equal", "b/c")],
  ["a.0.b == c", match("a.0.b", "equal", "c")],
  ["a/b == c", match("a/b", "equal", "c")],
  ['a["k.l"] == c', { ...match("a", "equal", "c"), selector: { path: ["a", "k.l"], text: "a.k.l" } }],
  ['"/a/k.l/m~1n" == c', { ...match("a", "equal", "c"), selector: { path: ["a", "k.l", "m/n"], text: "a/k.l/m/n" } }],
  ["not a == 1", { kind: "not", operand: match("a", "equal", "1") }],
  ["a == 1 or b == 2 and c == 3", {
    kind: "or",
    left: match("a", "equal", "1"),
    right: { kind: "and", left: match("b", "equal", "2"), right: match("c", "equal", "3") },
  }],
  ["(a == 1 or b == 2) and c == 3", {
    kind: "and",
    left: { kind: "or", left: match("a", "equal", "1"), right: match("b", "equal", "2") },
    right: match("c", "equal", "3"),
  }],
  ["any a as x { x == 1 }", { kind: "collection", quantifier: "any", selector: { path: ["a"], text: "a" }, binding: { item: "x" }, inner: match("x", "equal", "1") }],
  ["all a as i, _ { i == 1 }", { kind: "collection", quantifier: "all", selector: { path: ["a"], text: "a" }, binding: { index: "i" }, inner: match("i", "equal", "1") }],
  ["all a as _, v { v == 1 }", { kind: "collection", quantifier: "all", selector: { path: ["a"], text: "a" }, binding: { value: "v" }, inner: match("v", "equal", "1") }],
  ["all a as i,v {v == 1 }", { kind: "collection", quantifier: "all", selector: { path: ["a"], text: "a" }, binding: { index: "i", value: "v" }, inner: match("v", "equal", "1") }],
]; // biome-ignore format: a table

for (const [text, tree] of read)
  test(`${JSON.stringify(text)} is read`, () => {
    assert.deepEqual(parseFilter(text), tree);
  });

const names = fc.constantFrom("a", "Job", "x9", "anyone", "nothing", "a_b/c");
const selectors = fc
  .tuple(names, fc.array(fc.stringMatching(/^[a-z.[\] 0-9é]{0,6}$/), { maxLength: 3 }))
  .map(([first, rest]) => ({ path: [first, ...rest], text: [first, ...rest].join(".") }));
const wanted = fc.stringMatching(/^[^`\r]{0,12}$/);

const { tree: expressions } = fc.letrec<{ tree: Expression }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthIdentifier: "filter" },
    fc.record<Expression & { kind: "match" }>({
      kind: fc.constant("match"),
      selector: selectors,
      operator: fc.constantFrom("equal", "in", "matches"),
      negated: fc.boolean(),
      value: wanted,
    }),
    fc.record<Expression & { kind: "match" }>({
      kind: fc.constant("match"),
      selector: selectors,
      operator: fc.constantFrom("empty", "nil"),
      negated: fc.boolean(),
      value: fc.constant(undefined),
    }),
    fc.record({ kind: fc.constantFrom("and", "or"), left: tie("tree"), right: tie("tree") }),
    fc.record({ kind: fc.constant("not"), operand: tie("tree") }),
    fc.record({
      kind: fc.constant("collection"),
      quantifier: fc.constantFrom("any", "all"),
      selector: selectors,
      binding: fc.oneof(fc.record({ item: names }), fc.record({ index: names, value: names })),
      inner: tie("tree"),
    }),
  ),
}));

test("a printed filter is read back as the same tree", () => {
  fc.assert(
    fc.property(expressions, (expression) => {
      const text = printFilter(expression);
      fc.pre(Buffer.byteLength(text) <= 4096);
      assert.deepEqual(parseFilter(text), structuredClone(expression));
    }),
    { numRuns: 150 },
  );
});

const tokens = fc.constantFrom(
  "a", "ID", " ", "\n", "(", ")", "[", "]", '"', "`", "==", "!=", "in", "not", "is", "empty", "nil", "any", "all",
  "as", "{", "}", ",", "_", "and", "or", "matches", "contains", ".", "/", "0", "17", "-", "\\", "é", "💥",
); // biome-ignore format: a list

test("whatever the text, it is read or refused with a FilterFault", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.array(tokens).map((parts) => parts.join("")),
      ),
      (text) => {
        try {
          parseFilter(text);
        } catch (error) {
          if (!(error instanceof FilterFault)) throw error;
          assert.equal(error.stage, "parse");
        }
      },
    ),
    { numRuns: 400 },
  );
});

/** Texts on which a grammar that goes back without remembering takes time beyond any patience. */
const stubborn: readonly (readonly [name: string, text: string])[] = [
  ["parentheses", `${"(".repeat(60)}a == 1${")".repeat(59)}`],
  ["negations", `${"not ".repeat(60)}a ==`],
  ["a long chain", `${"a == 1 or ".repeat(400)}b`],
  ["opening brackets", "a[".repeat(2000)],
  ["quotes", '"'.repeat(4000)],
  ["nested collections", `${"any a as b { ".repeat(60)}c`],
]; // biome-ignore format: a table

for (const [name, text] of stubborn)
  test(`${name} that never close are refused within bounded work`, { timeout: 20_000 }, () => {
    assert.throws(() => parseFilter(text), FilterFault);
  });
