import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { agentRows } from "../../src/config/agent-schema.ts";
import { connectRows } from "../../src/config/connect-schema.ts";
import { loadAgentConfig, loadConnectConfig, loadServerConfig } from "../../src/config/load.ts";
import { serverRows } from "../../src/config/server-schema.ts";
import type { Rows } from "../../src/config/settings.ts";

const directory = mkdtempSync(path.join(tmpdir(), "serai-examples-"));
after(() => rmSync(directory, { recursive: true }));

const mistakesOf = (act: () => unknown): string => {
  try {
    act();
    return "";
  } catch (error) {
    return String(error);
  }
};

const root = path.join(import.meta.dirname, "../..");

const cases = [
  { file: path.join(root, "config/serai.example.yaml"), load: loadServerConfig, ...serverRows },
  { file: path.join(root, "config/agent.example.yaml"), load: loadAgentConfig, ...agentRows },
  { file: path.join(root, "config/connect.example.yaml"), load: loadConnectConfig, ...connectRows },
];

const keysOf = (rows: Rows): readonly string[] =>
  Object.entries(rows).flatMap(([key, row]) =>
    row.type === "setting" ? [key] : [key, ...keysOf(row.rows)],
  );

for (const { file, load, rows } of cases) {
  const content = readFileSync(file, "utf8");

  test(`${path.basename(file)} loads as it is`, () => {
    assert.ok(load({ file, env: {} }).config);
  });

  test(`${path.basename(file)} shows every setting`, () => {
    const shown = new Set([...content.matchAll(/([a-z_0-9]+):/g)].map((match) => match[1]));
    assert.deepEqual(
      keysOf(rows).filter((key) => !shown.has(key)),
      [],
    );
  });

  test(`what ${path.basename(file)} comments out are settings too`, () => {
    const lines = content.split("\n");
    const hidden = lines.filter((line) => /^\s*# [a-z_]+: \S+$/.test(line));
    assert.ok(hidden.length > 3);
    for (const line of hidden) {
      const one = lines.map((other) => (other === line ? other.replace("# ", "") : other));
      const name = path.join(directory, path.basename(file));
      writeFileSync(name, one.join("\n"));
      assert.doesNotMatch(
        mistakesOf(() => load({ file: name, env: {} })),
        /unknown setting/,
        line,
      );
    }
  });
}

const run = (...args: readonly string[]) =>
  spawnSync(process.execPath, args, { cwd: root, encoding: "utf8", timeout: 30_000 });

test("the generated documentation is fresh", () => {
  const { status, stderr } = run("scripts/docs.ts", "--check");
  assert.equal(status, 0, stderr);
});

test("the files of a first set-up in docs/operating.md load as they are", () => {
  const docs = readFileSync(path.join(root, "docs/operating.md"), "utf8");
  const blocks = [...docs.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);
  const token = path.join(directory, "join.token");
  writeFileSync(token, "0123456789abcdef");
  for (const [at, load] of [loadServerConfig, loadAgentConfig].entries()) {
    const file = path.join(directory, `first-${at}.yaml`);
    writeFileSync(file, (blocks[at] ?? "").replace("join.token", token));
    assert.deepEqual(load({ file, env: {} }).warnings, []);
  }
  assert.equal(blocks.length, 2);
});
