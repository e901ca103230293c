/** JWTs of configured issuers in front of a cluster: their policies are the servers', read with the gateway's own token. */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { test } from "node:test";
import jwt from "jsonwebtoken";
import type { Issuer } from "../../src/acl/jwt-issuer.ts";
import { createJwtSource } from "../../src/acl/jwt-source.ts";
import { issuerTest, shownUpstream, withIssuers } from "../../src/acl/nomad-issuers.ts";
import { createNomadPolicies } from "../../src/acl/nomad-policies.ts";
import { createNomadSource } from "../../src/acl/nomad-source.ts";
import { disabledPrincipal } from "../../src/acl/principals.ts";
import { createServers } from "../../src/nomad/servers.ts";
import { aclServer, cluster } from "./nomad-acl-server.ts";
import { inNamespace, onNodes } from "./nomad-rules.ts";
import { movedClock, never, readLog } from "./support.ts";

const refused = { name: "GatewayError", code: "permission_denied" };
const away = { name: "GatewayError", code: "identity_unavailable" };

const rejects = (resolve: () => unknown, expected: object): Promise<void> =>
  assert.rejects(async () => await resolve(), expected);

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const issuer: Issuer = {
  issuer: "https://issuer.test",
  audiences: ["serai"],
  algorithms: "ES",
  publicKeys: [publicKey.export({ type: "spki", format: "pem" }).toString()],
  bindings: [
    { claim: "group", value: "readers", policies: ["reader", "absent"] },
    { claim: "group", value: "admins", management: true },
  ],
};

const sign = (group: string, issued = issuer.issuer): string =>
  jwt.sign({ group }, privateKey, {
    algorithm: "ES256",
    issuer: issued,
    audience: "serai",
    subject: "alice",
    expiresIn: 3_600,
  });

const hour = 3_600_000;

/** A cluster, the gateway's own token of it, and sources before it. No timer fires unless asked for: tests refresh. */
const rig = async ({
  type = "management" as "management" | "client",
  names = ["reader", "absent"],
  pollMs = hour,
} = {}) => {
  const clock = movedClock();
  const log = readLog();
  const known = cluster(() => clock.now());
  known.policies.set("reader", { index: 1, rules: inNamespace("default", "read-job") });
  const token = randomUUID();
  known.tokens.set(token, { AccessorID: "own", Type: type, Policies: [] });
  const server = await aclServer(known);
  const servers = createServers({
    addresses: [server.origin],
    connectTimeoutMs: 1_000,
    tls: undefined,
  });
  const policies = await createNomadPolicies(
    { clock, log, servers, token: () => token },
    { names, pollMs },
  );
  const jwts = createJwtSource({ clock, log, policies }, { issuers: [issuer] });
  const nomad = createNomadSource({ clock, log, servers });
  const ofIssuer = issuerTest([issuer]);
  const sources = withIssuers(nomad, jwts, ofIssuer);
  const resolve = async (secret: string) => await sources.jwt?.(secret, never);
  return {
    clock,
    log,
    known,
    token,
    server,
    policies,
    nomad,
    sources,
    resolve,
    async [Symbol.asyncDispose]() {
      jwts.close();
      await policies.close(never);
      await nomad.close(never);
      await servers.close(never);
      await server[Symbol.asyncDispose]();
    },
  };
};

test("a JWT of a configured issuer has the servers' policies by name; one that does not exist is skipped", async () => {
  await using here = await rig();
  const principal = await here.resolve(sign("readers"));
  assert.equal(principal?.accessorId, "jwt:https://issuer.test:alice");
  assert.deepEqual(principal?.policies, ["reader"]);
  assert.ok(principal?.acl.namespace("default", "read-job") && !principal.acl.node("read"));
  assert.ok((await here.resolve(sign("admins")))?.acl.management);
  await rejects(() => here.resolve(sign("strangers")), refused);
});

test("such a JWT is not shown to the servers, and the policies are read with the gateway's own token", async () => {
  await using here = await rig();
  const secret = sign("readers");
  await here.resolve(secret);
  assert.ok(here.server.asked.every((one) => one.secret !== secret));
  const read = here.server.asked.filter(({ path }) => path.startsWith("/v1/acl/policy/"));
  assert.deepEqual(
    read.map((one) => one.secret),
    [here.token, here.token],
  );
});

test("a JWT of another issuer is the servers' to judge", async () => {
  await using here = await rig();
  const secret = sign("readers", "https://nomad.test");
  await rejects(() => here.resolve(secret), refused);
  here.nomad.forget();
  here.known.identities.set(secret, ["reader"]);
  assert.deepEqual((await here.resolve(secret))?.policies, ["reader"]);
});

test("tokens and anonymous are the servers' as before", async () => {
  await using here = await rig();
  assert.equal((await here.sources.anonymous(never)).accessorId, "anonymous");
  assert.ok((await here.sources.token(here.token, never)).acl.management);
});

test("a policy that changes, comes or goes counts with the next look", async () => {
  await using here = await rig();
  const secret = sign("readers");
  await here.resolve(secret);
  here.known.policies.set("reader", { index: 2, rules: inNamespace("default", "list-jobs") });
  here.known.policies.set("absent", { index: 3, rules: onNodes("read") });
  assert.ok(await here.policies.refresh());
  const changed = await here.resolve(secret);
  assert.ok(!changed?.acl.namespace("default", "read-job") && changed?.acl.node("read"));
  here.known.policies.clear();
  assert.ok(await here.policies.refresh());
  assert.deepEqual((await here.resolve(secret))?.policies, []);
});

test("it looks again by itself", async () => {
  await using here = await rig({ pollMs: 10 });
  const changed = Promise.withResolvers<void>();
  here.policies.onChange(changed.resolve);
  here.known.policies.delete("reader");
  await changed.promise;
  assert.deepEqual(here.policies.policies.all, []);
});

test("listeners are told of changes alone", async () => {
  await using here = await rig();
  let told = 0;
  const leave = here.policies.onChange(() => {
    told++;
  });
  await here.policies.refresh();
  assert.equal(told, 0);
  here.known.policies.delete("reader");
  await here.policies.refresh();
  assert.equal(told, 1);
  leave();
  here.known.policies.set("reader", { index: 4, rules: onNodes("read") });
  await here.policies.refresh();
  assert.equal(told, 1);
});

test("while the servers are away the policies count for 30 s, then nobody who is bound to them is known", async () => {
  await using here = await rig();
  const secret = sign("readers");
  assert.ok(here.policies.policies.get("reader"));
  here.server.instead = (_request, response) => response.writeHead(500).end("No cluster leader");
  here.clock.move(29_999);
  assert.ok(!(await here.policies.refresh()));
  assert.ok(here.policies.policies.get("reader"));
  here.clock.move(2);
  assert.ok(!(await here.policies.refresh()));
  assert.throws(() => here.policies.policies, away);
  await rejects(() => here.resolve(secret), away);
  here.server.instead = undefined;
  assert.ok(await here.policies.refresh());
  assert.deepEqual((await here.resolve(secret))?.policies, ["reader"]);
});

test("a principal made of policies that are too old now is forgotten", async () => {
  await using here = await rig();
  const secret = sign("readers");
  here.clock.move(25_000);
  await here.resolve(secret);
  here.clock.move(5_001);
  here.server.instead = (_request, response) => response.writeHead(500).end();
  await here.policies.refresh();
  await rejects(() => here.resolve(secret), away);
});

test("a policy that the gateway's own token may not read leaves nobody with the others alone", async () => {
  await using here = await rig({ type: "client", names: ["reader", "secret"] });
  here.known.tokens.set(here.token, { AccessorID: "own", Type: "client", Policies: ["reader"] });
  assert.ok(!(await here.policies.refresh()));
  assert.throws(() => here.policies.policies, { ...away, message: /read the policy secret/ });
  await rejects(() => here.resolve(sign("readers")), away);
});

test("a token that holds the policies itself is enough", async () => {
  await using here = await rig({ type: "client", names: ["reader"] });
  here.known.tokens.set(here.token, { AccessorID: "own", Type: "client", Policies: ["reader"] });
  assert.ok(await here.policies.refresh());
  assert.deepEqual((await here.resolve(sign("readers")))?.policies, ["reader"]);
});

test("with ACLs off a JWT of a configured issuer passes as everything else does", async () => {
  await using here = await rig();
  here.server.acls = false;
  assert.equal(await here.resolve(sign("readers")), disabledPrincipal);
  assert.equal(await here.resolve("whatever"), disabledPrincipal);
});

test("agents and servers are shown the service token for such a JWT alone, and for one that was verified", async () => {
  await using here = await rig();
  const shown = shownUpstream(issuerTest([issuer]), () => here.token);
  const shownFor = async (secret: string): Promise<string | undefined> => {
    const principal = await here.resolve(secret);
    assert.ok(principal);
    return shown({ secret, source: "bearer" }, principal).secret;
  };
  const workload = sign("readers", "https://nomad.test");
  here.known.identities.set(workload, ["reader"]);
  assert.equal(await shownFor(sign("readers")), here.token);
  assert.equal(await shownFor(workload), workload);
  here.server.acls = false;
  here.nomad.forget();
  assert.equal(await shownFor(sign("readers")), undefined);
  assert.equal(await shownFor("whatever"), "whatever");
});

test("servers that refuse anonymous callers have looked at a credential: a JWT is verified", async () => {
  await using here = await rig();
  here.server.instead = (_request, response) => response.writeHead(403).end("Permission denied");
  await rejects(() => here.sources.anonymous(never), refused);
  assert.equal((await here.resolve(sign("readers")))?.upstream, "service");
});

test("a binding to what is no policy's name is refused at the start", async () => {
  const servers = createServers({
    addresses: ["http://127.0.0.1:9"],
    connectTimeoutMs: 1_000,
    tls: undefined,
  });
  const needs = { clock: movedClock(), log: readLog(), servers, token: () => "" };
  const names = ["../token/self"];
  await assert.rejects(() => createNomadPolicies(needs, { names }), RangeError);
  await servers.close(never);
});

const issuers: Readonly<Record<string, readonly [secret: string, known: boolean]>> = {
  "a JWT of a configured issuer": [sign("readers"), true],
  "a JWT of another one": [sign("readers", "https://issuer.test/"), false],
  "a UUID": [randomUUID(), false],
  "no JWT": ["abc", false],
  "an issuer that is no text": [
    `e30.${Buffer.from('{"iss":["https://issuer.test"]}').toString("base64url")}.x`,
    false,
  ],
  "a payload that is no object": [
    `e30.${Buffer.from('"https://issuer.test"').toString("base64url")}.x`,
    false,
  ],
  nothing: ["", false],
};
for (const [name, [secret, expected]] of Object.entries(issuers))
  test(`told apart by issuer: ${name}`, () => {
    assert.equal(issuerTest([issuer])(secret), expected);
    assert.equal(issuerTest([])(secret), false);
  });
