/** What a reader of frames is told beside them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Marks } from "../../src/logs/marks.ts";
import { logsParameters, parseQuery } from "../../src/parameters.ts";

const marks = (): Marks =>
  new Marks({ id: "a" }, logsParameters(parseQuery("task=web&type=stdout&resume=true")));
const piece = { bytes: Buffer.from("x"), end: 1 };

test("what is missing before a file that stays empty is told before the next one", () => {
  const one = marks();
  one.enter({ index: 3, inode: "3" }, "web.stdout.1 to 2");
  one.enter({ index: 4, inode: "4" });
  assert.equal(one.beside(piece).before, '{"Lost":"web.stdout.1 to 2"}');
  assert.equal(one.beside(piece).before, "");
});

test("all that is missing is told, also what two files in a row lack before them", () => {
  const one = marks();
  one.enter({ index: 3, inode: "3" }, "web.stdout.1 to 2");
  one.enter({ index: 5, inode: "5" }, "web.stdout.4 to 4");
  assert.equal(one.beside(piece).before, '{"Lost":"web.stdout.1 to 2, web.stdout.4 to 4"}');
});
