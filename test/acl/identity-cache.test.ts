/** What is forgotten while it is asked for stays forgotten: the answer may be of what was before. And what counts as known. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdentityCache, type IdentityObserver } from "../../src/acl/identity-cache.ts";
import { disabledPrincipal, refused } from "../../src/acl/principals.ts";
import type { Principal } from "../../src/ports.ts";
import { movedClock, never } from "./support.ts";

/** A cache, and what it asks, to be answered by the test. */
const cacheOfQuestions = () => {
  const questions: PromiseWithResolvers<Principal>[] = [];
  const ask = (): Promise<Principal> => {
    const asked = Promise.withResolvers<Principal>();
    questions.push(asked);
    return asked.promise;
  };
  return { cache: new IdentityCache({ clock: movedClock(), ask }), questions };
};

for (const [what, settle] of [
  ["a right", (asked: PromiseWithResolvers<Principal>) => asked.resolve(disabledPrincipal)],
  ["a refusal", (asked: PromiseWithResolvers<Principal>) => asked.reject(refused())],
] as const)
  test(`${what} that was asked for before everything was forgotten is told to who asked, and not kept`, async () => {
    const { cache, questions } = cacheOfQuestions();
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
  const observe: IdentityObserver = {
    lookedUp: (result) => looked.push(result),
    limited: () => {},
  };
  const cache = new IdentityCache({ clock: movedClock(), ask, observe });
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

/** For what would wait without end when it goes wrong. */
const patient = { timeout: 10_000 };

test(
  "one address has no more than a quarter of all questions under way; what is known is answered meanwhile",
  patient,
  async () => {
    const questions = new Map<string, PromiseWithResolvers<Principal>>();
    const ask = (secret: string): Promise<Principal> => {
      const asked = Promise.withResolvers<Principal>();
      questions.set(secret, asked);
      return asked.promise;
    };
    const limited: string[] = [];
    const observe: IdentityObserver = {
      lookedUp: () => {},
      limited: (limit) => limited.push(limit),
    };
    const cache = new IdentityCache({ clock: movedClock(), ask, observe }, { maxFlights: 8 });
    const resolve = async (secret: string, address?: string) =>
      await cache.resolve(secret, never, { secret, source: "header", address });
    const crowded = {
      code: "identity_unavailable",
      message: /too many tokens of this address are being checked/,
    };
    const answer = (secret: string) => questions.get(secret)?.resolve(disabledPrincipal);

    const known = resolve("known", "192.0.2.1");
    answer("known");
    await known;
    const flood = [resolve("a", "192.0.2.1"), resolve("b", "192.0.2.1")];
    await assert.rejects(resolve("c", "192.0.2.1"), crowded);
    assert.equal(await resolve("known", "192.0.2.1"), disabledPrincipal);
    const joined = resolve("a", "192.0.2.1");
    const others = [resolve("d", "192.0.2.2"), resolve("e"), resolve("f"), resolve("g")];
    assert.deepEqual([...questions.keys()], ["known", "a", "b", "d", "e", "f", "g"]);
    assert.deepEqual(limited, ["questions_per_address"]);

    answer("a");
    await joined;
    others.push(resolve("h", "192.0.2.1"));
    await assert.rejects(resolve("i", "192.0.2.1"), crowded);
    for (const secret of questions.keys()) answer(secret);
    await Promise.all([...flood, ...others]);
  },
);

test("once everything is forgotten nobody gets the answer to a question of before, nor a refusal", async () => {
  const { cache, questions } = cacheOfQuestions();
  const first = cache.resolve("secret", never);
  cache.clear();
  const second = Promise.resolve(cache.resolve("secret", never));
  questions[0]?.resolve(disabledPrincipal);
  questions[1]?.reject(refused());
  assert.equal(await first, disabledPrincipal);
  await assert.rejects(second, { code: "permission_denied" });
  cache.clear();
  const third = cache.resolve("secret", never);
  questions[2]?.resolve(disabledPrincipal);
  assert.equal(await third, disabledPrincipal);
});
