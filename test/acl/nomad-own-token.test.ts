/** What the gateway's own token lacks, told in words before anybody misses it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { readOwnRights } from "../../src/acl/nomad-own-token.ts";
import { createServers } from "../../src/nomad/servers.ts";
import { aclServer, type ClusterToken, cluster } from "./nomad-acl-server.ts";
import { inNamespace, onNodes, rules, type SourceRules } from "./nomad-rules.ts";
import { never } from "./support.ts";

const rig = async () => {
  const known = cluster();
  const server = await aclServer(known);
  const servers = createServers({
    addresses: [server.origin],
    connectTimeoutMs: 1_000,
    tls: undefined,
  });
  return {
    known,
    server,
    servers,
    async [Symbol.asyncDispose]() {
      await servers.close(never);
      await server[Symbol.asyncDispose]();
    },
  };
};

const nodesRead = onNodes("read");
const jobs = /^read-job in every namespace/;
const nodes = /^node \{ policy = "read" \}/;

interface Case {
  readonly policies: readonly SourceRules[];
  /** What each sentence says, in order. */
  readonly missing: readonly RegExp[];
}

const cases: Readonly<Record<string, Case>> = {
  "holds the smallest policy": {
    policies: [inNamespace("*", "read-job"), nodesRead],
    missing: [],
  },
  "may write where reading is enough": {
    policies: [inNamespace("*", "read-job", "submit-job"), onNodes("write")],
    missing: [],
  },
  "has every rule in one policy, of two labels": {
    policies: [
      nodesRead,
      rules({
        Namespaces: [
          { Name: "*", Policy: "read", Capabilities: ["read-job"], Variables: null },
          { Name: "prod-*", Policy: "", Capabilities: ["read-job"], Variables: null },
        ],
      }),
    ],
    missing: [],
  },
  "reads nodes alone": { policies: [nodesRead], missing: [jobs] },
  "reads one namespace alone": {
    policies: [inNamespace("default", "read-job"), nodesRead],
    missing: [/not held in "\*"/],
  },
  "is kept out of one namespace": {
    policies: [inNamespace("*", "read-job"), inNamespace("vault", "deny"), nodesRead],
    missing: [/not held in "vault"/],
  },
  "is kept out of namespaces of a pattern": {
    policies: [inNamespace("*", "read-job"), inNamespace("prod-*", "list-jobs"), nodesRead],
    missing: [/not held in "prod-\*"/],
  },
  "lists jobs without reading them": {
    policies: [inNamespace("*", "list-jobs"), nodesRead],
    missing: [jobs],
  },
  "reads no nodes": { policies: [inNamespace("*", "read-job")], missing: [nodes] },
  "is denied nodes": {
    policies: [inNamespace("*", "read-job"), nodesRead, onNodes("deny")],
    missing: [nodes],
  },
  "may nothing": { policies: [], missing: [jobs, nodes] },
};
for (const [name, { policies, missing }] of Object.entries(cases))
  test(`the gateway's own token ${name}`, async () => {
    await using here = await rig();
    const names = policies.map((_rules, index) => `p${index}`);
    for (const [index, one] of policies.entries())
      here.known.policies.set(`p${index}`, { index: 1, rules: one });
    const secret = randomUUID();
    const token: ClusterToken = { AccessorID: "own", Type: "client", Policies: names };
    here.known.tokens.set(secret, token);
    const { missing: told, kind } = await readOwnRights(here, secret);
    assert.equal(kind, "client");
    assert.equal(told.length, missing.length, told.join("\n"));
    for (const [index, words] of missing.entries()) assert.match(told[index] ?? "", words);
  });

test("a manager, or any token where ACLs are off, lacks nothing", async () => {
  await using here = await rig();
  const secret = randomUUID();
  here.known.tokens.set(secret, { AccessorID: "own", Type: "management" });
  assert.deepEqual(await readOwnRights(here, secret), { missing: [], kind: "manager" });
  here.server.acls = false;
  assert.deepEqual(await readOwnRights(here, randomUUID()), { missing: [], kind: "off" });
});

test("a token that nobody knows is told as such, and its secret is not in the words", async () => {
  await using here = await rig();
  const secret = randomUUID();
  const { missing: told, kind } = await readOwnRights(here, secret);
  assert.equal(kind, "client");
  assert.match(told.join(), /do not know this one/);
  assert.ok(!told.join().includes(secret));
});

test("servers that cannot say are no verdict", async () => {
  await using here = await rig();
  here.server.instead = (_request, response) => response.writeHead(500).end("No cluster leader");
  const asked = readOwnRights(here, randomUUID());
  await assert.rejects(asked, { code: "identity_unavailable" });
});
