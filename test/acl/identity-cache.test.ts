/** What is forgotten while it is asked for stays forgotten: the answer may be of what was before. */
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
