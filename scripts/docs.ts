/** `node scripts/docs.ts` writes the generated documentation; with `--check` it fails when a file is stale. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { agentDocument } from "../src/config/agent-schema.ts";
import { connectDocument } from "../src/config/connect-schema.ts";
import { settingsReference } from "../src/config/reference.ts";
import { serverDocument } from "../src/config/server-schema.ts";
import { type Route, routes } from "../src/routes.ts";

const root = path.join(import.meta.dirname, "..");
const begin = "<!-- endpoints:begin -->";
const end = "<!-- endpoints:end -->";

const right = ({ rule }: Route): string => {
  switch (rule.on) {
    case "namespace":
      return rule.anyOf.map((capability) => `\`${capability}\``).join(" or ");
    case "node":
    case "agent":
      return `\`${rule.on}:${rule.level}\``;
    case "answer":
      return "by item";
    case "nobody":
      return "none";
  }
};

/** `*id` is the router's; people read `:id`. */
const toShown = (template: string): string => template.replace("*id", ":id");

const endpointTable = (): string =>
  [
    "| method | path | right | what it does |",
    "|---|---|---|---|",
    ...routes.map(
      (route) =>
        `| ${route.methods?.join(", ") ?? "any"} | \`${toShown(route.path)}\` | ${right(route)} | ${route.about} |`,
    ),
  ].join("\n");

/** The text with what stands between the markers replaced; undefined when it has none. */
const withTable = (text: string): string | undefined => {
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  return from < 0 || to < from
    ? undefined
    : `${text.slice(0, from + begin.length)}\n\n${endpointTable()}\n\n${text.slice(to)}`;
};

/** As `biome check` wants it, so that what is generated passes the project's own check. */
const formatted = (file: string, input: string): string => {
  const biome = path.join(root, "node_modules/.bin/biome");
  const args = ["format", `--stdin-file-path=${path.relative(root, file)}`];
  const { status, stdout, stderr } = spawnSync(biome, args, { cwd: root, input, encoding: "utf8" });
  if (status !== 0) throw new Error(`biome cannot format ${file}: ${stderr}`);
  return stdout;
};

const readIfThere = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

const readme = path.join(root, "README.md");
const reference = path.join(root, "config/reference.md");
const table = withTable(readIfThere(readme));
const wanted: readonly (readonly [string, string])[] = [
  [reference, settingsReference([serverDocument, agentDocument, connectDocument])],
  ...(table === undefined ? [] : [[readme, table] as const]),
];

const stale = wanted
  .map(([file, text]) => [file, formatted(file, text)] as const)
  .filter(([file, text]) => readIfThere(file) !== text);
if (process.argv.includes("--check")) {
  for (const [file] of stale)
    console.error(`${path.relative(root, file)} is stale: run node scripts/docs.ts`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else for (const [file, text] of stale) writeFileSync(file, text);
