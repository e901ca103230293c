/** What is forgotten while it is asked for stays forgotten: the answer may be of what was before. And what counts as known. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdentityCache } from "../../src/acl/identity-cache.ts";
import { disabledPrincipal, refused } from "../../src/acl/principals.ts";
import type { Principal } from "../../src/ports.ts";
import { movedClock, never } from "./support.ts";

for (const [what, settle] of [
  ["a right", (asked: PromiseWithResolvers<Principal>) => asked.resolve(disabledPrincipal)],
  ["a refusal", (asked: PromiseWithResolvers<Principal>) => asked.reject(refused())],
] as const)
  test(`${what} that was asked for before everything was forgotten is told to who asked, and not kept`, async () => {
    const questions: PromiseWithResolvers<Principal>[] = [];
    const ask = (): Promise<Principal> => {
      const asked = Promise.withResolvers<Principal>();
      questions.push(asked);
      return asked.promise;
    };
    const cache = new IdentityCache({ clock: movedClock(), ask });
    const first = Promise.resolve(cache.resolve("secret", never)).then(
      () => "a right",
      () => "a refusal",
    );
    cache.clear();
    const [before] = questions;
    if (before) settle(before);
    assert.equal(await first, what);
    const again = cache.resolve("secret", never);
    questions[1]?.resolve(disabledPrincipal);
    assert.equal(await again, disabledPrincipal);
    assert.equal(questions.length, 2);
  });

test("a secret that is known, accepted or refused, or asked for already is a hit; one that has to be asked for is a miss", async () => {
  const looked: string[] = [];
  const ask = async (secret: string): Promise<Principal> => {
    if (secret === "made up") throw refused();
    return disabledPrincipal;
  };
  const lookedUp = (result: "hit" | "miss"): void => void looked.push(result);
  const cache = new IdentityCache({ clock: movedClock(), ask, lookedUp });
  const resolve = async (secret: string) => await cache.resolve(secret, never);
  await Promise.all([resolve("good"), resolve("good")]);
  await assert.rejects(resolve("made up"));
  assert.deepEqual(looked.splice(0), ["miss", "hit", "miss"]);
  await resolve("good");
  await assert.rejects(resolve("made up"));
  assert.deepEqual(looked.splice(0), ["hit", "hit"]);
  cache.clear();
  await resolve("good");
  assert.deepEqual(looked, ["miss"]);
});
