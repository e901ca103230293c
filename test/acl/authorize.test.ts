/** Every route of the table against every capability: what opens it, and that nothing else does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileAcl, managementAcl } from "../../src/acl/acl.ts";
import { authorize, mayExecOnNode } from "../../src/acl/authorize.ts";
import { namespaceFamily } from "../../src/acl/capabilities.ts";
import { parsePolicy } from "../../src/acl/policy.ts";
import type { Rules } from "../../src/acl/rules.ts";
import type { Json } from "../../src/lib/json.ts";
import { rightLabel } from "../../src/observe/labels.ts";
import type { Acl, Principal, Scope } from "../../src/ports.ts";
import { type Route, routeNamed, routes } from "../../src/routes.ts";

const rulesOf = (document: Json): Rules => {
  const parsed = parsePolicy(document, "strict");
  assert.ok(parsed.ok);
  return parsed.rules;
};

const principalOf = (acl: Acl): Principal => ({
  accessorId: "a",
  name: "",
  type: "client",
  policies: [],
  acl,
  expiresAtMs: undefined,
});

const holding = (...documents: readonly Json[]): Principal =>
  principalOf(compileAcl(documents.map(rulesOf)));

const allocationIn = (namespace: string): Scope => ({
  kind: "allocation",
  placement: {
    id: "11111111-2222-3333-4444-555555555555",
    nodeId: "n",
    namespace,
    jobId: "j",
    taskGroup: "g",
    terminal: undefined,
  },
  node: undefined,
});

const scopeOf = ({ key }: Route, namespace: string): Scope => {
  switch (key) {
    case "allocation":
    case "allocation_namespace":
      return allocationIn(namespace);
    case "node":
    case "node_of_path":
      return { kind: "node", nodeId: "n", node: undefined };
    case "namespace":
      return { kind: "namespace", namespace };
    case "none":
      return { kind: "cluster" };
  }
};

const allows = (principal: Principal, scope: Scope, route: Route): boolean => {
  try {
    authorize(principal, scope, { route });
    return true;
  } catch (error) {
    assert.equal(error instanceof Error && error.message, "Permission denied");
    return false;
  }
};

const grants: Readonly<Record<string, Json>> = {
  ...Object.fromEntries(
    [...namespaceFamily.capabilities].map((capability) => [
      capability,
      { namespace: [{ here: { capabilities: [capability] } }] },
    ]),
  ),
  "node:read": { node: { policy: "read" } },
  "node:write": { node: { policy: "write" } },
  "agent:read": { agent: { policy: "read" } },
  "agent:write": { agent: { policy: "write" } },
  "operator:write": { operator: { policy: "write" } },
  "node_pool:write": { node_pool: [{ "*": { policy: "write" } }] },
  "host_volume:write": { host_volume: [{ "*": { policy: "write" } }] },
};

const openedBy = ({ rule }: Route): readonly string[] => {
  if (rule.on === "answer" || rule.on === "nobody") return Object.keys(grants);
  if (rule.on === "namespace") return rule.anyOf;
  return rule.level === "read" ? [`${rule.on}:read`, `${rule.on}:write`] : [`${rule.on}:write`];
};

for (const route of routes)
  test(`${route.name} (${route.path}) is opened by ${rightLabel(route)} and nothing else`, () => {
    const opening = new Set(openedBy(route));
    for (const [name, grant] of Object.entries(grants))
      assert.equal(allows(holding(grant), scopeOf(route, "here"), route), opening.has(name), name);
    assert.ok(allows(principalOf(managementAcl), scopeOf(route, "here"), route));
  });

for (const route of routes.filter(({ rule }) => rule.on === "namespace"))
  test(`${route.name} (${route.path}) asks the scope's own namespace`, () => {
    const all = { namespace: [{ elsewhere: { capabilities: [...openedBy(route)] } }] };
    assert.ok(!allows(holding(all), scopeOf(route, "here"), route));
    assert.ok(allows(holding(all), scopeOf(route, "elsewhere"), route));
    const deny = { namespace: [{ elsewhere: { policy: "deny" } }] };
    assert.ok(!allows(holding(all, deny), scopeOf(route, "elsewhere"), route));
    assert.ok(!allows(holding(all), { kind: "cluster" }, route), "no namespace, no right");
    assert.ok(!allows(holding(all), { kind: "node", nodeId: "n", node: undefined }, route));
  });

const isolations: readonly (readonly [isolation: string, needsNode: boolean])[] = [
  ["none", true],
  ["chroot", false],
  ["image", false],
  ["unveil", false],
  ["", true],
  ["something new", true],
];
for (const [isolation, needsNode] of isolations)
  test(`exec with isolation ${JSON.stringify(isolation)} ${needsNode ? "needs" : "does not need"} alloc-node-exec`, () => {
    const plain = holding({ namespace: [{ here: { policy: "write" } }] }).acl;
    const both = holding({
      namespace: [{ here: { policy: "write", capabilities: ["alloc-node-exec"] } }],
    }).acl;
    assert.equal(mayExecOnNode(plain, "here", isolation), !needsNode);
    assert.ok(mayExecOnNode(both, "here", isolation));
    assert.equal(mayExecOnNode(both, "there", isolation), !needsNode);
  });

test("exec with the service token in its caller's place needs alloc-node-exec here", () => {
  const exec = routeNamed("alloc.exec");
  const withExec = (...more: readonly string[]): Principal => ({
    ...holding({ namespace: [{ default: { capabilities: ["alloc-exec", "read-fs", ...more] } }] }),
    upstream: "service",
  });
  const scope = allocationIn("default");
  assert.ok(!allows(withExec(), scope, exec));
  assert.ok(allows(withExec("alloc-node-exec"), scope, exec));
  assert.ok(!allows(withExec("alloc-node-exec"), allocationIn("other"), exec));
  assert.ok(allows(withExec(), scope, routeNamed("fs.cat")), "no other route asks for it");
});

const read = { capabilities: ["read-job"] };
// biome-ignore format: a table
const everywhere: readonly (readonly [what: string, namespaces: readonly Json[], expected: boolean])[] = [
  ["no rule", [], false],
  ["a rule for one namespace", [{ default: read }], false],
  ["a rule for *", [{ "*": read }], true],
  ["a rule for * and one that says the same", [{ "*": read, "dev-*": read, default: read }], true],
  ["a rule for * and a namespace that has less", [{ "*": read, default: { capabilities: ["list-jobs"] } }], false],
  ["a rule for * and a pattern that has less", [{ "*": read, "dev-*": { capabilities: ["list-jobs"] } }], false],
  ["a rule for * and a namespace that is denied", [{ "*": read, default: { policy: "deny" } }], false],
  ["a rule for * that denies", [{ "*": { policy: "deny" } }], false],
  ["patterns that look as if they were all", [{ "a*": read, "*a": read }], false],
  ["two policies, one of which denies", [{ "*": read }, { "*": { policy: "deny" } }], false],
];
for (const [what, namespaces, expected] of everywhere)
  test(`a right in every namespace: ${what}`, () => {
    const { acl } = holding(...namespaces.map((rule) => ({ namespace: [rule] })));
    assert.equal(acl.everywhere("read-job"), expected);
    assert.ok(!acl.everywhere("submit-job"));
    assert.ok(managementAcl.everywhere("read-job"));
  });
