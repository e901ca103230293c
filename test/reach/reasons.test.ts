/** Why an agent could not be dialled, and what is no such reason. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { brokenOff } from "../../src/carry/ways.ts";
import { GatewayError, toGatewayError } from "../../src/errors.ts";
import { obstacleOf } from "../../src/reach/reasons.ts";
import { seldom } from "../../src/reach/seldom.ts";

const errno = (code: string): Error => Object.assign(new Error(code), { code });
const because = (cause: unknown): GatewayError =>
  new GatewayError("node_unreachable", { node: "n" }, { cause });

for (const [cause, obstacle] of [
  [errno("ECONNREFUSED"), "refused"],
  [errno("ETIMEDOUT"), "timeout"],
  [errno("CERT_HAS_EXPIRED"), "tls"],
  [errno("ERR_TLS_CERT_ALTNAME_INVALID"), "tls"],
  [errno("ERR_SSL_WRONG_VERSION_NUMBER"), "tls"],
  [errno("EPROTO"), "tls"],
  [new GatewayError("node_unreachable", { reason: "denied" }), "address"],
  [errno("EHOSTUNREACH"), "unreachable"],
  [errno("ENOTFOUND"), "unreachable"],
  [errno("ECONNRESET"), "unreachable"],
  [undefined, "circuit"],
] as const)
  test(`${cause?.message ?? "nothing"} behind a refusal is ${obstacle}`, () => {
    assert.equal(obstacleOf(because(cause)), obstacle);
  });

test("an errno of a connection that stood never says that the agent heard nothing", () => {
  for (const code of ["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNREFUSED"]) {
    const error = errno(code);
    const named = brokenOff(toGatewayError(error, undefined, "n"), error);
    assert.equal(named.code, "upstream_broke", code);
    assert.equal(named.retryable, false);
  }
  const own = because(errno("ETIMEDOUT"));
  assert.equal(brokenOff(toGatewayError(own), own).code, "node_unreachable");
});

test("the same thing is told once in a while, and few things are remembered", () => {
  let now = 0;
  const isToTell = seldom(
    { clock: { now: () => 0, monotonic: () => now } },
    { eachMs: 1_000, max: 2 },
  );
  assert.deepEqual([isToTell("a"), isToTell("a"), isToTell("b")], [true, false, true]);
  now = 1_000;
  assert.equal(isToTell("a"), true);
  assert.equal(isToTell("c"), true, "b, told longest ago, is forgotten");
  assert.equal(isToTell("a"), false);
  assert.equal(isToTell("b"), true);
});
