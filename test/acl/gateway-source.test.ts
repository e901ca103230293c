/** An agent's view of its callers: resolved at the gateway with the caller's own secret (T44, T46, T47). */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import jwt from "jsonwebtoken";
import {
  createGatewaySource,
  type GatewaySource,
  type GatewaySourceOptions,
} from "../../src/acl/gateway-source.ts";
import type { Issuer } from "../../src/acl/jwt-issuer.ts";
import { GatewayError } from "../../src/errors.ts";
import { aclGateway } from "./acl-gateway.ts";
import { aclDirectory, listen, mint, movedClock, never, reader, readLog } from "./support.ts";

const refused = { name: "GatewayError", code: "permission_denied", status: 403 };
const away = { name: "GatewayError", code: "identity_unavailable", status: 503 };

const sourceAt = (origin: string, options: Partial<GatewaySourceOptions> = {}) => {
  const clock = movedClock();
  const log = readLog();
  return { clock, log, source: createGatewaySource({ clock, log }, { origin, ...options }) };
};

const rejects = (resolve: () => unknown, expected: object): Promise<void> =>
  assert.rejects(async () => await resolve(), expected);

test("a client token has its policies, a role's included; a manager everything; anonymous its own", async () => {
  using files = aclDirectory({
    reader,
    nodes: { node: { policy: "write" } },
    anonymous: { agent: { policy: "read" } },
  });
  const client = mint();
  const manager = mint({ type: "management", policies: [] });
  files.tokens(
    [{ ...client.entry, Roles: ["ops"] }, manager.entry],
    [{ Name: "ops", Policies: ["nodes"] }],
  );
  await using gateway = await aclGateway(files);
  const { source } = sourceAt(gateway.origin);

  const principal = await source.token(client.secretId, never);
  assert.deepEqual(principal.policies, ["nodes", "reader"]);
  assert.equal(principal.accessorId, client.entry.AccessorID);
  assert.ok(principal.acl.namespace("default", "read-job") && principal.acl.node("write"));
  assert.ok(!principal.acl.agent("read"));

  assert.ok((await source.token(manager.secretId, never)).acl.management);
  const anonymous = await source.anonymous(never);
  assert.equal(anonymous.accessorId, "anonymous");
  assert.ok(anonymous.acl.agent("read") && !anonymous.acl.node("read"));
});

test("JWTs that the gateway accepts are resolved, a managing one too, and foreign ones are refused", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer: Issuer = {
    issuer: "https://issuer.test",
    audiences: ["serai"],
    algorithms: "ES",
    publicKeys: [publicKey.export({ type: "spki", format: "pem" }).toString()],
    bindings: [
      { claim: "group", value: "readers", policies: ["reader"] },
      { claim: "group", value: "admins", management: true },
    ],
  };
  const sign = (group: string): string =>
    jwt.sign({ group }, privateKey, {
      algorithm: "ES256",
      issuer: issuer.issuer,
      audience: "serai",
      subject: "alice",
      expiresIn: 300,
    });
  using files = aclDirectory({ reader });
  await using gateway = await aclGateway(files, { issuers: [issuer] });
  const { source } = sourceAt(gateway.origin);
  assert.ok(source.jwt);
  const principal = await source.jwt(sign("readers"), never);
  assert.equal(principal.accessorId, "jwt:https://issuer.test:alice");
  assert.deepEqual(principal.policies, ["reader"]);
  assert.ok((principal.expiresAtMs ?? 0) > Date.now());
  const manager = await source.jwt(sign("admins"), never);
  assert.ok(manager.acl.management);
  assert.ok((manager.expiresAtMs ?? 0) > Date.now());
  await rejects(() => source.jwt?.(sign("strangers"), never), refused);
  await rejects(() => source.jwt?.("not-a-token", never), refused);
});

test("an answer is kept for 30 s, a refusal for 2 s, and many at once ask once", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const { source, clock } = sourceAt(gateway.origin);
  await Promise.all(Array.from({ length: 50 }, async () => await source.token(secretId, never)));
  assert.deepEqual(gateway.asked, [
    "/v1/acl/token/self",
    "/v1/acl/policies",
    "/v1/acl/policy/reader",
  ]);
  clock.move(29_000);
  assert.ok(!(source.token(secretId.toUpperCase(), never) instanceof Promise));

  files.tokens([]);
  await gateway.source.reload();
  clock.move(2_000);
  await rejects(() => source.token(secretId, never), refused);
  const asked = gateway.asked.length;
  await rejects(() => source.token(secretId, never), refused);
  assert.equal(gateway.asked.length, asked, "the refusal is remembered");

  files.tokens([entry]);
  await gateway.source.reload();
  clock.move(2_001);
  assert.equal((await source.token(secretId, never)).accessorId, entry.AccessorID);
});

test("a refusal of one secret says nothing about another", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const { source } = sourceAt(gateway.origin);
  await rejects(() => source.token(mint().secretId, never), refused);
  assert.ok(await source.token(secretId, never));
});

test("while the gateway is away an answer serves until its time is over, then the identity is unavailable", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  const gateway = await aclGateway(files);
  const { source, clock, log } = sourceAt(gateway.origin);
  await source.token(secretId, never);
  await gateway[Symbol.asyncDispose]();
  clock.move(29_999);
  assert.equal((await source.token(secretId, never)).accessorId, entry.AccessorID);
  clock.move(2);
  await rejects(() => source.token(secretId, never), away);
  await rejects(() => source.token(mint().secretId, never), away);
  await rejects(() => source.anonymous(never), away);
  assert.ok(!JSON.stringify(log.lines).includes(secretId));
});

test("a token is refused two seconds before it expires", async () => {
  using files = aclDirectory({ reader });
  await using gateway = await aclGateway(files);
  const { source, clock } = sourceAt(gateway.origin);
  const { secretId, entry } = mint({ expiresAtMs: clock.now() + 20_000 });
  files.tokens([entry]);
  await gateway.source.reload();
  assert.ok(await source.token(secretId, never));
  clock.move(17_999);
  assert.ok(await source.token(secretId, never));
  clock.move(1);
  await rejects(() => source.token(secretId, never), refused);
});

test("who leaves while the question is asked does not end it for others", async () => {
  const asked = Promise.withResolvers<ServerResponse>();
  await using server = await listen((_request, response) => asked.resolve(response));
  const { source } = sourceAt(server.origin);
  const leaving = new AbortController();
  const { secretId } = mint();
  const first = source.token(secretId, leaving.signal);
  const second = source.token(secretId, never);
  leaving.abort(new GatewayError("client_closed"));
  await rejects(() => first, { code: "client_closed" });
  (await asked.promise).writeHead(403).end("Permission denied");
  await rejects(() => second, refused);
});

/* ---- Nomad's servers, or something hostile, at the other end ---- */

type Script = Readonly<Record<string, readonly [status: number, body: unknown]>>;

const scripted = (script: Script) => {
  const seen: (string | undefined)[] = [];
  const server = listen(({ url = "", headers }, response) => {
    const token = headers["x-nomad-token"];
    seen.push(typeof token === "string" ? token : undefined);
    const [status, body] = script[url] ?? [404, "ACL policy not found"];
    response.writeHead(status, { location: "http://127.0.0.1:1/" });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  return { server, seen };
};

const self = "/v1/acl/token/self";
const list = "/v1/acl/policies";
const token = { AccessorID: "a", Name: "n", Type: "client", ExpirationTime: null };
const wide = { Namespaces: [{ Name: "*", Policy: "write", Capabilities: ["read-job"] }] };

const answers: Readonly<
  Record<string, { readonly script: Script; readonly expect: object; readonly secret?: string }>
> = {
  "an unknown UUID": { script: { [self]: [403, "Permission denied"] }, expect: refused },
  "an expired token (Nomad: 500, then 403)": {
    script: { [self]: [500, "ACL token expired"], [list]: [403, "Permission denied"] },
    expect: refused,
  },
  "a malformed JWT (Nomad: 500, then 403)": {
    script: { [self]: [500, "failed to parse signed token"], [list]: [403, "Permission denied"] },
    secret: "a.b.c",
    expect: refused,
  },
  "a server that fails and then lists policies": {
    script: { [self]: [500, "rpc error"], [list]: [200, []] },
    expect: away,
  },
  "a server that fails": { script: { [self]: [500, "x"], [list]: [500, "x"] }, expect: away },
  "a node's secret": { script: { [self]: [404, "ACL token not found"] }, expect: refused },
  "ACLs that are off": {
    script: { [self]: [200, { ...token, AccessorID: "acls-disabled" }], [list]: [400, "x"] },
    expect: away,
  },
  "ACLs that are off, in all answers": {
    script: {
      [self]: [200, { ...token, AccessorID: "acls-disabled" }],
      [list]: [400, "ACL support disabled"],
    },
    expect: away,
  },
  "a token that had expired when it was asked for": {
    script: {
      [self]: [200, { ...token, ExpirationTime: "2001-01-01T00:00:00Z" }],
      [list]: [200, []],
    },
    expect: refused,
  },
  "a redirect": { script: { [self]: [307, ""] }, expect: away },
  "a limit": { script: { [self]: [429, "slow down"] }, expect: away },
  HTML: { script: { [self]: [200, "<html>"] }, expect: away },
  "a token that is a list": { script: { [self]: [200, []] }, expect: away },
  "a token without accessor": { script: { [self]: [200, { Type: "management" }] }, expect: away },
  "an expiry that is no time": {
    script: { [self]: [200, { ...token, ExpirationTime: "soon" }], [list]: [200, []] },
    expect: away,
  },
  "more than a megabyte": { script: { [self]: [200, "x".repeat(2_000_000)] }, expect: away },
  "policies that are no list": {
    script: { [self]: [200, token], [list]: [200, {}] },
    expect: away,
  },
  "a policy's name that is a path": {
    script: { [self]: [200, token], [list]: [200, [{ Name: "../token/self" }]] },
    expect: away,
  },
  "a policy without rules": {
    script: { [self]: [200, token], [list]: [200, [{ Name: "p" }]], "/v1/acl/policy/p": [200, {}] },
    expect: away,
  },
  "rules of the wrong kind": {
    script: {
      [self]: [200, token],
      [list]: [200, [{ Name: "p" }]],
      "/v1/acl/policy/p": [200, { RulesJSON: { Namespaces: "*" } }],
    },
    expect: away,
  },
  "one good policy and one that vanishes each time": {
    script: {
      [self]: [200, token],
      [list]: [200, [{ Name: "p" }, { Name: "gone" }]],
      "/v1/acl/policy/p": [200, { RulesJSON: wide }],
    },
    expect: away,
  },
};
for (const [name, { script, expect, secret }] of Object.entries(answers))
  test(`fails closed: ${name}`, async () => {
    const { server, seen } = scripted(script);
    await using started = await server;
    const { source } = sourceAt(started.origin);
    const presented = secret ?? mint().secretId;
    const resolve = secret === undefined ? source.token : source.jwt;
    await rejects(() => resolve?.(presented, never), expect);
    assert.ok(
      seen.every((one) => one === presented),
      "nothing but the caller's own secret",
    );
  });

test("a policy that vanishes once is asked for again", async () => {
  let listed = 0;
  await using server = await listen(({ url }, response) => {
    if (url === self) return response.end(JSON.stringify(token));
    if (url === list) {
      listed++;
      return response.end(JSON.stringify(listed === 1 ? [{ Name: "gone" }] : [{ Name: "p" }]));
    }
    if (url === "/v1/acl/policy/p") return response.end(JSON.stringify({ RulesJSON: wide }));
    return response.writeHead(403).end("Permission denied");
  });
  const { source } = sourceAt(server.origin);
  assert.deepEqual((await source.token(mint().secretId, never)).policies, ["p"]);
});

test("a kept connection that closes just as a question is written to it is no failure", async () => {
  let asked = 0;
  await using server = await listen(({ url, socket }, response) => {
    asked += 1;
    if (asked === 2) socket.destroy();
    else response.end(JSON.stringify(url === self ? token : []));
  });
  const { source } = sourceAt(server.origin);
  assert.equal((await source.token(mint().secretId, never)).accessorId, token.AccessorID);
  assert.equal(asked, 3);
});

test("anonymous is asked for without a header", async () => {
  const { server, seen } = scripted({ [list]: [200, []] });
  await using started = await server;
  const { source } = sourceAt(started.origin);
  const { acl } = await source.anonymous(never);
  assert.ok(!acl.namespace("*", "read-job"));
  assert.deepEqual(seen, [undefined]);
});

test("a secret that cannot be a header is refused without being sent", async () => {
  const { server, seen } = scripted({});
  await using started = await server;
  const { source } = sourceAt(started.origin);
  for (const secret of ["a\r\nx-evil: 1", "a b", "é", "\u0000"])
    await rejects(() => source.jwt?.(secret, never), refused);
  assert.deepEqual(seen, []);
});

test("questions under way are bounded: above it the identity is unavailable at once", async () => {
  const held: ServerResponse[] = [];
  const full = Promise.withResolvers<void>();
  await using server = await listen((_request, response) => {
    held.push(response);
    if (held.length === 2) full.resolve();
  });
  const { source } = sourceAt(server.origin, { cache: { maxFlights: 2 } });
  const waiting = [1, 2].map(async () => await source.token(mint().secretId, never));
  await full.promise;
  await rejects(() => source.token(mint().secretId, never), away);
  for (const response of held) response.writeHead(403).end();
  for (const one of waiting) await rejects(() => one, refused);
});

test("the cache is bounded and its keys hold no secret", async () => {
  const { server } = scripted({ [self]: [200, { ...token, Type: "management" }] });
  await using started = await server;
  const { source } = sourceAt(started.origin, { cache: { maxEntries: 4 } });
  const secrets = Array.from({ length: 12 }, () => mint().secretId);
  for (const secret of secrets) await source.token(secret, never);
  assert.ok(source.token(secrets.at(-1) ?? "", never) instanceof Promise === false);
  assert.ok(source.token(secrets[0] ?? "", never) instanceof Promise, "the oldest is forgotten");
  await forgotten(source, secrets.at(-1) ?? "");
});

test("secrets that are made up push out nobody's", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const { source } = sourceAt(gateway.origin, { cache: { maxEntries: 4 } });
  await source.token(secretId, never);
  for (let nth = 0; nth < 12; nth++)
    await rejects(() => source.token(mint().secretId, never), refused);
  assert.ok(!(source.token(secretId, never) instanceof Promise), "nobody has to be asked");
});

const forgotten = async (source: GatewaySource, secret: string): Promise<void> => {
  source.forget();
  const again = source.token(secret, never);
  assert.ok(again instanceof Promise);
  await again;
};
