import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { compileAcl } from "../../src/acl/acl.ts";
import { parsePolicyText } from "../../src/acl/policy-text.ts";
import { readRules, toRulesJson } from "../../src/acl/rules.ts";
import { parseJson, stringifyJson } from "../../src/lib/json.ts";

const rulesOf = (text: string, mode: "strict" | "lenient" = "strict") => {
  const parsed = parsePolicyText(text, mode);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.rules;
};

const faultsOf = (text: string): readonly string[] => {
  const parsed = parsePolicyText(text, "strict");
  assert.ok(!parsed.ok, `${text} must be refused`);
  return parsed.faults.map((fault) => fault.text);
};

test("YAML of the same form gives the same rules as JSON", () => {
  const yaml = `
namespace:
  - default: { policy: read, capabilities: [read-logs] }
  - "team-*":
      capabilities: [read-job]
      variables: [{ path: [{ "a/*": { capabilities: [read] } }] }]
node: { policy: read }
`;
  const json = `{
	"namespace": [{"default": {"policy": "read", "capabilities": ["read-logs"]}},
	  {"team-*": {"capabilities": ["read-job"], "variables": [{"path": [{"a/*": {"capabilities": ["read"]}}]}]}}],
	"node": {"policy": "read"}}`;
  assert.deepEqual(rulesOf(yaml), rulesOf(json));
  assert.equal(rulesOf(yaml).Namespaces[1]?.Variables?.Paths[0]?.PathSpec, "a/*");
});

test("block and attribute names match in any case, labels and values do not", () => {
  const acl = compileAcl([rulesOf('{"Namespace": [{"Default": {"POLICY": "read"}}]}')]);
  assert.ok(acl.namespace("Default", "read-job"));
  assert.ok(!acl.namespace("default", "read-job"));
  assert.match(faultsOf('{"node": {"policy": "READ"}}')[0] ?? "", /^Invalid node policy: /);
});

test("all faults are listed at once, each with its path", () => {
  const parsed = parsePolicyText(
    '{"namespace": [{"a b": {"policy": "full"}}], "node": {}, "bogus": {}}',
    "strict",
  );
  assert.ok(!parsed.ok);
  assert.deepEqual(
    parsed.faults.map(({ path: where, text }) => `${where} | ${text}`),
    [
      'namespace[0].a b | Invalid namespace name: "a b"',
      'namespace[0].a b.policy | Invalid namespace policy: "full"',
      " | Invalid or duplicate policy keys: bogus",
      'node.policy | Invalid node policy: ""',
    ],
  );
});

const refused: Readonly<Record<string, { readonly text: string; readonly begins: string }>> = {
  "blank text": { text: "  \n", begins: "Invalid policy: " },
  "a lone comment": { text: "# nothing\n", begins: "Invalid policy: " },
  "an empty object": { text: "{}", begins: "Invalid policy: " },
  "a list": { text: "[]", begins: "Failed to parse ACL Policy: " },
  "a word": { text: "invalid", begins: "Failed to parse ACL Policy: " },
  "a namespace without a label": {
    text: '{"namespace": {"policy": "read"}}',
    begins: "Invalid namespace name: ",
  },
  "an empty namespace block": {
    text: '{"namespace": {}}',
    begins: "Failed to parse ACL Policy: namespace: invalid acl policy: ",
  },
  "variables without path": {
    text: '{"namespace": [{"dev": {"variables": [{"*": {"capabilities": ["read"]}}]}}]}',
    begins: "Invalid variable policy: no variable paths in namespace dev",
  },
  "variables in the short form that Nomad misreads": {
    text: '{"namespace": [{"dev": {"variables": {"path": {"a": {"capabilities": ["read"]}}}}}]}',
    begins: "Failed to parse ACL Policy: namespace[0].dev.variables: must be a list",
  },
  "policy as a list": {
    text: '{"namespace": [{"default": {"policy": ["read"]}}]}',
    begins: "Failed to parse ACL Policy: ",
  },
  "a key given twice": {
    text: '{"node": {"policy": "read"}, "node": {"policy": "write"}}',
    begins: "Failed to parse ACL Policy: a key is given more than once",
  },
  "a YAML key given twice": {
    text: "node: { policy: read }\nnode: { policy: write }\n",
    begins: "Failed to parse ACL Policy: Map keys must be unique",
  },
  "a block given twice": {
    text: '{"node": [{"policy": "read"}, {"policy": "write"}]}',
    begins: "Invalid or duplicate policy keys: node",
  },
  "a YAML alias bomb": {
    text: `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nnode: [*c,*c,*c]\n`,
    begins: "Failed to parse ACL Policy: ",
  },
  "a prototype key": { text: '{"__proto__": {"node": 1}}', begins: "Invalid policy: " },
};
for (const [name, { text, begins }] of Object.entries(refused))
  test(`refused: ${name}`, () => {
    const first = faultsOf(text)[0] ?? "";
    assert.ok(first.startsWith(begins), first);
  });

test("lenient mode ignores unknown keys and decodes repeated blocks one after another", () => {
  const rules = rulesOf(
    '{"bogus": {}, "operator": [{"policy": "read", "capabilities": ["snapshot-save"]}, {"capabilities": ["keyring-read"]}], "node": [{"policy": "read"}, {"policy": "write"}]}',
    "lenient",
  );
  assert.deepEqual(rules.Node, { Policy: "write" });
  assert.deepEqual(rules.Operator?.Capabilities.slice(0, 2), ["snapshot-save", "keyring-read"]);
  assert.equal(rules.Operator?.Policy, "read");
});

test("names of Object.prototype grant nothing and expand to nothing", () => {
  assert.ok(faultsOf('{"namespace": [{"a": {"policy": "constructor"}}]}')[0]);
  const acl = compileAcl([]);
  for (const word of ["constructor", "__proto__", "toString"]) {
    assert.ok(!acl.namespace(word, word));
    assert.ok(!acl.operatorCapability(word));
  }
});

test("any text gives rules or faults, never an exception", () => {
  const word = fc.constantFrom(
    "namespace", "node", "operator", "default", "*", "policy", "read", "capabilities", "variables", "path", "deny",
  ); // biome-ignore format: a list
  const json = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      word,
      fc.constantFrom(null, 1, true),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(word, tie("value"), { maxKeys: 3 }),
    ),
  })).value;
  fc.assert(
    fc.property(json, (value) => {
      const parsed = parsePolicyText(JSON.stringify(value), "strict");
      if (!parsed.ok) return assert.ok(parsed.faults.length > 0);
      const again = readRules(parseJson(stringifyJson(toRulesJson(parsed.rules, ""))));
      return assert.deepEqual(again, parsed.rules);
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      parsePolicyText(text, "lenient");
    }),
    { numRuns: 2_000 },
  );
});

test("RulesJSON that is malformed is refused", () => {
  for (const value of [null, [], "x", { Namespaces: {} }, { Namespaces: [1] }, { Node: 1 }])
    assert.throws(() => readRules(value), { name: "RulesError" });
});

const examples = path.join(import.meta.dirname, "../../config/policies");
for (const file of readdirSync(examples))
  test(`the example policy ${file} parses strictly`, () => {
    rulesOf(readFileSync(path.join(examples, file), "utf8"));
  });
