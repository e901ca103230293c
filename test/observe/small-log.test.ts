/** A small process' log is the same as the others', line for line. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createLog } from "../../src/observe/log.ts";
import { createSmallLog } from "../../src/observe/small-log.ts";
import type { LogOptions, OpenLog } from "../../src/observe/throttled-log.ts";
import { scratch, soon } from "./support.ts";

const hostile = 'a\r\nb\u001b[31mc\u2028d\u0085e\u202ef\u0000\ud800"\\';
const events: readonly (readonly [object, string])[] = [
  [{}, "plain"],
  [{ node: "n", deep: { a: [1, "b", null, true, undefined] }, at: 9n, none: undefined }, "fields"],
  [{ err: Object.assign(new Error("broken", { cause: new Error("why") }), { code: "E1" }) }, "error"],
  [{ token: "hidden-from-all", text: "Bearer abcdefghijkl" }, "secret=hidden-from-all"],
  [{ [hostile]: hostile }, hostile],
  [{ number: Number.NaN, huge: "x".repeat(5_000), date: new Date(0) }, "odd"],
]; // biome-ignore format: a table

const writtenBy = async (create: (options: LogOptions) => OpenLog): Promise<string> => {
  using at = scratch();
  const log = create({
    level: "info",
    destination: at.file("log"),
    base: { name: "n" },
    linesPerSecond: 1,
  });
  for (const [fields, message] of events)
    for (const level of ["debug", "info", "warn", "error"] as const) log[level](fields, message);
  for (let n = 0; n < 200; n++) log.info({}, "many"); // more than a burst
  await log.close(soon());
  return readFileSync(at.file("log"), "utf8").replace(/"time":"[-\d]+T[\d:.]+Z"/g, '"time":""');
};

test("a small process' log has the lines of the others, byte for byte but for their time", async () => {
  const lines = await writtenBy(createLog);
  assert.match(lines, /^\{"level":"info","time":"","name":"n","msg":"plain"\}\n/);
  assert.match(lines, /"msg":"suppressed \d+ lines"\}\n$/);
  assert.equal(await writtenBy(createSmallLog), lines);
});
