/** What `npm i -g` of the built package gives: the commands, the samples, and one clear line under a Node that is too old. */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { accessSync, constants, globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { allGone, ready, root, run, temporaryDirectory } from "../cli/support.ts";
import { until } from "../support/processes.ts";

const patienceMs = 110_000;

const done = (
  command: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): SpawnSyncReturns<string> =>
  spawnSync(command, argv, {
    cwd: root,
    encoding: "utf8",
    timeout: patienceMs,
    env: { ...process.env, ...env },
  });

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const majorOf = (node: string): number =>
  Number(done(node, ["-p", "process.versions.node.split('.')[0]"]).stdout);

/** A Node on this machine that is older than the one serai needs. */
const olderNode = (): string | undefined =>
  (process.env["PATH"] ?? "")
    .split(path.delimiter)
    .map((directory) => path.join(directory, "node"))
    .filter(isExecutable)
    .find((node) => majorOf(node) < 24);

test("the built package installs, runs, and says which Node it needs", {
  timeout: patienceMs,
}, async (t) => {
  using directory = temporaryDirectory();
  const out = path.join(directory.path, "dist");
  const built = done("npm", ["run", "--silent", "build", "--", out]);
  assert.equal(built.status, 0, built.stderr);
  const [tarball] = globSync(path.join(out, "serai-*.tgz"));
  assert.ok(tarball, "a tarball was packed");
  assert.match(built.stdout, /^npm i -g .*serai-[\d.]+\.tgz\n$/);

  await t.test("it holds what runs and what people read, and nothing of the development", () => {
    const names = done("tar", ["tzf", tarball]).stdout.trim().split("\n");
    const strange = names.filter(
      (name) =>
        !/^package\/(?:lib\/.+\.js|bin\/serai\.mjs|config\/.+\.(?:ya?ml|json|md)|package\.json|README\.md|CHANGELOG\.md|LICENSE)$/.test(
          name,
        ),
    );
    assert.deepEqual(strange, []);
    assert.ok(names.includes("package/lib/cli.js"));
  });

  const prefix = path.join(directory.path, "prefix");
  const installed = done("npm", [
    "i",
    "-g",
    "--prefix",
    prefix,
    "--prefer-offline",
    "--no-audit",
    "--no-fund",
    tarball,
  ]);
  if (installed.status !== 0) {
    assert.notEqual(process.env["CI"], "1", installed.stderr);
    return t.skip(`npm cannot install it here: ${installed.stderr.trim().split("\n").at(-1)}`);
  }
  const program = path.join(prefix, "bin/serai");
  const env = {
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env["PATH"]}`,
    NODE_COMPILE_CACHE: path.join(directory.path, "cache"),
  };

  await t.test("serai --version", () => {
    const { stdout, stderr, status } = done(program, ["--version"], env);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
    assert.deepEqual([stderr, status], ["", 0]);
  });

  await t.test("serai dev --json, twice: the second finds its code compiled", async (t) => {
    const data = path.join(directory.path, "data");
    for (const start of ["first", "second"]) {
      const began = performance.now();
      const dev = run(
        program,
        ["dev", "--json", "--port", "0", "--admin-port", "0", "--data-dir", data],
        { env },
      );
      const line = await ready(dev);
      t.diagnostic(`${start} start: ready in ${Math.round(performance.now() - began)} ms`);
      const web = line.allocations.find(({ JobID }) => JobID === "web");
      const response = await fetch(
        `${line.url}/v1/client/fs/cat/${web?.ID}?path=alloc/data/hello.txt`,
        {
          headers: { "X-Nomad-Token": line.tokens.operator },
        },
      );
      assert.equal(await response.text(), "Hello from serai.\n");
      dev.child.kill("SIGTERM");
      assert.deepEqual(await dev.ended, { code: 0, signal: null });
      await allGone(data);
    }
  });

  await t.test("serai connect is a small process, and reads its settings in another", async (t) => {
    const settings = {
      SERAI_CONNECT_GATEWAYS: "http://127.0.0.1:1",
      SERAI_CONNECT_JOIN_TOKEN: "0123456789abcdef0123456789abcdef",
    };
    const file = path.join(directory.path, "connect.yaml");
    writeFileSync(file, "agents: [{node_id: 7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55}]\n");
    const connector = run(program, ["connect", "--config", file], { env: { ...env, ...settings } });
    await until("it has dialled", () => connector.stdout().includes("no tunnel to the gateway"));
    const status = readFileSync(`/proc/${connector.child.pid}/status`, "utf8");
    const megabytes = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_000;
    t.diagnostic(`VmRSS ${megabytes.toFixed(1)} MB`);
    assert.ok(megabytes < 66, `${megabytes} MB`); // 61 when this was written, 86 with all that reading settings takes
    connector.child.kill("SIGTERM");
    assert.deepEqual(await connector.ended, { code: 0, signal: null });
  });

  await t.test("under an older Node it is one line, and exit status 1", (t) => {
    const node = olderNode();
    if (node === undefined) {
      t.skip("no Node older than 24 in PATH");
      return;
    }
    const { stdout, stderr, status } = done(node, [
      path.join(prefix, "lib/node_modules/serai/bin/serai.mjs"),
      "dev",
    ]);
    assert.match(stderr, /^serai needs Node 24\.\d+ or newer; this is Node [\d.]+ \(.+\)\.\n$/);
    assert.deepEqual([stdout, status], ["", 1]);
  });
});
