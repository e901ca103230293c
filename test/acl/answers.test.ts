/** The ACL routes over a real socket, held against what Nomad 2.0.5 answered (test/acl/golden.json). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { hashSecret } from "../../src/acl/secrets.ts";
import { parseJson } from "../../src/lib/json.ts";
import { type AclGateway, aclGateway } from "./acl-gateway.ts";
import { aclDirectory, mint, reader } from "./support.ts";

interface Golden {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly query?: string;
    readonly headers: readonly (readonly [string, string])[];
  };
  readonly response: {
    readonly status: number;
    readonly headers: readonly (readonly [string, string])[];
    readonly body: string;
  };
}

const goldenText = readFileSync(path.join(import.meta.dirname, "golden.json"), "utf8");
const golden: readonly Golden[] = JSON.parse(goldenText);

const secrets: Readonly<Record<string, string>> = {
  full: "00000000-0000-4000-8000-000000070007",
  read: "00000000-0000-4000-8000-00000007000f",
  management: "00000000-0000-4000-8000-00000007000b",
  "both-read": "00000000-0000-4000-8000-000000070001",
  expired: "00000000-0000-4000-8000-0000000700ee",
  deleted: "00000000-0000-4000-8000-0000000700dd",
  unknown: "00000000-0000-4000-8000-0000000700aa",
  garbage: "not-a-token",
};

const capability = (...capabilities: readonly string[]) => ({
  namespace: [{ golden: { capabilities } }],
});

/** The policies of the recorded cluster, as far as the cases name them. */
const policies = {
  "golden-full": {
    namespace: [
      {
        golden: {
          policy: "write",
          capabilities: ["alloc-node-exec", "gc-allocation", "pause-allocation"],
        },
      },
    ],
    node: { policy: "write" },
    agent: { policy: "write" },
  },
  "golden-read": { namespace: [{ golden: { policy: "read" } }] },
  "golden-read-fs": capability("read-fs"),
  "golden-read-job": capability("read-job"),
  "golden-read-logs": capability("read-logs"),
  "golden-both-read": { namespace: [{ golden: { policy: "read" } }] },
};

const goldenTokens = (): readonly object[] =>
  ["full", "read", "management", "both-read", "expired"].map((name) => {
    const management = name === "management";
    const { entry } = mint({
      name: `golden-${name}`,
      type: management ? "management" : "client",
      policies: management ? [] : [`golden-${name === "expired" ? "full" : name}`],
      expiresAtMs: name === "expired" ? Date.now() - 1_000 : undefined,
    });
    return { ...entry, SecretHash: hashSecret(secrets[name] ?? "") };
  });

/** Ids, times, indexes and digests differ from cluster to cluster; a policy's text was HCL there. */
const masked: ReadonlySet<string> = new Set([
  "AccessorID", "Hash", "CreateTime", "CreateIndex", "ModifyIndex", "Rules", "Raw", "Description",
]); // biome-ignore format: a list

const shape = (text: string): unknown =>
  JSON.parse(text, (key, value) =>
    masked.has(key) && value !== null && value !== "anonymous" ? `<${typeof value}>` : value,
  );

const fieldsInOrder = (text: string): readonly string[] =>
  [...text.matchAll(/"(\w+)":/g)].map(([, name]) => name ?? "");

/** Refused credentials: 403 everywhere, where Nomad's token/self says 500. */
const refusedHere: ReadonlySet<string> = new Set([
  "acl/token/self: garbage",
  "acl/token/self: expired",
]);

const send = (gateway: AclGateway, { method, path: at, query, headers }: Golden["request"]) =>
  gateway.send(
    method,
    query === undefined ? at : `${at}?${query}`,
    headers.map(([name, value]) => [
      name,
      value.replace(/\{token:([\w-]+)\}/, (_all, token: string) => secrets[token] ?? ""),
    ]),
  );

const nomadHeaders = (names: Iterable<string>): readonly string[] =>
  [...names].filter((name) => name.startsWith("X-Nomad-"));

for (const { name, request, response } of golden)
  if (request.method === "GET")
    test(`as Nomad: ${name}`, async () => {
      using files = aclDirectory(policies);
      files.tokens(goldenTokens());
      await using gateway = await aclGateway(files);
      const answer = await send(gateway, request);
      if (refusedHere.has(name)) {
        assert.deepEqual([answer.status, answer.body], [403, "Permission denied"]);
        return;
      }
      assert.equal(answer.status, response.status);
      assert.deepEqual(
        nomadHeaders(answer.headerNames),
        nomadHeaders(response.headers.map(([header]) => header)),
      );
      if (response.status !== 200) return assert.equal(answer.body, response.body);
      assert.deepEqual(shape(answer.body), shape(response.body));
      return assert.deepEqual(fieldsInOrder(answer.body), fieldsInOrder(response.body));
    });

test("token/self gives the caller's own secret and never the digest that is kept", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([{ ...entry, Roles: ["ops"] }], [{ Name: "ops", Policies: [] }]);
  await using gateway = await aclGateway(files);
  const { body } = await gateway.get("/v1/acl/token/self", secretId.toUpperCase());
  const document = JSON.parse(body);
  assert.equal(document.SecretID, secretId);
  assert.equal(document.Roles[0].Name, "ops");
  assert.ok(!body.includes(entry.SecretHash.slice("sha256:".length)));
});

test("a policy that the token names and that does not exist is 404, one from a role is 403", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint({ policies: ["reader", "gone"] });
  files.tokens([{ ...entry, Roles: ["ops"] }], [{ Name: "ops", Policies: ["gone-too"] }]);
  await using gateway = await aclGateway(files);
  const get = async (name: string): Promise<string> => {
    const { status, body } = await gateway.get(`/v1/acl/policy/${name}`, secretId);
    return `${status} ${status === 200 ? "" : body}`;
  };
  assert.equal(await get("reader"), "200 ");
  assert.equal(await get("gone"), "404 ACL policy not found");
  assert.equal(await get("gone-too"), "403 Permission denied");
  assert.equal(await get("anonymous"), "404 ACL policy not found");
  assert.equal(await get("__proto__"), "403 Permission denied");
});

test("policy/self lists the caller's own, and is refused without a token", async () => {
  using files = aclDirectory({ reader, other: reader, anonymous: reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const { body } = await gateway.get("/v1/acl/policy/self", secretId);
  assert.deepEqual(
    JSON.parse(body).map(({ Name }: { Name: string }) => Name),
    ["reader"],
  );
  assert.equal((await gateway.get("/v1/acl/policy/self")).status, 403);
  assert.match((await gateway.get("/v1/acl/policies")).body, /"Name":"anonymous"/);
});

test("Rules is the JSON form's text and RulesJSON its expansion", async () => {
  using files = aclDirectory();
  files.write("policies/reader.yaml", "node: { policy: read }\n");
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const { body } = await gateway.get("/v1/acl/policy/reader", secretId);
  const document = JSON.parse(body);
  assert.deepEqual(parseJson(document.Rules), { node: { policy: "read" } });
  assert.deepEqual(document.RulesJSON.Node, { Policy: "read" });
});

test("the index rises when the files change", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using gateway = await aclGateway(files);
  const index = async (): Promise<number> =>
    Number((await gateway.get("/v1/acl/policies", secretId)).headers["x-nomad-index"]);
  const before = await index();
  files.write("policies/reader.json", '{"node": {"policy": "read"}}');
  await gateway.source.reload();
  assert.ok((await index()) > before);
});

test("with ACLs off: the pseudo token, and 400 for policies", async () => {
  using files = aclDirectory({ reader });
  await using gateway = await aclGateway(files, { enabled: false });
  const self = JSON.parse((await gateway.get("/v1/acl/token/self", "anything")).body);
  assert.deepEqual(
    [self.AccessorID, self.Name, self.Type],
    ["acls-disabled", "ACLs disabled token", "client"],
  );
  for (const at of ["/v1/acl/policies", "/v1/acl/policy/reader"]) {
    const { status, body } = await gateway.get(at);
    assert.deepEqual([status, body], [400, "ACL support disabled"]);
  }
});
