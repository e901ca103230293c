/** Who may import whom, held as data: docs/architecture.md explains the table. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const everywhere = ["lib", "errors", "ports", "documents", "parameters", "bodies", "answer"];

const mayImport: Readonly<Record<string, readonly string[] | "all">> = {
  lib: [],
  errors: [],
  documents: ["lib"],
  parameters: ["errors", "lib"],
  bodies: ["errors", "lib", "routes"],
  answer: ["errors", "lib", "ports"],
  ports: ["errors", "lib", "documents", "parameters", "routes", "upstream"],
  routes: ["errors", "ports", "parameters"],
  journey: ["ports"],
  nomad: everywhere,
  acl: [...everywhere, "routes", "nomad"],
  registry: [...everywhere, "routes", "nomad"],
  logs: everywhere,
  live: [...everywhere, "routes"],
  observe: [...everywhere, "routes"],
  config: [...everywhere, "routes"],
  tunnel: [...everywhere, "http"],
  upstream: ["lib"],
  reach: [...everywhere, "nomad", "tunnel", "upstream"],
  carry: [...everywhere, "routes", "nomad", "upstream", "logs"],
  http: [...everywhere, "routes"],
  agent: [...everywhere, "routes", "acl", "http", "tunnel", "logs"],
  ingress: [...everywhere, "routes", "journey", "http"],
  gateway: "all",
  cli: "all",
};

const partOf = (file: string): string => {
  const [first = ""] = path.relative("src", file).split(path.sep);
  return first.replace(/\.ts$/, "");
};

const importsOf = (file: string): readonly string[] =>
  [...readFileSync(file, "utf8").matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)].map(
    (match) => path.join(path.dirname(file), match[1] ?? ""),
  );

for (const file of globSync("src/**/*.ts"))
  test(`${file} imports only what its part may`, () => {
    const part = partOf(file);
    const allowed = mayImport[part];
    assert.ok(allowed, `the part ${part} has no row in the table`);
    for (const target of importsOf(file)) {
      const other = partOf(target);
      if (other === part || allowed === "all") continue;
      assert.ok(allowed.includes(other), `${part} must not import ${other} (${target})`);
    }
  });
