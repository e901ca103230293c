import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";

const root = path.join(import.meta.dirname, "../..");
const module = path.join(root, "src/cli/config.ts");

const config = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  spawnSync(
    process.execPath,
    ["-e", `import(${JSON.stringify(module)}).then(m => m.configCommand().parse(["node", "serai config", ...${JSON.stringify(args)}]))`],
    { cwd: root, encoding: "utf8", timeout: 30_000, env: { PATH: process.env["PATH"], ...env } },
  ); // biome-ignore format: one call

test("check says that a sound file is sound", () => {
  const { status, stdout } = config(["check", "--file", "config/serai.example.yaml"]);
  assert.deepEqual([status, stdout], [0, "settings are sound\n"]);
});

test("check tells every mistake on stderr and exits 1", () => {
  const { status, stdout, stderr } = config(["check"], {
    SERAI_HTTP_LISTEN: "x",
    SERAI_NAME: "",
  });
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /env SERAI_HTTP_LISTEN: must be HOST:PORT\n/);
  assert.match(stderr, /env SERAI_NAME: must be a name/);
});

test("a server's file checked as an agent's is refused", () => {
  const { status, stderr } = config([
    "check",
    "--kind",
    "agent",
    "-f",
    "config/serai.example.yaml",
  ]);
  assert.equal(status, 1);
  assert.match(stderr, /http: unknown setting/);
});

test("print shows what is in force with its origin", () => {
  const { status, stdout } = config(["print", "--kind", "agent"], { SERAI_AGENT_REGION: "eu" });
  assert.equal(status, 0);
  assert.match(stdout, /^region: eu # env SERAI_AGENT_REGION$/m);
});
