import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Authentication,
  createAuthenticate,
  type IdentitySources,
} from "../../src/acl/authenticate.ts";
import { openFileSource } from "../../src/acl/file-source.ts";
import { unavailable } from "../../src/acl/principals.ts";
import type { Credential } from "../../src/ports.ts";
import { aclDirectory, mint, movedClock, never, reader, readLog } from "./support.ts";

const credential = (secret: string | undefined): Credential => ({ secret, source: "header" });
const refused = { name: "GatewayError", code: "permission_denied", status: 403, close: 1011 };

const setUp = async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  const log = readLog();
  const source = await openFileSource(
    { clock: movedClock(), log },
    { ...files, pollMs: 3_600_000 },
  );
  await source.close(never);
  const asked: string[] = [];
  const results: Authentication[] = [];
  const sources: IdentitySources = {
    anonymous: source.anonymous,
    token: source.token,
    jwt: (text) => {
      asked.push(text);
      throw unavailable("the issuer is away");
    },
  };
  const onAuthentication = (result: Authentication): void => void results.push(result);
  const authenticate = createAuthenticate(sources, { enabled: true, onAuthentication });
  return { secretId, authenticate, sources, asked, results };
};

test("no credential, an empty and a blank one are anonymous; a wrong one never is", async () => {
  const { authenticate, results } = await setUp();
  for (const secret of [undefined, "", "  "]) {
    const principal = await authenticate(credential(secret), never);
    assert.equal(principal.accessorId, "anonymous");
  }
  assert.throws(() => authenticate(credential(mint().secretId), never), refused);
  assert.deepEqual(results, ["accepted", "accepted", "accepted", "refused"]);
});

test("a UUID in any case is an ACL token and is answered without a promise", async () => {
  const { authenticate, secretId, asked } = await setUp();
  for (const secret of [secretId, secretId.toUpperCase(), ` ${secretId} `]) {
    const principal = authenticate(credential(secret), never);
    assert.ok(!(principal instanceof Promise));
    assert.equal(principal.name, "test");
  }
  assert.deepEqual(asked, []);
});

test("anything else is a JWT; a source that is away is not a refusal", async () => {
  const { authenticate, asked, results } = await setUp();
  assert.throws(() => authenticate(credential("a.b.c"), never), {
    code: "identity_unavailable",
    status: 503,
  });
  assert.deepEqual(asked, ["a.b.c"]);
  assert.deepEqual(results, ["failed"]);
});

test("without issuers every other secret is refused", async () => {
  const { sources } = await setUp();
  const authenticate = createAuthenticate({ ...sources, jwt: undefined }, { enabled: true });
  for (const secret of [
    "a.b.c",
    "not-a-token",
    "\u0000",
    "__proto__",
    "36-characters-but-no-uuid-at-all-zz",
  ])
    assert.throws(() => authenticate(credential(secret), never), refused);
});

test("more than 8 KiB is refused before any source sees it", async () => {
  const { authenticate, asked, results } = await setUp();
  for (const secret of ["x".repeat(1_000_000), "x".repeat(8_193), "é".repeat(4_097)])
    assert.throws(() => authenticate(credential(secret), never), refused);
  assert.deepEqual(asked, []);
  assert.deepEqual(results, ["refused", "refused", "refused"]);
  assert.throws(() => authenticate(credential("x".repeat(8_192)), never), { status: 503 });
});

test("with ACLs off everything passes, and no credential is looked at", async () => {
  const { sources, asked } = await setUp();
  const authenticate = createAuthenticate(sources, { enabled: false });
  for (const secret of [undefined, mint().secretId, "a.b.c", "x".repeat(10_000)]) {
    const { accessorId, acl } = await authenticate(credential(secret), never);
    assert.equal(accessorId, "acls-disabled");
    assert.ok(acl.namespace("default", "alloc-exec") && acl.node("write"));
  }
  assert.deepEqual(asked, []);
});
