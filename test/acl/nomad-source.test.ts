/** Who may, asked of Nomad's servers: several of them, some of which are away, slow, or of another opinion. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { createNomadSource, type NomadSourceOptions } from "../../src/acl/nomad-source.ts";
import { disabledPrincipal } from "../../src/acl/principals.ts";
import { createServers } from "../../src/nomad/servers.ts";
import { type AclServer, aclServer, type Cluster, cluster } from "./nomad-acl-server.ts";
import { inNamespace, onNodes, rules } from "./nomad-rules.ts";
import { movedClock, never, readLog } from "./support.ts";

const refused = { name: "GatewayError", code: "permission_denied", status: 403 };
const away = { name: "GatewayError", code: "identity_unavailable", status: 503 };

const rejects = (resolve: () => unknown, expected: object): Promise<void> =>
  assert.rejects(async () => await resolve(), expected);

interface Given extends NomadSourceOptions {
  /** Origins before the servers' own. */
  readonly before?: readonly string[];
}

/** A source before some servers of one cluster. */
const rig = async (count = 1, { before = [], ...options }: Given = {}) => {
  const clock = movedClock();
  const log = readLog();
  const known = cluster(() => clock.now());
  known.policies.set("reader", { index: 10, rules: inNamespace("default", "read-job") });
  known.policies.set("nodes", { index: 11, rules: onNodes("write") });
  const started: AclServer[] = [];
  for (let at = 0; at < count; at++) started.push(await aclServer(known));
  const servers = createServers({
    addresses: [...before, ...started.map(({ origin }) => origin)],
    connectTimeoutMs: 1_000,
    tls: undefined,
  });
  const source = createNomadSource({ clock, log, servers }, options);
  const [first] = started;
  if (first === undefined) throw new RangeError("no server");
  return {
    clock,
    log,
    known,
    servers,
    source,
    first,
    all: started,
    async [Symbol.asyncDispose]() {
      await source.close(never);
      await servers.close(never);
      for (const server of started) await server[Symbol.asyncDispose]();
    },
  };
};

const addToken = (
  known: Cluster,
  fields: Partial<Parameters<Cluster["tokens"]["set"]>[1]> = {},
): { readonly secret: string; readonly accessorId: string } => {
  const secret = randomUUID();
  const accessorId = randomUUID();
  known.tokens.set(secret, {
    AccessorID: accessorId,
    Type: "client",
    Policies: ["reader"],
    ...fields,
  });
  return { secret, accessorId };
};

/** An address where nobody listens. */
const nowhere = async (): Promise<string> => {
  const server = await aclServer(cluster());
  await server[Symbol.asyncDispose]();
  return server.origin;
};

const warnings = (log: ReturnType<typeof readLog>, words: string): number =>
  log.lines.filter(({ message }) => message.includes(words)).length;

const jwtOf = (claims: object): string =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

test("a token has its policies and its roles', and those alone that exist", async () => {
  await using here = await rig();
  const { source, known } = here;
  known.roles.set("ops", ["nodes", "reader"]);
  const { secret, accessorId } = addToken(known, { Policies: ["reader", "gone"], Roles: ["ops"] });
  const principal = await source.token(secret, never);
  assert.deepEqual(principal.policies, ["nodes", "reader"]);
  assert.equal(principal.accessorId, accessorId);
  assert.ok(principal.acl.namespace("default", "read-job") && principal.acl.node("write"));
  assert.ok(!principal.acl.namespace("other", "read-job") && !principal.acl.agent("read"));
});

test("a manager may do everything, until the token is revoked", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const { secret } = addToken(known, { Type: "management" });
  assert.ok((await source.token(secret, never)).acl.management);
  known.tokens.delete(secret);
  clock.move(20_001);
  await rejects(() => source.token(secret, never), refused);
});

test("a workload's JWT has the policies of its job, and is refused once its allocation ended", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const jwt = jwtOf({ sub: "global:default:web:g:t:default" });
  known.identities.set(jwt, ["reader"]);
  const principal = await source.jwt(jwt, never);
  assert.equal(principal.accessorId, "jwt::global:default:web:g:t:default");
  assert.deepEqual(principal.policies, ["reader"]);
  assert.ok(!principal.acl.management && principal.acl.namespace("default", "read-job"));
  known.identities.delete(jwt);
  clock.move(20_001);
  await rejects(() => source.jwt(jwt, never), refused);
});

test("a workload without a policy may nothing", async () => {
  await using here = await rig();
  const { source, known } = here;
  const jwt = jwtOf({ sub: "s" });
  known.identities.set(jwt, []);
  const { acl } = await source.jwt(jwt, never);
  assert.ok(!acl.management && !acl.namespace("*", "read-job") && !acl.node("read"));
});

test("anonymous has the anonymous policy, asked for without a secret; nobody else has it", async () => {
  await using here = await rig();
  const { source, known, first } = here;
  assert.ok(!(await source.anonymous(never)).acl.node("read"));
  known.policies.set("anonymous", { index: 12, rules: onNodes("read") });
  source.forget();
  const principal = await source.anonymous(never);
  assert.equal(principal.accessorId, "anonymous");
  assert.ok(principal.acl.node("read"));
  assert.ok(first.asked.every(({ secret }) => secret === undefined));
  const { secret } = addToken(known);
  assert.ok(!(await source.token(secret, never)).acl.node("read"));
});

test("unknown, expired and malformed credentials are refused alike", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const expired = addToken(known, { ExpirationTime: new Date(clock.now() - 1).toISOString() });
  await rejects(() => source.token(randomUUID(), never), refused);
  await rejects(() => source.token(expired.secret, never), refused);
  await rejects(() => source.jwt("not.a.jwt", never), refused);
});

test("a refusal is kept for 2 s, and says nothing about another secret", async () => {
  await using here = await rig();
  const { source, known, first, clock } = here;
  const late = randomUUID();
  await rejects(() => source.token(late, never), refused);
  const asked = first.asked.length;
  await rejects(() => source.token(late.toUpperCase(), never), refused);
  assert.equal(first.asked.length, asked, "the refusal is remembered");
  assert.ok(await source.token(addToken(known).secret, never));
  known.tokens.set(late, { AccessorID: "late", Type: "client", Policies: [] });
  clock.move(2_001);
  assert.equal((await source.token(late, never)).accessorId, "late");
});

test("a token that is revoked is refused within 20 s, and at once after an event", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const one = addToken(known);
  await source.token(one.secret, never);
  known.tokens.delete(one.secret);
  clock.move(19_999);
  assert.ok(await source.token(one.secret, never));
  clock.move(2);
  await rejects(() => source.token(one.secret, never), refused);

  const other = addToken(known);
  await source.token(other.secret, never);
  known.tokens.delete(other.secret);
  source.onAclEvent();
  await rejects(() => source.token(other.secret, never), refused);
});

test("a policy that changes counts within 20 s, one that is removed too", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const { secret } = addToken(known);
  assert.ok((await source.token(secret, never)).acl.namespace("default", "read-job"));
  known.policies.set("reader", { index: 20, rules: inNamespace("default", "deny") });
  clock.move(20_001);
  assert.ok(!(await source.token(secret, never)).acl.namespace("default", "read-job"));
  known.policies.delete("reader");
  clock.move(20_001);
  assert.deepEqual((await source.token(secret, never)).policies, []);
});

test("events in bursts make it forget at most once a second, the last of them included", async () => {
  await using here = await rig();
  const { source, known, first, clock } = here;
  const { secret } = addToken(known);
  source.onAclEvent();
  await source.token(secret, never);
  const asked = first.asked.length;
  for (let events = 0; events < 50; events++) source.onAclEvent();
  assert.ok(!(source.token(secret, never) instanceof Promise));
  assert.equal(first.asked.length, asked);
  known.tokens.delete(secret);
  clock.move(1_000);
  await rejects(() => source.token(secret, never), refused);
});

test("a policy is read once for all who hold it", async () => {
  await using here = await rig();
  const { source, known, first } = here;
  for (let callers = 0; callers < 5; callers++) await source.token(addToken(known).secret, never);
  assert.equal(first.asked.filter(({ path }) => path === "/v1/acl/policy/reader").length, 1);
});

test("many at once with one secret ask once, and with many secrets over a few connections", async () => {
  await using here = await rig(1, { asking: { maxRequests: 2 } });
  const { source, known, first } = here;
  const { secret } = addToken(known);
  await Promise.all(Array.from({ length: 50 }, async () => await source.token(secret, never)));
  assert.equal(first.asked.length, 3);
  let open = 0;
  let most = 0;
  first.instead = (_request, response) => {
    most = Math.max(most, ++open);
    setImmediate(() => {
      open--;
      response.writeHead(403).end("Permission denied");
    });
  };
  const strangers = Array.from({ length: 20 }, () =>
    rejects(() => source.token(randomUUID(), never), refused),
  );
  await Promise.all(strangers);
  assert.ok(most >= 1 && most <= 2, `${most} requests at once`);
});

test("those who wait for their turn are no fault of the server's", async () => {
  await using here = await rig(2, { asking: { maxRequests: 2, serverTimeoutMs: 1_500 } });
  const { source, servers, all } = here;
  const [first, second] = all;
  assert.ok(first && second);
  first.instead = (_request, response) => {
    setTimeout(() => response.writeHead(403).end("Permission denied"), 200);
  };
  const strangers = Array.from({ length: 24 }, () =>
    rejects(() => source.token(randomUUID(), never), refused),
  );
  await Promise.all(strangers); // the last are asked when the first have been there for longer than a server has
  assert.equal(servers.current, first.origin);
  assert.deepEqual(second.asked, []);
});

/* ---- servers that are away ---- */

test("a server that cannot be dialled gives way to the next, for later questions too", async () => {
  const dead = await nowhere();
  await using here = await rig(1, { before: [dead] });
  const { source, known, servers, first } = here;
  assert.ok(await source.token(addToken(known).secret, never));
  assert.equal(servers.current, first.origin);
});

test("a server that answers nothing gives way to the next in time", async () => {
  await using here = await rig(2, { asking: { serverTimeoutMs: 1_500 } });
  const { source, known, servers, all } = here;
  const [silent, good] = all;
  assert.ok(silent && good);
  silent.instead = () => undefined;
  const { secret, accessorId } = addToken(known);
  assert.equal((await source.token(secret, never)).accessorId, accessorId);
  assert.equal(servers.current, good.origin);
});

const troubles: Readonly<Record<string, (response: ServerResponse) => unknown>> = {
  "has no leader": (response) => response.writeHead(500).end("No cluster leader"),
  "has had enough": (response) => response.writeHead(429).end("Too many requests"),
  "answers HTML": (response) => response.end("<html>"),
  "breaks off": (response) => response.writeHead(200, { "content-length": "99" }).write("{"),
  "breaks off at once": (response) => response.destroy(),
  redirects: (response) => response.writeHead(307, { location: "/" }).end(),
};
for (const [name, trouble] of Object.entries(troubles))
  test(`the next server is asked when one ${name}`, async () => {
    await using here = await rig(2, { asking: { serverTimeoutMs: 1_500 } });
    const { source, known, all } = here;
    const [bad, good] = all;
    assert.ok(bad && good);
    bad.instead = (_request, response) => {
      trouble(response);
      if (name === "breaks off") setImmediate(() => response.destroy());
    };
    const { secret, accessorId } = addToken(known);
    assert.equal((await source.token(secret, never)).accessorId, accessorId);
    good.instead = bad.instead;
    await rejects(() => source.token(randomUUID(), never), away);
  });

test("a refusal is not taken to another server", async () => {
  await using here = await rig(2);
  const { source, all } = here;
  await rejects(() => source.token(randomUUID(), never), refused);
  assert.deepEqual(
    all.map(({ asked }) => asked.length),
    [1, 0],
  );
});

test("while all servers are away, what was told counts until its time is over, then nobody is known", async () => {
  await using here = await rig(2);
  const { source, known, clock, log, all } = here;
  const { secret, accessorId } = addToken(known);
  await source.token(secret, never);
  await source.anonymous(never);
  for (const server of all) await server[Symbol.asyncDispose]();
  clock.move(19_999);
  assert.equal((await source.token(secret, never)).accessorId, accessorId);
  clock.move(2);
  await rejects(() => source.token(secret, never), away);
  await rejects(() => source.token(secret, never), away);
  await rejects(() => source.token(randomUUID(), never), away);
  await rejects(() => source.anonymous(never), away);
  assert.ok(warnings(log, "cannot be checked") > 0);
  assert.ok(!JSON.stringify(log.lines).includes(secret));
});

test("what a server said is told rather than that another one is away", async () => {
  const dead = await nowhere();
  await using here = await rig(1, { before: [dead] });
  const { source, first } = here;
  first.instead = (_request, response) => response.writeHead(429).end();
  await rejects(() => source.token(randomUUID(), never), { ...away, message: /status 429/ });
});

test("nothing but the caller's own secret is sent, to whichever server", async () => {
  await using here = await rig(2);
  const { source, known, all } = here;
  const [bad] = all;
  assert.ok(bad);
  bad.instead = (_request, response) => response.writeHead(500).end();
  const { secret } = addToken(known);
  await source.token(secret, never);
  assert.ok(all.flatMap(({ asked }) => asked).every((one) => one.secret === secret));
});

/* ---- ACLs off ---- */

test("servers with ACLs off let everybody do everything, whatever is presented; it is looked at again", async () => {
  await using here = await rig(2);
  const { source, known, all, log, clock } = here;
  for (const server of all) server.acls = false;
  const secret = randomUUID();
  assert.equal(await source.anonymous(never), disabledPrincipal);
  assert.equal(await source.token(secret, never), disabledPrincipal);
  assert.equal(await source.jwt("any.thing.else", never), disabledPrincipal);
  assert.equal(warnings(log, "have ACLs off"), 1, "told once");
  for (const server of all) server.acls = true;
  clock.move(20_001);
  await rejects(() => source.token(secret, never), refused);
  assert.ok(await source.token(addToken(known).secret, never));
  assert.equal(warnings(log, "have ACLs on"), 1);
});

test("one server with ACLs off among servers that have them on opens nothing", async () => {
  await using here = await rig(3);
  const { source, known, all, log, servers } = here;
  const [forgotten] = all;
  assert.ok(forgotten);
  forgotten.acls = false;
  await rejects(() => source.token(randomUUID(), never), refused);
  const { secret, accessorId } = addToken(known);
  assert.equal((await source.token(secret, never)).accessorId, accessorId);
  assert.ok(!(await source.anonymous(never)).acl.management);
  assert.equal(warnings(log, "others have them on"), 1, "told once");
  assert.notEqual(servers.current, forgotten.origin);
});

test("that ACLs are off is believed no longer once a server has them on, or all is to be asked anew", async () => {
  await using here = await rig(2);
  const { source, known, all } = here;
  const [first, other] = all;
  assert.ok(first && other);
  const off = (isFirst: boolean, isOther: boolean): void => {
    first.acls = !isFirst;
    other.acls = !isOther;
  };
  off(true, true);
  assert.equal(await source.anonymous(never), disabledPrincipal);
  off(false, false);
  assert.ok(await source.token(addToken(known).secret, never));
  off(true, false);
  await rejects(() => source.token(randomUUID(), never), refused);
  off(true, true);
  source.forget();
  assert.equal(await source.anonymous(never), disabledPrincipal);
  off(false, true);
  source.forget();
  await rejects(() => source.token(randomUUID(), never), refused);
});

test("ACLs that are off are believed while the other servers are away", async () => {
  const dead = await nowhere();
  await using here = await rig(1, { before: [dead] });
  const { source, first } = here;
  first.acls = false;
  assert.equal(await source.token(randomUUID(), never), disabledPrincipal);
});

test("an agent with ACLs off before servers that have them on opens nothing", async () => {
  await using here = await rig();
  const { source, known, first } = here;
  first.selfAcls = false;
  await rejects(() => source.token(addToken(known).secret, never), away);
  await rejects(() => source.token(randomUUID(), never), refused);
});

test("an agent with ACLs on before servers that have them off goes by the servers", async () => {
  await using here = await rig();
  const { source, first } = here;
  first.acls = false;
  first.instead = ({ url }, response) =>
    url === "/v1/acl/token/self"
      ? response.writeHead(500).end("rpc error: ACL support disabled")
      : response.writeHead(400).end("rpc error: ACL support disabled");
  assert.equal(await source.token(randomUUID(), never), disabledPrincipal);
});

const notOff: Readonly<Record<string, readonly [status: number, body: string]>> = {
  "another 400": [400, "Missing something"],
  "the words with another status": [500, "ACL support disabled"],
  "the words in a longer text": [400, "ACL support disabled is what I never said"],
  "a 200 with the words": [200, '"ACL support disabled"'],
};
for (const [name, [status, body]] of Object.entries(notOff))
  test(`ACLs are not off because of ${name}`, async () => {
    await using here = await rig();
    const { source, first } = here;
    first.instead = ({ url }, response) =>
      url === "/v1/acl/token/self"
        ? response.end(JSON.stringify({ AccessorID: "acls-disabled", Name: "", Type: "client" }))
        : response.writeHead(status).end(body);
    await rejects(() => source.token(randomUUID(), never), away);
    await rejects(() => source.anonymous(never), away);
  });

test("rules that cannot be read are no rights, also after good ones", async () => {
  await using here = await rig();
  const { source, known, clock } = here;
  const { secret } = addToken(known);
  assert.ok(await source.token(secret, never));
  const odd = rules({ Namespaces: [{ Name: 7 }] });
  known.policies.set("reader", { index: 30, rules: odd });
  clock.move(20_001);
  await rejects(() => source.token(secret, never), away);
});
