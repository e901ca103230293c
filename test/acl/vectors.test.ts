/** Nomad's own decisions: 171 cases, 762 checks, each confirmed against its `acl` package (test/acl/vectors.json). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { compileAcl, disabledAcl, managementAcl, type PolicyAcl } from "../../src/acl/acl.ts";
import { mayExecOnNode, permits } from "../../src/acl/authorize.ts";
import { parsePolicy } from "../../src/acl/policy.ts";
import { parsePolicyText } from "../../src/acl/policy-text.ts";
import { type Rules, readRules, toRulesJson } from "../../src/acl/rules.ts";
import { isJsonObject, type Json, parseJson } from "../../src/lib/json.ts";
import type { Scope } from "../../src/ports.ts";
import { type Rule, routes } from "../../src/routes.ts";

interface Check {
  readonly operation: string;
  readonly allow: boolean;
  readonly namespace?: string;
  readonly path?: string;
  readonly pool?: string;
  readonly volume?: string;
  readonly fs_isolation?: string;
}

interface Vector {
  readonly name: string;
  readonly policies: readonly {
    readonly hcl: string | null;
    readonly json: Json;
    readonly rulesJSON?: Json;
  }[];
  readonly management?: boolean;
  readonly acl_disabled?: boolean;
  readonly invalid?: boolean;
  readonly strict_only?: boolean;
  readonly error?: string;
  readonly checks: readonly Check[];
}

const text = readFileSync(path.join(import.meta.dirname, "vectors.json"), "utf8");
const vectors: readonly Vector[] = JSON.parse(text);

/** As in the vectors: without null, empty and `Raw` fields. */
const bare = (value: Json): Json => {
  if (Array.isArray(value)) return value.map(bare);
  if (!isJsonObject(value)) return value;
  const kept = Object.entries(value).filter(
    ([key, member]) => key !== "Raw" && member !== null && member !== "",
  );
  return Object.fromEntries(kept.map(([key, member]) => [key, bare(member)]));
};

const namespaced = (...anyOf: readonly string[]): Rule => ({ on: "namespace", anyOf });

/** Rules of Nomad's routes that are not in the table: their answers are others'. */
const otherRules: Readonly<Record<string, Rule | "operator" | "management">> = {
  "alloc.read": namespaced("read-job"),
  "client.identity.get": { on: "node", level: "read" },
  "client.identity.renew": { on: "node", level: "write" },
  "agent.monitor": { on: "agent", level: "read" },
  "agent.reload": { on: "agent", level: "write" },
  "event.Job": namespaced("read-job"),
  "event.Evaluation": namespaced("read-job"),
  "event.Allocation": namespaced("read-job"),
  "event.Deployment": namespaced("read-job"),
  "event.Service": namespaced("read-job"),
  "event.CSIPlugin": namespaced("read-job"),
  "event.HostVolume": namespaced("host-volume-read"),
  "event.CSIVolume": namespaced("csi-read-volume"),
  "event.Node": { on: "node", level: "read" },
  "event.Operator": "operator",
  "event.Variable": "management", // no vector grants a variable together with this topic
  "event.NodePool": "management",
  "event.ACLToken": "management",
  "event.ACLPolicy": "management",
  "event.ACLRole": "management",
  "event.*": "management",
};

const scopeOf = (namespace: string): Scope => ({ kind: "namespace", namespace });

const endpointAllows = (acl: PolicyAcl, name: string, check: Check): boolean => {
  const namespace = check.namespace ?? "default";
  const rule = otherRules[name] ?? routes.find((row) => row.name === name)?.rule;
  assert.ok(rule, `no rule for endpoint:${name}`);
  if (rule === "operator") return acl.operator("read");
  if (rule === "management") return acl.management;
  if (!permits(acl, rule, scopeOf(namespace))) return false;
  return name !== "alloc.exec" || mayExecOnNode(acl, namespace, check.fs_isolation ?? "none");
};

const level = (word: string): "read" | "write" => (word === "write" ? "write" : "read");

const families: Readonly<Record<string, (acl: PolicyAcl, word: string, check: Check) => boolean>> =
  {
    endpoint: endpointAllows,
    namespace: (acl, _word, { namespace }) => acl.anyIn(namespace ?? ""),
    node: (acl, word) => acl.node(level(word)),
    agent: (acl, word) => acl.agent(level(word)),
    quota: (acl, word) => acl.quota(level(word)),
    operator: (acl, word) =>
      word === "read" || word === "write" ? acl.operator(word) : acl.operatorCapability(word),
    sentinel: (acl, word) => acl.sentinel(word),
    plugin: (acl, word) => acl.plugin(word === "list" ? "list" : "read"),
    variables: (acl, word, check) => acl.variable(check.namespace ?? "", check.path ?? "", word),
    node_pool: (acl, word, check) => acl.nodePool(check.pool ?? "", word),
    host_volume: (acl, word, check) => acl.hostVolume(check.volume ?? "", word),
    management: (acl) => acl.management,
  };

const allows = (acl: PolicyAcl, check: Check): boolean => {
  const [family = "", ...words] = check.operation.split(":");
  const decide = families[family];
  return decide === undefined
    ? acl.namespace(check.namespace ?? "", check.operation)
    : decide(acl, words.join(":"), check);
};

const aclOf = (vector: Vector, rules: readonly Rules[]): PolicyAcl => {
  if (vector.management) return managementAcl;
  return vector.acl_disabled ? disabledAcl : compileAcl(rules);
};

let checked = 0;
const runChecks = (vector: Vector, rules: readonly Rules[]): void => {
  for (const order of [rules, rules.toReversed()]) {
    const acl = aclOf(vector, order);
    for (const check of vector.checks)
      assert.equal(allows(acl, check), check.allow, `${vector.name}: ${JSON.stringify(check)}`);
  }
};

const parsedText = (json: Json, mode: "strict" | "lenient") =>
  parsePolicyText(json === "" ? "" : JSON.stringify(json), mode);

const fromJson = (vector: Vector): readonly Rules[] | undefined => {
  if (vector.policies.some(({ json }) => json === null)) return undefined;
  const mode = vector.strict_only ? "lenient" : "strict";
  return vector.policies.map(({ json, rulesJSON }) => {
    const parsed = parsedText(json, mode);
    assert.ok(parsed.ok, JSON.stringify(parsed));
    assert.deepEqual(bare(toRulesJson(parsed.rules, "")), rulesJSON);
    assert.deepEqual(parsePolicy(json, mode), parsed);
    return parsed.rules;
  });
};

for (const vector of vectors)
  test(vector.name, () => {
    if (vector.invalid)
      for (const { json } of vector.policies.filter((policy) => policy.json !== null)) {
        const strict = parsedText(json, "strict");
        assert.ok(!strict.ok, "must be refused when written");
        assert.ok(strict.faults[0]?.text.includes(vector.error ?? "?"), JSON.stringify(strict));
        if (!vector.strict_only) assert.ok(!parsedText(json, "lenient").ok);
      }
    checked += vector.checks.length;
    if (vector.invalid && !vector.strict_only) return;
    const json = fromJson(vector);
    if (json) runChecks(vector, json);
    runChecks(
      vector,
      vector.policies.map(({ rulesJSON }) => readRules(parseJson(JSON.stringify(rulesJSON)))),
    );
  });

test("HCL is refused, with how to write it as JSON", () => {
  for (const { name, policies } of vectors)
    for (const { hcl, json } of policies.filter((policy) => isJsonObject(policy.json))) {
      if (hcl === null || hcl === "{}") continue;
      const parsed = parsePolicyText(hcl, "lenient");
      assert.ok(!parsed.ok, name);
      const text = parsed.faults[0]?.text ?? "";
      assert.match(text, /^Failed to parse ACL Policy: /, name);
      if (!("bogus" in Object(json)) && !("foo" in Object(json)))
        assert.match(text, /is HCL/, name);
    }
});

test("all 762 checks were made", () => {
  assert.equal(vectors.length, 171);
  assert.equal(checked, 762);
});
