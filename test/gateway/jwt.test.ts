/** JWTs of an issuer through a whole gateway: a good one reads through to the agent, every bad one is 403 everywhere. */
import assert from "node:assert/strict";
import {
  createHmac,
  createSign,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
} from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { isJsonObject } from "../../src/lib/json.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { openExec } from "./permission-table.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const foreign = generateKeyPairSync("rsa", { modulusLength: 2048 });
const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
const curve = generateKeyPairSync("ec", { namedCurve: "P-256" });

/* ---- an issuer ---- */

interface IssuerServer extends AsyncDisposable {
  readonly uri: string;
  readonly fetches: number;
  close(): Promise<void>;
}

const jwk = (key: KeyObject, kid: string): object => ({
  ...key.export({ format: "jwk" }),
  kid,
  use: "sig",
});

const startIssuer = async (): Promise<IssuerServer> => {
  const keys = [
    jwk(rsa.publicKey, "main"),
    jwk(weak.publicKey, "weak"),
    jwk(curve.publicKey, "curve"),
  ];
  let fetches = 0;
  const server = createServer((_request, response) => {
    fetches += 1;
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ keys }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return {
    uri: `http://127.0.0.1:${port}/jwks`,
    get fetches() {
      return fetches;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
};

const issuer = "https://issuer.test";
const seconds = (): number => Math.floor(Date.now() / 1_000);

type Claims = Readonly<Record<string, unknown>>;

const claims = (changes: Claims = {}): Claims =>
  Object.fromEntries(
    Object.entries({
      iss: issuer,
      aud: "serai",
      sub: "alice",
      iat: seconds(),
      exp: seconds() + 600,
      groups: ["readers"],
      ...changes,
    }).filter(([, value]) => value !== undefined),
  );

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Signs anything, also what no library would. */
const signed = (
  payload: unknown,
  {
    header = {},
    key = rsa.privateKey,
  }: { readonly header?: object; readonly key?: KeyObject } = {},
): string => {
  const text = `${encode({ alg: "RS256", typ: "JWT", kid: "main", ...header })}.${encode(payload)}`;
  return `${text}.${createSign("sha256").update(text).sign({ key, dsaEncoding: "ieee-p1363" }, "base64url")}`;
};

const good = (changes: Claims = {}): string => signed(claims(changes));

const hmacWithThePublicKey = (): string => {
  const text = `${encode({ alg: "HS256", typ: "JWT", kid: "main" })}.${encode(claims())}`;
  const pem = rsa.publicKey.export({ type: "spki", format: "pem" });
  return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
};

const swapped = (): string => {
  const [head = "", , signature = ""] = good().split(".");
  return `${head}.${encode(claims({ groups: ["admins"] }))}.${signature}`;
};

const kib = 1024;

// biome-ignore format: a table
const bad: readonly (readonly [what: string, token: () => string])[] = [
  ["algorithm none", () => `${encode({ alg: "none" })}.${encode(claims())}.`],
  ["HS256 with the public key", hmacWithThePublicKey],
  ["another family, with a key that the issuer has", () => signed(claims(), { header: { alg: "ES256", kid: "curve" }, key: curve.privateKey })],
  ["a curve's key under RS256", () => signed(claims(), { header: { kid: "curve" }, key: curve.privateKey })],
  ["a foreign key under the issuer's id", () => signed(claims(), { key: foreign.privateKey })],
  ["a foreign key id", () => signed(claims(), { header: { kid: "theirs" }, key: foreign.privateKey })],
  ["a key that brings itself along", () => signed(claims(), { header: { kid: undefined, jwk: jwk(foreign.publicKey, "x") }, key: foreign.privateKey })],
  ["an RSA key of 1024 bits", () => signed(claims(), { header: { kid: "weak" }, key: weak.privateKey })],
  ["no key id where there are several keys", () => signed(claims(), { header: { kid: undefined } })],
  ["claims changed after signing", swapped],
  ["no signature", () => good().replace(/[^.]+$/, "")],
  ["crit", () => signed(claims(), { header: { crit: ["exp"] } })],
  ["another issuer", () => good({ iss: "https://other.test" })],
  ["no issuer", () => good({ iss: undefined })],
  ["another audience", () => good({ aud: "billing" })],
  ["no audience", () => good({ aud: undefined })],
  ["no subject", () => good({ sub: undefined })],
  ["no time of issue", () => good({ iat: undefined })],
  ["no expiry", () => good({ exp: undefined })],
  ["an expiry that is a text", () => good({ exp: "tomorrow" })],
  ["expired beyond the leeway", () => good({ iat: seconds() - 600, exp: seconds() - 60 })],
  ["issued in the future", () => good({ iat: seconds() + 300, exp: seconds() + 600 })],
  ["not valid yet", () => good({ nbf: seconds() + 300 })],
  ["a life of more than a day", () => good({ exp: seconds() + 90_000 })],
  ["a payload that is a list", () => signed([claims()])],
  ["a payload that is a text", () => signed("alice")],
  ["no claim that a binding knows", () => good({ groups: ["visitors"] })],
  ["no claims to bind", () => good({ groups: undefined })],
  ["a binding to a policy that does not exist", () => good({ groups: ["ghosts"] })],
  ["more than 8 KiB", () => good({ filler: "x".repeat(9 * kib) })],
];

const settings = (uri: string): object => ({
  issuer,
  jwks_uri: uri,
  audiences: ["serai"],
  bindings: [
    { claim: "groups", value: "readers", policies: ["reader"] },
    { claim: "groups", value: "ghosts", policies: ["ghost"] },
    { claim: "groups", value: "shells", policies: ["shell"] },
    { claim: "groups", glob: "admin*", management: true },
  ],
});

const startJwtRig = (uri: string): Promise<Rig> =>
  startRig({
    policies: {
      reader: { namespace: [{ default: { capabilities: ["read-fs", "read-logs", "read-job"] } }] },
      shell: { namespace: [{ default: { capabilities: ["alloc-exec", "alloc-node-exec"] } }] },
    },
    settings: { acl: { jwt: { issuers: [settings(uri)] } } },
    agents: [
      {
        workloads: [
          {
            job: "web",
            group: "g",
            tasks: [
              {
                name: "t",
                command: "/bin/sh",
                args: ["-c", "echo hello; while :; do sleep 0.2; echo tick; done"],
                kill_timeout: "1s",
              },
            ],
          },
        ],
      },
    ],
  });

const execUrl = (rig: Rig, at: string): string =>
  `${at}/v1/client/allocation/${rig.allocation("web")}/exec?task=t&command=${encodeURIComponent('["echo","in"]')}`;

test("JWTs of a configured issuer", async (t) => {
  await using issuerServer = await startIssuer();
  await using rig = await startJwtRig(issuerServer.uri);
  const id = rig.allocation("web");
  const file = `/v1/client/fs/readat/${id}?path=/alloc/logs/t.stdout.0&offset=0&limit=5`;
  const doors = { gateway: rig.url, agent: rig.agent().url };

  for (const [name, at] of Object.entries(doors)) {
    await t.test(`a good one reads a file at the ${name}'s door`, async () => {
      const reply = await rig.ask({ at, path: file, token: good() });
      assert.deepEqual({ status: reply.status, text: reply.text }, { status: 200, text: "hello" });
      const bearer = await rig.ask({
        at,
        path: file,
        headers: { authorization: `Bearer ${good()}` },
      });
      assert.equal(bearer.status, 200);
    });

    await t.test(
      `a good one has its bindings' rights and no others at the ${name}'s door`,
      async () => {
        const stats = `/v1/client/stats?node_id=${rig.agent().nodeId}`;
        const ask = async (path: string, token: string) =>
          (await rig.ask({ at, path, token })).status;
        assert.equal(await ask(stats, good()), 403);
        assert.equal(await ask(stats, good({ groups: ["x", "admin-eu"] })), 200);
        assert.equal(await ask(file, good({ groups: ["shells"] })), 403);
        assert.equal(await ask(file, good({ groups: ["shells", "readers"] })), 200);
        const refused = await openExec(execUrl(rig, at), good()).ended;
        assert.deepEqual([refused.code, refused.reason], [1011, "Permission denied"]);
        const ran = await openExec(execUrl(rig, at), good({ groups: ["shells"] })).ended;
        assert.deepEqual([ran.code, ran.exitCode, ran.stdout], [1000, 0, "in\n"]);
      },
    );

    await t.test(`every bad one is 403 at the ${name}'s door`, async () => {
      const got: Record<string, string> = {};
      for (const [what, token] of bad) {
        const { status, text } = await rig.ask({ at, path: file, token: token() });
        got[what] = `${status} ${text}`;
      }
      assert.deepEqual(
        got,
        Object.fromEntries(bad.map(([what]) => [what, "403 Permission denied"])),
      );
    });
  }

  await t.test("one of a megabyte is refused before it is looked at", async () => {
    const reply = await rig.ask({ path: file, token: good({ filler: "x".repeat(kib * kib) }) });
    assert.equal(reply.status, 431);
  });

  await t.test("its holder is known by issuer and subject, never by the token", async () => {
    const token = good({ sub: "carol" });
    await rig.get(file, token);
    const record = await eventually("an end record of carol", () =>
      rig
        .audit()
        .find((one) => one["audit"] === "end" && one["accessor"] === `jwt:${issuer}:carol`),
    );
    assert.equal(record["result"], "ok");
    const [, payload = "", signature = ""] = token.split(".");
    for (const text of [rig.logText(), JSON.stringify(rig.audit())])
      assert.ok(!text.includes(payload) && !text.includes(signature), "no token is written down");
  });

  await t.test("its holder is told its policies, so that an agent can resolve it", async () => {
    const self = await rig.get("/v1/acl/token/self", good());
    assert.deepEqual([self.status, self.text], [404, "ACL token not found"]);
    const policies = (await rig.get("/v1/acl/policies", good())).json();
    assert.ok(Array.isArray(policies));
    assert.deepEqual(
      policies.map((policy) => (isJsonObject(policy) ? policy["Name"] : undefined)),
      ["reader"],
    );
  });

  await t.test("its expiry ends what lives on it, at the second", async () => {
    const exp = seconds() + 3;
    const ended = openFollow(rig, good({ sub: "dave", exp }));
    const whole = await ended;
    assert.equal(whole, false, "the follow is cut");
    const record = await eventually("an end record of dave", () =>
      rig.audit().find((one) => one["audit"] === "end" && one["accessor"] === `jwt:${issuer}:dave`),
    );
    assert.deepEqual([record["result"], record["code"]], ["denied", "right_ended"]);
    const late = Date.parse(String(record["time"])) - exp * 1_000;
    assert.ok(late >= 0 && late <= 1_000, `${late} ms late`);
  });

  await t.test("a policy that shrinks takes what lives on it along", async () => {
    const ended = openFollow(rig, good({ sub: "erin" }), () =>
      rig.writePolicy("reader", { namespace: [{ default: { capabilities: ["list-jobs"] } }] }),
    );
    assert.equal(await ended, false, "the follow is cut");
    assert.equal((await rig.get(file, good({ sub: "erin" }))).status, 403);
    rig.writePolicy("reader", {
      namespace: [{ default: { capabilities: ["read-fs", "read-logs"] } }],
    });
    await rig.gateway.reload();
  });

  await t.test("made-up key ids do not make it fetch keys again and again", async () => {
    const before = issuerServer.fetches;
    const replies = await Promise.all(
      Array.from({ length: 300 }, () =>
        rig.get(file, signed(claims(), { header: { kid: randomUUID() } })),
      ),
    );
    assert.deepEqual([...new Set(replies.map(({ status }) => status))], [403]);
    assert.ok(issuerServer.fetches - before <= 1, `${issuerServer.fetches - before} fetches`);
    assert.ok(issuerServer.fetches <= 2, `${issuerServer.fetches} fetches in all`);
  });

  await t.test("with the issuer away the keys it gave go on serving", async () => {
    await issuerServer.close();
    const reply = await rig.get(file, good({ sub: "frank" }));
    assert.equal(reply.status, 200);
  });
});

/** Follows a log; tells whether it ended whole. `begun` is called with its first bytes. */
async function openFollow(rig: Rig, token: string, begun?: () => void): Promise<boolean> {
  const path = `/v1/client/fs/logs/${rig.allocation("web")}?task=t&type=stdout&follow=true&plain=true`;
  const answer = await fetch(`${rig.url}${path}`, { headers: { "x-nomad-token": token } });
  assert.equal(answer.status, 200);
  assert.ok(answer.body);
  let told = false;
  try {
    for await (const _chunk of answer.body) {
      if (!told) begun?.();
      told = true;
    }
    return true;
  } catch {
    return false;
  }
}

test("a JWT of an issuer whose keys were never seen is neither let in nor refused", async () => {
  const issuerServer = await startIssuer();
  await issuerServer.close();
  await using rig = await startRig({
    settings: { acl: { jwt: { issuers: [settings(issuerServer.uri)] } } },
  });
  const reply = await rig.get("/v1/allocations", good());
  assert.equal(reply.status, 503);
  assert.match(reply.text, /^the caller's token cannot be checked now/);
  assert.equal((await rig.get("/v1/allocations", rig.secret("management"))).status, 200);
});
