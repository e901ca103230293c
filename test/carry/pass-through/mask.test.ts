import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { maskNode, replaceMembers } from "../../../src/carry/pass-through/mask.ts";

const caller = { authority: "gate.example:4646", scheme: "https" } as const;
const masked = (text: string, by: Parameters<typeof maskNode>[1] = caller): string =>
  maskNode(Buffer.from(text), by).toString();

interface Row {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

const own = '"gate.example:4646"';
const rows: readonly Row[] = [
  { name: "both members", from: '{"A":1,"HTTPAddr":"10.0.0.1:4646","TLSEnabled":false}', to: `{"A":1,"HTTPAddr":${own},"TLSEnabled":true}` },
  { name: "a name in a nested object", from: '{"N":{"HTTPAddr":"a","TLSEnabled":false},"HTTPAddr":"b"}', to: `{"N":{"HTTPAddr":"a","TLSEnabled":false},"HTTPAddr":${own}}` },
  { name: "a name inside a string", from: String.raw`{"S":"\"HTTPAddr\":\"x\"","HTTPAddr":"b"}`, to: `{"S":"\\"HTTPAddr\\":\\"x\\"","HTTPAddr":${own}}` },
  { name: "a string that ends with a backslash", from: String.raw`{"S":"\\","HTTPAddr":"b"}`, to: `{"S":"\\\\","HTTPAddr":${own}}` },
  { name: "a name written with escapes", from: String.raw`{"HTTP\u0041ddr":"b"}`, to: `{"HTTP\\u0041ddr":${own}}` },
  { name: "names of a quote and of a backslash", from: String.raw`{"\\":1,"\"":2,"HTTPAddr":"b"}`, to: `{"\\\\":1,"\\"":2,"HTTPAddr":${own}}` },
  { name: "a member given twice", from: '{"HTTPAddr":"a","HTTPAddr":"b"}', to: `{"HTTPAddr":${own},"HTTPAddr":${own}}` },
  { name: "null in its place", from: '{"HTTPAddr":null}', to: `{"HTTPAddr":${own}}` },
  { name: "a container in its place", from: '{"HTTPAddr":[{"}":"]"}],"B":2}', to: `{"HTTPAddr":${own},"B":2}` },
  { name: "white space of a pretty answer", from: '{\n    "HTTPAddr": "a",\n    "B": {}\n}\n', to: `{\n    "HTTPAddr": ${own},\n    "B": {}\n}\n` },
  { name: "numbers beyond 2^53", from: '{"T":1755022961123456789,"U":18446744073709551615,"F":80.0,"E":1e+21,"HTTPAddr":""}', to: `{"T":1755022961123456789,"U":18446744073709551615,"F":80.0,"E":1e+21,"HTTPAddr":${own}}` },
  { name: "a name in other letters", from: '{"httpaddr":"a"}', to: '{"httpaddr":"a"}' },
  { name: "no member", from: "{}", to: "{}" },
  { name: "an array", from: '[{"HTTPAddr":"a"}]', to: '[{"HTTPAddr":"a"}]' },
  { name: "null", from: "null", to: "null" },
  { name: "nothing", from: "", to: "" },
]; // biome-ignore format: a table

for (const { name, from, to } of rows)
  test(`masks the address of a node: ${name}`, () => assert.equal(masked(from), to));

test("gives the scheme's port to an authority without one, and keeps the brackets of IPv6", () => {
  const from = '{"HTTPAddr":"a","TLSEnabled":true}';
  const to = (address: string, tls: boolean): string =>
    `{"HTTPAddr":${JSON.stringify(address)},"TLSEnabled":${tls}}`;
  assert.equal(masked(from, { authority: "gate", scheme: "https" }), to("gate:443", true));
  assert.equal(masked(from, { authority: "[::1]", scheme: "http" }), to("[::1]:80", false));
  assert.equal(masked(from, { authority: "[::1]:1", scheme: "http" }), to("[::1]:1", false));
  assert.equal(masked(from, { authority: "", scheme: "https" }), to("", false));
  assert.equal(masked(from, { authority: 'a"é', scheme: "http" }), to('a"é:80', false).replace("é", "\\u00e9")); // biome-ignore format: one row
});

test("bytes that are no UTF-8 pass as they are", () => {
  const from = Buffer.from('{"N":"\xff\xfe","HTTPAddr":"a"}', "latin1");
  const to = Buffer.from(`{"N":"\xff\xfe","HTTPAddr":${own}}`, "latin1");
  assert.deepEqual(maskNode(from, caller), to);
});

const broken = ["{", '{"a', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1 2}', '{a:1}', '{"a":[1}', '{"a":"x}', '{"HTTPAddr":,}', '{"\\x":1}', '{"a":1,}']; // biome-ignore format: one row
for (const text of broken)
  test(`refuses what is no JSON: ${text}`, () => {
    assert.throws(() => masked(text), SyntaxError);
  });

/** Any JSON as text, with numbers that no parser of doubles keeps. */
const jsonText = fc.letrec<{ value: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }).map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((one) => JSON.stringify(one)),
    fc.constantFrom("true", "false", "null", "80.0", "1e-07", "[]", "{}"),
    fc.array(tie("value"), { maxLength: 4 }).map((all) => `[${all.join(" , ")}]`),
    tie("object"),
  ),
  object: fc
    .uniqueArray(
      fc.tuple(
        fc.oneof(
          fc.constantFrom("HTTPAddr", "TLSEnabled", "HTTPAddr ", "__proto__", "ID", "\\"),
          fc.string({ unit: "binary" }).filter((key) => key !== '"'), // the engine reads "\"" as "\\" after it
        ),
        tie("value"),
        fc.constantFrom("", " ", "\n\t"),
      ),
      { maxLength: 6, selector: ([key]) => key }, // the engine's sources go astray with names given twice
    )
    .map((all) => `{${all.map(([key, value, gap]) => `${gap}${JSON.stringify(key)}${gap}:${gap}${value}${gap}`).join(",")}}`), // biome-ignore format: one row
}));

type Entry = readonly [key: string, source: string];

/** Top-level members with the very text of their values, read by the engine's own parser. */
const entriesOf = (text: string): readonly Entry[] => {
  const parse = JSON.parse as (
    text: string,
    reviver: (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown,
  ) => object;
  const whole = parse(text, (_key, value, { source }) =>
    typeof value === "number" ? { number: source } : value,
  );
  return Object.entries(whole).map(([key, value]) => [key, JSON.stringify(value)]);
};

test("any object keeps every member but the two, its numbers to the digit", () => {
  fc.assert(
    fc.property(jsonText.object, (text) => {
      const expected = entriesOf(text).map(([key, source]): Entry => {
        if (key === "HTTPAddr") return [key, own];
        return key === "TLSEnabled" ? [key, "true"] : [key, source];
      });
      assert.deepEqual(entriesOf(masked(text)), expected);
    }),
    { numRuns: 500 },
  );
});

test("any text with nothing to replace is given back as it is, or refused", () => {
  fc.assert(
    fc.property(fc.oneof(jsonText.value, fc.string()), (text) => {
      try {
        assert.equal(replaceMembers(text, new Map()), text);
      } catch (error) {
        assert.ok(error instanceof SyntaxError);
        assert.throws(() => JSON.parse(text));
      }
    }),
    { numRuns: 500 },
  );
});

test("a document nested without end is measured without recursion", () => {
  const deep = `{"D":${"[".repeat(200_000)}${"]".repeat(200_000)},"HTTPAddr":"a"}`;
  assert.ok(masked(deep).endsWith(`"HTTPAddr":${own}}`));
});
