import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodePercent, encodePercent, toBytePath } from "../../src/lib/percent.ts";

const encodedBytes = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`).join("");

const bytesOf = (encoded: string): Buffer =>
  Buffer.from(
    encoded.replace(/%(..)/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  );

const rows: readonly (readonly [text: string, decoded: string | undefined])[] = [
  ["a%20b", "a b"],
  ["%C3%A9", "\u00e9"],
  ["%F0%9F%98%80", "\u{1f600}"],
  ["\u00e9", "\u00e9"],
  ["%E9", "\udce9"],
  ["%C0%AE", "\udcc0\udcae"],
  ["%ED%A0%80", "\udced\udca0\udc80"],
  ["%F4%90%80%80", "\udcf4\udc90\udc80\udc80"],
  ["%C3x", "\udcc3x"],
  ["%", undefined],
  ["%4", undefined],
  ["%zz", undefined],
];

for (const [text, decoded] of rows)
  test(`${JSON.stringify(text)} decodes to ${JSON.stringify(decoded)}`, () => {
    assert.equal(decodePercent(text), decoded);
  });

test("whatever the bytes, they come back, in a URL and in a file's name", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const text = decodePercent(encodedBytes(bytes));
      assert.ok(text !== undefined);
      assert.deepEqual(bytesOf(encodePercent(text)), Buffer.from(bytes));
      assert.deepEqual(Buffer.from(toBytePath(text)), Buffer.from(bytes));
    }),
  );
});

test("valid text is what JavaScript's own functions make of it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assert.equal(encodePercent(text), encodeURIComponent(text));
      assert.equal(decodePercent(encodeURIComponent(text)), text);
    }),
  );
});
