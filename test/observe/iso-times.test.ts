import assert from "node:assert/strict";
import { test } from "node:test";
import { isoTimes } from "../../src/observe/iso-times.ts";

test("times are those of Date, whichever way the clock goes", () => {
  let now = 0;
  const time = isoTimes(() => now);
  const moments = [
    0, 1, 999, 1_000, 1_700_000_000_000, 1_700_000_000_007, 1_700_000_000_999, 1_700_000_001_000,
    1_700_000_000_050, 1_700_000_000_050.9, -1, -1_000, -999.5, 253_402_300_800_000,
  ]; // biome-ignore format: a list
  for (const moment of moments) {
    now = moment;
    assert.equal(time(), new Date(moment).toISOString());
  }
});
