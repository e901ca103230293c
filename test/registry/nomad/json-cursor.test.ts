/** The cursor reads what JSON.parse reads, at every cut and over hostile texts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isJsonObject, type Json, stringifyJson } from "../../../src/lib/json.ts";
import {
  lineIndex,
  readAllocation,
  readLine,
  readList,
  readNodeDocument,
} from "../../../src/registry/nomad/documents.ts";
import { JsonCursor, Names } from "../../../src/registry/nomad/json-cursor.ts";
import { Lines } from "../../../src/registry/nomad/lines.ts";
import {
  allocationEvent,
  allocationStub,
  eventLine,
  nodeDocument,
  nodeEvent,
} from "../../support/scripted-nomad.ts";
import { nodeEntry, placementOf } from "./feed-harness.ts";

const bytes = (text: string): Buffer => Buffer.from(text);
const node = nodeEntry({ name: 'küche \\ "3" \u2028' });
const held = (over = {}) => ({
  placement: placementOf(node.id, over),
  createIndex: 7,
  modifyIndex: 9,
});

const checkMember = (cursor: JsonCursor, member: unknown): void => {
  if (typeof member === "string") assert.equal(cursor.text(), member);
  else if (typeof member === "boolean") assert.equal(cursor.flag(), member);
  else if (Array.isArray(member) && cursor.enterArray()) {
    let count = 0;
    for (; cursor.nextElement(); count++) cursor.skip();
    assert.equal(count, member.length);
  } else cursor.skip();
};

test("it walks any JSON to its end, and finds the members of the outermost object", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.stringMatching(/^[A-Za-z0-9_]+$/), fc.jsonValue()),
      fc.constantFrom(0, 1, "\t"),
      (value, space) => {
        const cursor = new JsonCursor(bytes(` ${JSON.stringify(value, undefined, space)}\r\n`));
        const keys: string[] = [];
        assert.ok(cursor.enterObject());
        const names = new Names(Object.keys(value));
        for (let key = cursor.nextName(names); key !== undefined; key = cursor.nextName(names)) {
          keys.push(key);
          checkMember(cursor, value[key]);
        }
        cursor.done();
        assert.deepEqual(keys, Object.keys(JSON.parse(JSON.stringify(value))));
      },
    ),
    { numRuns: 300 },
  );
});

test("a document cut anywhere throws a SyntaxError, and never runs past its end", () => {
  const line = bytes(eventLine(9, [allocationEvent(held()), nodeEvent(node, 9)]).trimEnd());
  assert.equal([...readLine(line)].length, 2);
  for (let end = 0; end < line.length; end += end < 400 ? 1 : 37)
    assert.throws(() => [...readLine(line.subarray(0, end))], SyntaxError, `cut at ${end}`);
});

test("the rest of the last event is passed by once all of it is known, and no event before it", () => {
  const one = allocationEvent(held());
  const whole = bytes(eventLine(9, [one, nodeEvent(node, 9), one]).trimEnd());
  assert.equal([...readLine(whole)].length, 3);
  const alone = eventLine(9, [one]).trimEnd();
  const at = alone.indexOf('"TaskStates":');
  assert.ok(at > 0);
  const broken = `${alone.slice(0, at)}"TaskStates":[[[not even JSON${alone.slice(-3)}`;
  assert.equal([...readLine(bytes(broken))].length, 1);
  const early = broken.replace('"Type":"AllocationUpdated",', "");
  assert.throws(() => [...readLine(bytes(early))], SyntaxError, "its type may come yet");
});

test("bytes of any kind are either read or refused", () => {
  const line = bytes(eventLine(9, [allocationEvent(held())]));
  fc.assert(
    fc.property(fc.nat(line.length - 1), fc.nat(255), (at, byte) => {
      const broken = Buffer.from(line);
      broken[at] = byte;
      try {
        lineIndex(broken);
        assert.ok([...readLine(broken)].length <= 1);
      } catch (error) {
        assert.ok(error instanceof SyntaxError);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("deep nesting is passed without recursion", () => {
  const deep = `{"Events":${"[".repeat(200_000)}${"]".repeat(200_000)},"Index":4}`;
  assert.equal(lineIndex(bytes(deep)), 4);
});

test("an index beyond 2^53 is refused and not rounded", () => {
  assert.equal(lineIndex(bytes('{"Index":9007199254740991}')), 9_007_199_254_740_991);
  assert.throws(() => lineIndex(bytes('{"Index":9007199254740993}')), SyntaxError);
  assert.equal(lineIndex(bytes('{"Index":1.5}')), undefined);
  assert.equal(lineIndex(bytes('{"Index":-1}')), undefined);
  assert.equal(lineIndex(bytes("{}")), undefined);
  assert.throws(() => lineIndex(bytes("7")), SyntaxError);
  assert.throws(() => lineIndex(bytes("{}{}")), SyntaxError);
});

test("allocations and nodes are read out of whole documents, stubs and events", () => {
  const one = held({ terminal: "lost", jobId: 'größe/\\"x"', namespace: "ns" });
  const list = bytes(stringifyJson([allocationStub(one)]));
  assert.deepEqual([...readList(list, readAllocation)], [one.placement]);
  const line = bytes(eventLine(9, [allocationEvent(one, "PlanResult"), nodeEvent(node, 9)]));
  assert.deepEqual(
    [...readLine(line)],
    [
      { kind: "allocation", placement: one.placement },
      { kind: "node", facts: node },
    ],
  );
  assert.deepEqual(readNodeDocument(bytes(stringifyJson(nodeDocument(node)))), node);
});

/** The same document, its members in another order: servers differ in theirs. */
const reordered = (value: Json, arrange: (keys: [string, Json][]) => [string, Json][]): Json => {
  if (Array.isArray(value)) return value.map((one: Json) => reordered(one, arrange));
  if (!isJsonObject(value)) return value;
  const members = arrange(Object.entries(value));
  return Object.fromEntries(members.map(([key, member]) => [key, reordered(member, arrange)]));
};

for (const [order, arrange] of [
  ["reversed", (keys: [string, Json][]) => keys.toReversed()],
  ["sorted", (keys: [string, Json][]) => keys.toSorted(([a], [b]) => (a < b ? -1 : 1))],
] as const)
  test(`members in ${order} order say the same`, () => {
    const one = held({ terminal: "failed" });
    const events = [
      allocationEvent(one),
      nodeEvent(node, 9),
      nodeEvent(node, 9, "NodeDeregistration"),
      { ...allocationEvent(one), Topic: "Job" },
    ];
    const line = bytes(stringifyJson(reordered({ Index: 9, Events: events }, arrange)));
    assert.equal(lineIndex(line), 9);
    assert.deepEqual(
      [...readLine(line)],
      [
        { kind: "allocation", placement: one.placement },
        { kind: "node", facts: node },
        { kind: "node_gone", id: node.id },
      ],
    );
  });

test("topics that were not asked for are passed over", () => {
  const strange = { ...allocationEvent(held()), Topic: "Job" };
  assert.deepEqual([...readLine(bytes(eventLine(3, [strange])))], []);
});

test("lines come out whole, wherever the stream is cut", () => {
  const text = '{}\n{"Index":1,"Events":[]}\n\n{"Index":2}\n';
  const whole = bytes(text);
  for (let cut = 0; cut <= whole.length; cut++) {
    const lines = new Lines(1_000);
    const out = [whole.subarray(0, cut), whole.subarray(cut)].flatMap((part) => [
      ...lines.push(part),
    ]);
    assert.deepEqual(
      out.map((line) => (line.kind === "line" ? line.bytes.toString() : line.kind)),
      ["{}", '{"Index":1,"Events":[]}', "", '{"Index":2}'],
    );
  }
});

test("a line beyond the bound is told as lost and not held", () => {
  const lines = new Lines(10);
  const out = ["{}\n12345", "678", "90123\n", "1234567890\n"].flatMap((part) => [
    ...lines.push(bytes(part)),
  ]);
  assert.deepEqual(
    out.map((line) => (line.kind === "line" ? line.bytes.toString() : line.kind)),
    ["{}", "lost", "1234567890"],
  );
});
