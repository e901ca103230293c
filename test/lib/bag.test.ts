/** A bag holds what was added and not taken out, like a Set; and unlike one it keeps nothing else alive. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import fc from "fast-check";
import { Bag, type Bagged } from "../../src/lib/bag.ts";

test("whatever comes and goes, it holds what a Set would hold", () => {
  const step = fc.tuple(fc.constantFrom("add", "delete"), fc.nat(9));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const all: Bagged[] = Array.from({ length: 10 }, () => ({ place: -1 }));
      const bag = new Bag<Bagged>();
      const set = new Set<Bagged>();
      for (const [what, nth] of steps) {
        const one = all[nth] ?? { place: -1 };
        if (what === "add") {
          bag.add(one);
          set.add(one);
        } else assert.equal(bag.delete(one), set.delete(one));
        assert.equal(bag.size, set.size);
        for (const each of all) assert.equal(bag.has(each), set.has(each));
      }
      assert.deepEqual(new Set(bag), set);
    }),
  );
});

test("those that are gone through are those of the beginning", () => {
  const bag = new Bag<Bagged>();
  const all = [1, 2, 3].map(() => ({ place: -1 }));
  for (const one of all) bag.add(one);
  const seen: Bagged[] = [];
  for (const one of bag) {
    seen.push(one);
    bag.delete(one);
  }
  assert.deepEqual(new Set(seen), new Set(all));
  assert.equal(bag.size, 0);
});

/** Bytes of the old generation that grow while a few thousand things come and go, in a process of its own. */
const grown = async (kind: "bag" | "map"): Promise<number> => {
  const bag = new URL("../../src/lib/bag.ts", import.meta.url).href;
  const program = `
    import v8 from "node:v8";
    import { Bag } from ${JSON.stringify(bag)};
    const old = () => v8.getHeapSpaceStatistics().find((one) => one.space_name === "old_space").space_used_size;
    const [inBag, inMap] = [new Bag(), new Map()];
    const add = (one) => ${kind === "bag" ? "inBag.add(one)" : "inMap.set(one, 1)"};
    const leave = (one) => ${kind === "bag" ? "inBag.delete(one)" : "inMap.delete(one)"};
    const made = () => ({ place: -1, held: Array.from({ length: 500 }, (_, nth) => ({ nth })) });
    add(made());
    gc(); gc();
    const before = old();
    const live = [];
    for (let nth = 0; nth < 5_000; nth++) {
      const one = made();
      add(one);
      live.push(one);
      if (live.length > 8) leave(live.shift());
    }
    console.log(old() - before);`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...["--expose-gc", "--max-semi-space-size=2", "--no-incremental-marking"],
    ...["--input-type=module", "--eval", program],
  ]);
  return Number(stdout);
};

test("what has left it does not live on", async () => {
  const [bag, map] = await Promise.all([grown("bag"), grown("map")]);
  assert.ok(bag < map / 4, `${bag} bytes have grown old with a bag, ${map} with a Map`);
});
