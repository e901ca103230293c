/** A million ids that are not there, straight at the directory: its memory stays, each is asked for once. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { systemClock } from "../../src/lib/clock.ts";
import type { Placement } from "../../src/ports.ts";
import { PackedDirectory } from "../../src/registry/directory.ts";

test("a million unknown ids: one look-up each, and the heap is what it was", {
  timeout: 300_000,
}, async (t) => {
  let asked = 0;
  const feed = {
    state: "ready",
    lagMs: 0,
    lastChangeAtMs: 0,
    follow: () => () => undefined,
    lookup: async (): Promise<Placement | undefined> => {
      asked += 1;
      return undefined;
    },
  } as const;
  const directory = new PackedDirectory({ clock: systemClock, feed }, {});
  const never = new AbortController().signal;
  const round = async (count: number, times: number): Promise<void> => {
    for (let done = 0; done < count; done += 100) {
      const ids = Array.from({ length: 100 }, () => randomUUID());
      const waits = Array.from({ length: times }, () => ids.map((id) => directory.find(id, never)));
      assert.ok((await Promise.all(waits.flat())).every((found) => found === undefined));
    }
  };
  await round(100_000, 3);
  const before = process.memoryUsage().heapUsed;
  await round(900_000, 1);
  const grown = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  t.diagnostic(`${asked} look-ups, ${grown.toFixed(1)} MiB more before a collection`);
  assert.equal(asked, 1_000_000);
  assert.ok(grown < 128, `${grown} MiB`);
  directory.close();
});
