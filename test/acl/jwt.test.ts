/** JWTs as attackers make them (hardening A1 to A4), and the keys behind them. */
import assert from "node:assert/strict";
import {
  createHmac,
  createPublicKey,
  createSign,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import jwt, { type Algorithm } from "jsonwebtoken";
import { openFileSource } from "../../src/acl/file-source.ts";
import type { Issuer } from "../../src/acl/jwt-issuer.ts";
import { createJwtSource, type JwtSource } from "../../src/acl/jwt-source.ts";
import { until } from "../support/processes.ts";
import { aclDirectory, listen, movedClock, never, reader, readLog } from "./support.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const otherRsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const weakRsa = generateKeyPairSync("rsa", { modulusLength: 1024 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });

const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();
const jwk = (key: KeyObject, kid: string): object => ({
  ...key.export({ format: "jwk" }),
  kid,
  use: "sig",
});

const issuerName = "https://issuer.test";
const base: Issuer = {
  issuer: issuerName,
  audiences: ["serai"],
  algorithms: "RS",
  publicKeys: [pem(rsa.publicKey)],
  bindings: [
    { claim: "groups", value: "readers", policies: ["reader", "gone"] },
    { claim: "realm.roles", glob: "admin-*", management: true },
  ],
};

const nowSeconds = (): number => Math.floor(Date.now() / 1_000);

const claims = (changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => {
  const all: Record<string, unknown> = {
    iss: issuerName,
    aud: "serai",
    sub: "alice",
    iat: nowSeconds(),
    exp: nowSeconds() + 600,
    groups: ["readers"],
    ...changes,
  };
  for (const [name, value] of Object.entries(all)) if (value === undefined) delete all[name];
  return all;
};

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Signs anything, also what the library would not. */
const raw = (header: object, payload: unknown, key = rsa.privateKey): string => {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${createSign("sha256").update(text).sign(key, "base64url")}`;
};

const rs256 = (changes: Readonly<Record<string, unknown>> = {}): string =>
  raw({ alg: "RS256", typ: "JWT" }, claims(changes));

const encodeAnything = (value: unknown): string => {
  try {
    return encode(value);
  } catch {
    return ""; // fast-check makes bigints too
  }
};

interface Setting extends AsyncDisposable {
  readonly source: JwtSource;
  readonly clock: ReturnType<typeof movedClock>;
  readonly log: ReturnType<typeof readLog>;
}

const setUp = async (...issuers: readonly Issuer[]): Promise<Setting> => {
  await using building = new AsyncDisposableStack(); // what has no sound issuer leaves nothing
  const files = building.use(aclDirectory({ reader }));
  const clock = movedClock();
  const log = readLog();
  const policies = await openFileSource({ clock, log }, { ...files, pollMs: 3_600_000 });
  building.defer(() => policies.close(never));
  const source = createJwtSource({ clock, log, policies }, { issuers });
  building.defer(() => source.close());
  const stack = building.move();
  return { source, clock, log, [Symbol.asyncDispose]: () => stack.disposeAsync() };
};

const refused = { name: "GatewayError", code: "permission_denied", status: 403 };

test("a sound JWT has the policies of the bindings that match", async () => {
  await using setting = await setUp(base);
  const principal = await setting.source.jwt(rs256(), never);
  assert.equal(principal.accessorId, `jwt:${issuerName}:alice`);
  assert.deepEqual(principal.policies, ["reader"]);
  assert.equal(principal.type, "client");
  assert.ok(principal.acl.namespace("default", "read-job"));
  assert.ok(!principal.acl.node("read"));
});

test("a nested claim and a pattern can bind management", async () => {
  await using setting = await setUp(base);
  const text = rs256({ groups: undefined, realm: { roles: ["x", "admin-eu"] } });
  assert.ok((await setting.source.jwt(text, never)).acl.management);
});

test("a claim whose own name has dots is found before a nested one", async () => {
  const name = "https://claims.test/groups";
  await using setting = await setUp({
    ...base,
    bindings: [{ claim: name, value: "1", policies: ["reader"] }],
  });
  const principal = await setting.source.jwt(rs256({ [name]: 1 }), never);
  assert.deepEqual(principal.policies, ["reader"]);
});

const hs256WithPublicPem = (): string => {
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims())}`;
  return `${text}.${createHmac("sha256", pem(rsa.publicKey)).update(text).digest("base64url")}`;
};

const forged: Readonly<Record<string, () => string>> = {
  "alg none": () => `${encode({ alg: "none" })}.${encode(claims())}.`,
  "alg None with a signature": () => raw({ alg: "None" }, claims()),
  "HS256 keyed with the public key": hs256WithPublicPem,
  "another family (PS256) with the right key": () =>
    jwt.sign(claims(), rsa.privateKey, { algorithm: "PS256" }),
  "an EC key's token": () => jwt.sign(claims(), ec.privateKey, { algorithm: "ES256" }),
  "an RS256 header over an EC signature": () => raw({ alg: "RS256" }, claims(), ec.privateKey),
  "a key that is not the issuer's": () => raw({ alg: "RS256" }, claims(), otherRsa.privateKey),
  "a key in the header": () =>
    raw(
      {
        alg: "RS256",
        jwk: otherRsa.publicKey.export({ format: "jwk" }),
        jku: "http://127.0.0.1:1/",
      },
      claims(),
      otherRsa.privateKey,
    ),
  "no exp": () => rs256({ exp: undefined }),
  "no iat": () => rs256({ iat: undefined }),
  "no iss": () => rs256({ iss: undefined }),
  "no aud": () => rs256({ aud: undefined }),
  "no sub": () => rs256({ sub: undefined }),
  "an empty sub": () => rs256({ sub: "" }),
  "a sub that is no string": () => rs256({ sub: { x: 1 } }),
  "a sub of more than 256 characters": () => rs256({ sub: "a".repeat(257) }),
  "exp as text": () => rs256({ exp: String(nowSeconds() + 600) }),
  "a foreign issuer": () => rs256({ iss: "https://other.test" }),
  "issuer named constructor": () => rs256({ iss: "constructor" }),
  "issuer as a list": () => rs256({ iss: [issuerName] }),
  "a foreign audience": () => rs256({ aud: ["nomadproject.io"] }),
  expired: () => rs256({ iat: nowSeconds() - 700, exp: nowSeconds() - 100 }),
  "not valid yet": () => rs256({ nbf: nowSeconds() + 100 }),
  "issued in the future": () => rs256({ iat: nowSeconds() + 100, exp: nowSeconds() + 200 }),
  "a life of more than a day": () => rs256({ exp: nowSeconds() + 86_401 }),
  "expiry before issue": () => rs256({ iat: nowSeconds() + 20, exp: nowSeconds() + 10 }),
  "crit in the header": () => raw({ alg: "RS256", crit: ["b64"], b64: false }, claims()),
  "a payload that is a list": () => raw({ alg: "RS256" }, [claims()]),
  "a payload that is a string": () => raw({ alg: "RS256", typ: "JWT" }, "alice"),
  "a payload that is null": () => raw({ alg: "RS256", typ: "JWT" }, null),
  "no binding that matches": () => rs256({ groups: ["writers"] }),
  "a binding's value as a part only": () => rs256({ groups: "readers,admins" }),
  "no claims to bind": () => rs256({ groups: undefined }),
  "a changed payload": () => {
    const [header, , signature] = rs256().split(".");
    return `${header}.${encode(claims({ sub: "root" }))}.${signature}`;
  },
  "no signature": () => `${rs256().split(".").slice(0, 2).join(".")}.`,
  garbage: () => "not-a-token",
  "two dots": () => "..",
  "a kid that is a list": () => raw({ alg: "RS256", kid: ["a"] }, claims()),
};
for (const [name, make] of Object.entries(forged))
  test(`refused: ${name}`, async () => {
    await using setting = await setUp(base);
    const text = make();
    await assert.rejects(async () => await setting.source.jwt(text, never), refused);
    assert.ok(!JSON.stringify(setting.log.lines).includes(text));
    assert.throws(() => setting.source.jwt(text, never), refused, "and remembered as refused");
  });

test("the leeway is 30 s for the issuer's clock, and a right ends exactly at expiry by ours", async () => {
  await using setting = await setUp(base);
  const exp = nowSeconds() + 5;
  const principal = await setting.source.jwt(rs256({ exp }), never);
  assert.equal(principal.expiresAtMs, exp * 1_000);
  const late = await setting.source.jwt(
    rs256({ iat: nowSeconds() - 100, exp: nowSeconds() - 20 }),
    never,
  );
  assert.ok((late.expiresAtMs ?? 0) > Date.now());
});

test("what was accepted is not served after its expiry out of the cache", async () => {
  await using setting = await setUp(base);
  const text = rs256({ exp: nowSeconds() + 5 });
  await setting.source.jwt(text, never);
  setting.clock.move(6_000);
  assert.throws(() => setting.source.jwt(text, never), refused);
});

for (const [algorithms, algorithm, pair] of [
  ["PS", "PS384", rsa],
  ["ES", "ES256", ec],
  ["RS", "RS512", rsa],
] as const)
  test(`${algorithm} is accepted where the issuer's family is ${algorithms}`, async () => {
    await using setting = await setUp({ ...base, algorithms, publicKeys: [pem(pair.publicKey)] });
    const signed = jwt.sign(claims(), pair.privateKey, {
      algorithm: algorithm satisfies Algorithm,
    });
    assert.equal((await setting.source.jwt(signed, never)).name, "alice");
  });

test("settings that open a hole are refused at the start", async () => {
  const faulty: Readonly<Record<string, Issuer>> = {
    "an RSA key of 1024 bits": { ...base, publicKeys: [pem(weakRsa.publicKey)] },
    "a private key": {
      ...base,
      publicKeys: [rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString()],
    },
    "no audience": { ...base, audiences: [] },
    "no binding": { ...base, bindings: [] },
    "no key": { ...base, publicKeys: [] },
    "keys over plain http": { ...base, publicKeys: [], ...{ jwksUri: "http://10.0.0.1/jwks" } },
  };
  for (const [name, issuer] of Object.entries(faulty))
    await assert.rejects(async () => await setUp(issuer), Error, name);
  await assert.rejects(async () => await setUp(base, base), /configured twice/);
});

test("a public key that is none is told by its issuer and setting", async () => {
  await assert.rejects(
    async () => await setUp({ ...base, publicKeys: ["/etc/serai/issuer.pem"] }),
    new RegExp(`${base.issuer}: public_keys holds what is no public key in PEM`),
  );
});

test("a JWKS file that is not there, or is none, is told at the start by issuer, name and reason", async () => {
  using files = aclDirectory();
  const file = path.join(files.directory, "jwks.json");
  const told = async (words: string): Promise<void> =>
    await assert.rejects(async () => await setUp({ ...keyless, jwksFile: file }), {
      message: `${base.issuer}: ${file}: ${words}`,
    });
  await told("no such file or directory (ENOENT)");
  for (const text of ["", "half a fi", "[]", '{"keys":1}']) {
    writeFileSync(file, text);
    await told("holds no JWKS, a JSON object with a list of keys");
  }
});

test("whatever is made up of three parts is refused, with no other error", async () => {
  await using setting = await setUp(base);
  const part = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.json({ maxDepth: 2 }).map((text) => Buffer.from(text).toString("base64url")),
    fc.record({ alg: fc.constantFrom("RS256", "none", 1), kid: fc.anything() }).map(encodeAnything),
    fc.constantFrom(...rs256({ aud: "other" }).split(".")),
  );
  await fc.assert(
    fc.asyncProperty(part, part, part, async (head, body, signature) => {
      const text = [head, body, signature].join(".");
      await assert.rejects(async () => await setting.source.jwt(text, never), refused);
    }),
    { numRuns: 500, examples: [["", "", ""]] },
  );
});

/* ---- fetched keys ---- */

const withKid = (kid: string, key = rsa.privateKey): string =>
  jwt.sign(claims(), key, { algorithm: "RS256", keyid: kid });

const { publicKeys: _unused, ...keyless } = base as Extract<Issuer, { publicKeys: unknown }>;

interface Jwks {
  answer: { status: number; body: string };
  fetches: number;
}

const jwksServer = async (keys: readonly object[]) => {
  const jwks: Jwks = { answer: { status: 200, body: JSON.stringify({ keys }) }, fetches: 0 };
  const server = await listen((_request, response) => {
    jwks.fetches++;
    response.writeHead(jwks.answer.status).end(jwks.answer.body);
  });
  return { server, jwks };
};

test("10,000 random key ids cause at most two fetches, and known keys serve meanwhile", async () => {
  const { server, jwks } = await jwksServer([jwk(rsa.publicKey, "a")]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  assert.equal((await setting.source.jwt(withKid("a"), never)).name, "alice");
  const [head = "", ...rest] = withKid("a").split(".");
  assert.ok(head);
  const outcomes = new Set<string>();
  const tryOne = async (index: number): Promise<void> => {
    const header = encode({ alg: "RS256", kid: `random-${index}` });
    try {
      await setting.source.jwt([header, ...rest].join("."), never);
    } catch (error) {
      outcomes.add(error instanceof Error ? error.message : "?");
    }
  };
  for (let at = 0; at < 10_000; at += 100)
    await Promise.all(Array.from({ length: 100 }, (_, index) => tryOne(at + index)));
  assert.deepEqual([...outcomes], ["Permission denied"]);
  assert.ok(jwks.fetches <= 2, `${jwks.fetches} fetches`);
});

test("a key that says its algorithm is none of another's", async () => {
  const { server } = await jwksServer([{ ...jwk(rsa.publicKey, "a"), alg: "RS512" }]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  await assert.rejects(async () => await setting.source.jwt(withKid("a"), never), refused);
  const signed = jwt.sign(claims(), rsa.privateKey, { algorithm: "RS512", keyid: "a" });
  assert.equal((await setting.source.jwt(signed, never)).name, "alice");
});

test("a rotated key is fetched when its id is first seen, at most once in 30 s", async () => {
  const { server, jwks } = await jwksServer([jwk(rsa.publicKey, "a")]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  await setting.source.jwt(withKid("a"), never);
  jwks.answer.body = JSON.stringify({ keys: [jwk(otherRsa.publicKey, "b")] });
  const rotated = withKid("b", otherRsa.privateKey);
  await assert.rejects(async () => await setting.source.jwt(rotated, never), refused);
  setting.clock.move(30_001);
  assert.equal((await setting.source.jwt(rotated, never)).name, "alice");
  assert.equal(jwks.fetches, 2);
  await assert.rejects(async () => await setting.source.jwt(withKid("a"), never), refused);
});

test("a key that its issuer has taken back serves for five minutes, and is not asked for before", async () => {
  const { server, jwks } = await jwksServer([jwk(rsa.publicKey, "a")]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  const show = async (sub: string) =>
    setting.source.jwt(
      jwt.sign(claims({ sub, exp: nowSeconds() + 6_000 }), rsa.privateKey, {
        algorithm: "RS256",
        keyid: "a",
      }),
      never,
    );
  await show("one");
  jwks.answer.body = JSON.stringify({ keys: [jwk(otherRsa.publicKey, "b")] });
  setting.clock.move(300_000);
  await show("two");
  await fetch(server.origin); // what was asked before has been heard
  assert.equal(jwks.fetches, 2);
  setting.clock.move(1);
  await show("three");
  let nth = 4;
  await until("it is taken back", () =>
    show(`${nth++}`).then(
      () => false,
      () => true,
    ),
  );
  assert.equal(jwks.fetches, 3);
});

test("a JWT without a key id is checked with the issuer's only key, and refused where it has two", async () => {
  const [one, two] = [jwk(rsa.publicKey, "a"), jwk(otherRsa.publicKey, "b")];
  for (const keys of [[one], [one, two]]) {
    const { server } = await jwksServer(keys);
    await using _server = server;
    await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
    const shown = (async () => await setting.source.jwt(rs256(), never))();
    if (keys.length === 1) assert.equal((await shown).name, "alice");
    else await assert.rejects(shown, refused);
  }
});

test("while the JWKS is away, or nonsense, the keys it gave serve", async () => {
  const { server, jwks } = await jwksServer([jwk(rsa.publicKey, "a")]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  await setting.source.jwt(withKid("a"), never);
  for (const answer of [
    { status: 500, body: "down" },
    { status: 200, body: "<html>" },
    { status: 200, body: '{"keys":[]}' },
    { status: 200, body: `{"keys":["${"x".repeat(300_000)}"]}` },
  ]) {
    jwks.answer = answer;
    setting.clock.move(31_000);
    const fetched = jwks.fetches;
    await assert.rejects(
      async () => await setting.source.jwt(withKid(`z${fetched}`), never),
      refused,
    );
    assert.equal(jwks.fetches, fetched + 1);
    assert.equal((await setting.source.jwt(withKid("a"), never)).name, "alice");
  }
});

test("keys that were never seen make the identity unavailable, and are asked for again soon", async () => {
  const { server, jwks } = await jwksServer([jwk(rsa.publicKey, "a")]);
  await using _server = server;
  const sound = jwks.answer;
  jwks.answer = { status: 503, body: "" };
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  const away = { code: "identity_unavailable", status: 503 };
  await assert.rejects(async () => await setting.source.jwt(withKid("a"), never), away);
  await assert.rejects(async () => await setting.source.jwt(withKid("a"), never), away);
  assert.equal(jwks.fetches, 1);
  jwks.answer = sound;
  setting.clock.move(2_000);
  assert.equal((await setting.source.jwt(withKid("a"), never)).name, "alice");
});

test("weak keys and symmetric keys of a JWKS are not used", async () => {
  const octet = { kty: "oct", k: Buffer.from(pem(rsa.publicKey)).toString("base64url"), kid: "o" };
  const { server } = await jwksServer([
    jwk(weakRsa.publicKey, "weak"),
    octet,
    jwk(rsa.publicKey, "a"),
  ]);
  await using _server = server;
  await using setting = await setUp({ ...keyless, jwksUri: `${server.origin}/jwks` });
  assert.equal((await setting.source.jwt(withKid("a"), never)).name, "alice");
  const text = `${encode({ alg: "RS256", kid: "weak" })}.${encode(claims())}`;
  const weak = `${text}.${createSign("sha256").update(text).sign(weakRsa.privateKey, "base64url")}`;
  await assert.rejects(async () => await setting.source.jwt(weak, never), refused);
  const hs = `${encode({ alg: "HS256", kid: "o" })}.${encode(claims())}`;
  const mac = createHmac("sha256", pem(rsa.publicKey)).update(hs).digest("base64url");
  await assert.rejects(async () => await setting.source.jwt(`${hs}.${mac}`, never), refused);
});

test("a JWKS file is read, and read again when a new key id comes", async () => {
  using files = aclDirectory();
  const file = path.join(files.directory, "jwks.json");
  const write = (...keys: readonly object[]): void => writeFileSync(file, JSON.stringify({ keys }));
  write(jwk(rsa.publicKey, "a"));
  await using setting = await setUp({ ...keyless, jwksFile: file });
  assert.equal((await setting.source.jwt(withKid("a"), never)).name, "alice");
  write(jwk(otherRsa.publicKey, "b"), jwk(createPublicKey(rsa.privateKey), "a"));
  setting.clock.move(1_000);
  assert.equal((await setting.source.jwt(withKid("b", otherRsa.privateKey), never)).name, "alice");
  write(jwk(otherRsa.publicKey, "b"));
  setting.clock.move(30_001);
  await assert.rejects(async () => await setting.source.jwt(withKid("a"), never), refused);
  writeFileSync(file, "half a fi");
  setting.clock.move(30_001);
  assert.equal((await setting.source.jwt(withKid("b", otherRsa.privateKey), never)).name, "alice");
});

test("a changed policy reaches JWTs that were accepted before it", async () => {
  using files = aclDirectory({ reader });
  const clock = movedClock();
  const log = readLog();
  const policies = await openFileSource({ clock, log }, { ...files, pollMs: 3_600_000 });
  const source = createJwtSource({ clock, log, policies }, { issuers: [base] });
  const text = rs256();
  assert.ok(!(await source.jwt(text, never)).acl.node("read"));
  files.write("policies/reader.json", '{"node": {"policy": "read"}}');
  await policies.reload();
  assert.ok((await source.jwt(text, never)).acl.node("read"));
  source.close();
  await policies.close(never);
});
