/** One timer for many: it runs while somebody has joined. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRounds } from "../../src/tunnel/rounds.ts";
import { until } from "../support/processes.ts";

test("each round calls all that have joined, and nobody who has left, be it in the same round", async () => {
  const rounds = createRounds(1);
  const called: string[] = [];
  const leaveSecond = rounds.join(() => void called.push("second"));
  const leaveFirst = rounds.join(() => {
    called.push("first");
    leaveThird();
  });
  const leaveThird = rounds.join(() => void called.push("third"));
  await until("two rounds", () => called.filter((who) => who === "first").length >= 2);
  assert.deepEqual(called.slice(0, 4), ["second", "first", "second", "first"]);
  leaveFirst();
  leaveSecond();
  leaveSecond();
  const before = called.length;
  const leaveFourth = rounds.join(() => void called.push("fourth"));
  await until("it begins anew", () => called.includes("fourth"));
  leaveFourth();
  assert.deepEqual(new Set(called.slice(before)), new Set(["fourth"]));
});
