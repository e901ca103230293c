import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { readWords } from "../../src/registry/id-words.ts";
import { PackedTable } from "../../src/registry/packed-table.ts";

const wordsOf = (id: string): Uint32Array => {
  const words = new Uint32Array(4);
  assert.ok(readWords(id, words), id);
  return words;
};

const valuesIn = (table: PackedTable, words: Uint32Array): readonly number[] | undefined => {
  const values = new Uint32Array(2);
  return table.get(words, values) ? [...values] : undefined;
};

test("an id reads to its digits", () => {
  const id = randomUUID();
  const hex = [...wordsOf(id)].map((word) => word.toString(16).padStart(8, "0")).join("");
  assert.equal(hex, id.replaceAll("-", ""));
});

const sound = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const noIds: readonly (readonly [name: string, text: string])[] = [
  ["empty", ""],
  ["one character short", sound.slice(1)],
  ["one character long", `${sound}0`],
  ["upper case", sound.toUpperCase()],
  ["without hyphens", sound.replaceAll("-", "").padEnd(36, "0")],
  ["a character beyond Latin-1", `${sound.slice(0, 35)}\u0130`],
  ["a character whose low byte is a digit", `${sound.slice(0, 35)}\u0530`],
  ...[...sound].map(
    (_, at) => [`a bad byte at ${at}`, `${sound.slice(0, at)}g${sound.slice(at + 1)}`] as const,
  ),
];
for (const [name, text] of noIds)
  test(`no id is read from: ${name}`, () => {
    assert.equal(readWords(text, new Uint32Array(4)), false);
  });

const manyWords = (count: number): Uint32Array[] =>
  Array.from({ length: count }, (_, number) => {
    const digest = createHash("sha256").update(String(number)).digest();
    return new Uint32Array([0, 4, 8, 12].map((at) => digest.readUInt32LE(at)));
  });

const known = new Uint8Array(8).fill(7);

/** Of many ids those that meet in one shard of the table with the known seed. */
const crowdOf = (seed: Uint8Array): readonly Uint32Array[] => {
  const table = new PackedTable(seed);
  return manyWords(24_000).filter((words) => {
    let isFirst = false;
    table.set(words, 1, 1);
    table.sweep(0, () => {
      isFirst = true;
      return true;
    });
    return isFirst;
  });
};

const crowd = crowdOf(known);

const ids = crowd.slice(0, 60);
const idAt = (number: number): Uint32Array => ids[number] ?? new Uint32Array(4);

type Step =
  | { readonly kind: "set"; readonly id: number; readonly value: number }
  | { readonly kind: "delete"; readonly id: number }
  | { readonly kind: "sweep"; readonly below: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("set"), id: fc.nat(59), value: fc.nat(1_000) }),
  fc.record({ kind: fc.constant("delete"), id: fc.nat(59) }),
  fc.record({ kind: fc.constant("sweep"), below: fc.nat(1_000) }),
);

const take = (action: Step, table: PackedTable, model: Map<number, number>): void => {
  switch (action.kind) {
    case "set":
      table.set(idAt(action.id), action.value, action.id);
      model.set(action.id, action.value);
      return;
    case "delete":
      assert.equal(table.delete(idAt(action.id)), model.delete(action.id));
      return;
    case "sweep":
      for (let shard = 0; shard < table.shards; shard++)
        table.sweep(shard, (value) => value < action.below);
      for (const [id, value] of model) if (value < action.below) model.delete(id);
  }
};

test("the table agrees with a Map over any order of sets, deletes and sweeps", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const table = new PackedTable(known);
      const model = new Map<number, number>();
      for (const action of steps) take(action, table, model);
      assert.equal(table.size, model.size);
      for (const number of ids.keys()) {
        const value = model.get(number);
        const held = value === undefined ? undefined : [value, number];
        assert.deepEqual(valuesIn(table, idAt(number)), held);
      }
    }),
    { numRuns: 200 },
  );
});

test("a hundred thousand ids are all found, and memory is given back when they go", () => {
  const table = new PackedTable(randomBytes(8));
  const empty = table.bytes;
  const many = manyWords(100_000);
  for (const [number, words] of many.entries()) table.set(words, number, ~number);
  assert.equal(table.size, many.length);
  assert.ok(table.bytes < many.length * 72, `${table.bytes} bytes`);
  for (const [number, words] of many.entries())
    assert.deepEqual(valuesIn(table, words), [number, ~number >>> 0]);
  for (const words of many) table.delete(words);
  assert.equal(table.size, 0);
  assert.ok(table.bytes <= empty * 4, `${table.bytes} bytes of ${empty}`);
});

/** The most ids that one shard of a table holds. */
const largestShare = (seed: Uint8Array, ids: readonly Uint32Array[]): number => {
  const table = new PackedTable(seed);
  for (const words of ids) table.set(words, 1, 1);
  let largest = 0;
  for (let shard = 0; shard < table.shards; shard++) {
    let count = 0;
    table.sweep(shard, () => {
      count++;
      return false;
    });
    largest = Math.max(largest, count);
  }
  return largest;
};

test("ids chosen to crowd one process's table do not crowd another's", () => {
  assert.equal(largestShare(known, crowd), crowd.length);
  assert.ok(crowd.length > 60);
  assert.ok(largestShare(randomBytes(8), crowd) < 20);
});

test("ids that differ in few bits are spread over all shards", () => {
  const alike = Array.from({ length: 25_600 }, (_, number) => new Uint32Array([0, 0, 0, number]));
  const share = largestShare(randomBytes(8), alike);
  assert.ok(share < 200, `${share} of 25,600 in one of 256 shards`);
});
