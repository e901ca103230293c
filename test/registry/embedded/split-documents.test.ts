import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { splitDocuments } from "../../../src/registry/embedded/split-documents.ts";

const split = (text: string): readonly string[] =>
  [...splitDocuments(Buffer.from(text))].map((bytes) => Buffer.from(bytes).toString().trim());

test("any list is cut into its items, however it is written", () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { maxLength: 8 }), fc.nat(4), (items, indent) => {
      const parts = split(` ${JSON.stringify(items, null, indent)}\n`);
      assert.deepEqual(
        parts.map((part) => JSON.parse(part)),
        JSON.parse(JSON.stringify(items)),
      );
    }),
  );
});

const lists: readonly (readonly [text: string, items: readonly string[]])[] = [
  ["[]", []],
  [" [ ] ", []],
  [`["a,]","b\\"]"]`, [`"a,]"`, `"b\\"]"`]],
  [`["\\\\",1]`, [`"\\\\"`, "1"]],
  ["[[1,2],{}]", ["[1,2]", "{}"]],
];
for (const [text, items] of lists)
  test(`${text} has ${items.length} items`, () => assert.deepEqual(split(text), items));

for (const text of ["", "{}", "null", "[", "[1", "[1,", `["a]`, `["a\\"]`, "[{]", `[{"a":[}]`])
  test(`${text === "" ? "an empty text" : text} is refused`, () => {
    const taken = (): void => {
      for (const part of split(text)) JSON.parse(part);
    };
    assert.throws(taken, SyntaxError);
  });

test("a list cut off at any byte never yields a whole item that was not sent whole", () => {
  const text = JSON.stringify([{ a: "x,]}" }, ["[", 1], "end"]);
  const whole = new Set(split(text));
  for (let length = 0; length < text.length; length++) {
    const items = splitDocuments(Buffer.from(text.slice(0, length)));
    assert.throws(() => {
      for (const item of items) assert.ok(whole.has(Buffer.from(item).toString()));
    }, SyntaxError);
  }
});
