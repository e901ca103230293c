/** Records: what an agent writes is what a gateway reads, however the bytes were cut; what is none is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  beatRecord,
  type Entered,
  enteredRecord,
  RecordReader,
  type Told,
  toldRecord,
} from "../../src/logs/records.ts";

type Heard = { entered: Entered } | { told: Told } | "beat";

const readerOf = (heard: Heard[]): RecordReader =>
  new RecordReader({
    entered: (entered) => heard.push({ entered }),
    told: (told) => heard.push({ told }),
    beat: () => heard.push("beat"),
  });

const entered = fc.record(
  {
    file: fc.string({ maxLength: 60 }),
    index: fc.integer({ min: -3, max: 1e9 }),
    inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
    offset: fc.nat(),
    size: fc.nat(),
    missing: fc.option(fc.string({ maxLength: 60 }), { nil: undefined }),
  },
  { noNullPrototype: true },
);
const told = fc
  .record({
    bytes: fc.uint8Array({ maxLength: 300 }),
    more: fc.nat(),
    size: fc.nat(),
    event: fc.constantFrom("file deleted" as const, "file truncated" as const, undefined),
  })
  .map(({ bytes, more, size, event }) => ({
    bytes: Buffer.from(bytes), end: bytes.length + more, size, event,
  })); // biome-ignore format: a row
const record: fc.Arbitrary<Heard> = fc.oneof(
  entered.map((one) => ({ entered: one })),
  told.map((one) => ({ told: one })),
  fc.constant("beat" as const),
);
const written = (one: Heard): Buffer => {
  if (one === "beat") return Buffer.from(beatRecord);
  return "entered" in one ? Buffer.from(enteredRecord(one.entered)) : toldRecord(one.told);
};

test("what was written is read again, however it was cut", () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 12 }), fc.array(fc.nat()), (records, cuts) => {
      const bytes = Buffer.concat(records.map(written));
      const heard: Heard[] = [];
      const reader = readerOf(heard);
      let at = 0;
      for (const to of [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort(
        (a, b) => a - b,
      )) {
        reader.read(Buffer.from(bytes.subarray(at, to)));
        at = to;
      }
      assert.deepEqual(heard, records);
      assert.equal(reader.isBetween, true);
    }),
  );
});

test("a body that ends within a record is not whole", () => {
  const bytes = toldRecord({ bytes: Buffer.from("abc"), end: 3, size: 3, event: undefined });
  for (let length = 1; length < bytes.length; length++) {
    const reader = readerOf([]);
    reader.read(bytes.subarray(0, length));
    assert.equal(reader.isBetween, false, `after ${length} bytes`);
  }
});

const wrong: readonly (readonly [name: string, text: string])[] = [
  ["no JSON", "x\n"],
  ["no object", "[]\n"],
  ["a line without end", "x".repeat(5_000)],
  ["more bytes than a piece may have", '{"bytes":65537,"end":65537,"size":1}\n'],
  ["a negative length", '{"bytes":-1,"end":0,"size":1}\n'],
  ["a length that is none", '{"bytes":"1","end":0,"size":1}\nx'],
  ["no end", '{"bytes":1,"size":1}\nx'],
  ["a piece longer than its file", '{"bytes":2,"end":1,"size":1}\nxx'],
  ["a file without inode", '{"file":"f","index":0,"offset":0,"size":0}\n'],
  ["a file without index", '{"file":"f","inode":"1","offset":0,"size":0}\n'],
];
for (const [name, text] of wrong)
  test(`${name} is refused`, () => {
    assert.throws(() => readerOf([]).read(Buffer.from(text)), { code: "ERR_INVALID_RECORD" });
  });
