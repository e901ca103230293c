import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { noticesOf } from "../../scripts/notices.ts";

const root = mkdtempSync(path.join(tmpdir(), "serai-notices-"));
after(() => rmSync(root, { recursive: true }));

const add = (place: string, licence?: string): void => {
  const directory = path.join(root, place);
  mkdirSync(directory, { recursive: true });
  const name = place.split("node_modules/").at(-1);
  writeFileSync(
    path.join(directory, "package.json"),
    JSON.stringify({ name, version: "1.2.3", license: "MIT" }),
  );
  if (licence !== undefined) writeFileSync(path.join(directory, licence), `Copyright of ${name}\n`);
};

add("node_modules/rolldown", "LICENSE");
add("node_modules/a", "license.md");
add("node_modules/a/node_modules/@b/c", "LICENCE-MIT");
add("node_modules/d", "COPYING");
add("node_modules/bare");

test("each package is named once, with the words of its licence; our own files are none", () => {
  const files = [
    "src/cli.ts",
    "\0rolldown/runtime.js",
    "node_modules/a/lib/one.js",
    "node_modules/a/lib/two.js",
    "node_modules/a/node_modules/@b/c/index.js",
    "node_modules/d/index.js",
  ];
  const [, ...parts] = noticesOf(root, files).split(/\n\n-{80}\n\n/);
  assert.deepEqual(
    parts.map((part) => part.trim()),
    ["a", "@b/c", "d", "rolldown"].map((name) => `${name} 1.2.3 (MIT)\n\nCopyright of ${name}`),
  );
});

test("a package without a licence fails the build", () => {
  assert.throws(
    () => noticesOf(root, ["node_modules/a/index.js", "node_modules/bare/index.js"]),
    new Error("bare 1.2.3 has no file with its licence"),
  );
});
