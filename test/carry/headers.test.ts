/** What may stand in a head, on the way to an agent and back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { allToAgent, toAgent, toClient } from "../../src/carry/headers.ts";
import type { Exchange } from "../../src/ports.ts";

const exchangeWith = (secret: string): Exchange => {
  const client = { address: "10.0.0.1", authority: "gate", scheme: "http" };
  const part: unknown = { id: "r-1", client, credential: { secret, source: "handshake" } };
  return part as Exchange; // all that the head is made of
};

for (const secret of ["a b", "a\r\nX-Forwarded-For: 10.9.9.9", "a\0", "é", "\u2028"])
  test(`a token like ${JSON.stringify(secret)}, which no header can carry, is refused`, () => {
    for (const make of [toAgent, allToAgent])
      assert.throws(() => make(exchangeWith(secret)), { code: "permission_denied" });
  });

for (const [given, passed] of [
  ['"5-1"', '"5-1"'],
  ['W/"5-1"', 'W/"5-1"'],
  ["5-1", undefined],
  ['"5"1"', undefined],
  ['"a b"', undefined],
] as const)
  test(`an agent's ETag ${given} is ${passed === undefined ? "no" : "an"} entity tag`, () => {
    assert.equal(toClient({ etag: given }, "file", "n")["ETag"], passed);
  });
