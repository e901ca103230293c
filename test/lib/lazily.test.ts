import assert from "node:assert/strict";
import { test } from "node:test";
import { lazily } from "../../src/lib/lazily.ts";

test("it is made with the first call, once for all", async () => {
  let made = 0;
  const get = lazily(async () => ++made);
  assert.equal(made, 0);
  assert.deepEqual(await Promise.all([get(), get()]), [1, 1]);
  assert.equal(await get(), 1);
});

test("what failed is made anew by the next call", async () => {
  let tries = 0;
  const get = lazily(async () => {
    tries++;
    if (tries === 1) throw new Error("no descriptor was left");
    return tries;
  });
  await assert.rejects(Promise.all([get(), get()]), /no descriptor/);
  assert.equal(await get(), 2);
});
