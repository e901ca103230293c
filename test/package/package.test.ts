/** What `npm i -g` of the built package gives: the commands, the samples, and one clear line under a Node that is too old. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { stringify } from "yaml";
import {
  allGone,
  type DevLine,
  type Run,
  ready,
  root,
  run,
  temporaryDirectory,
} from "../cli/support.ts";
import { until } from "../support/processes.ts";
import { execClient } from "../support/ws-client.ts";
import { build, done, install, patienceMs } from "./installed.ts";

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

const anywhere = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

const listening = (server: Run): Promise<{ readonly url: string; readonly admin: string }> =>
  until(
    () => `the gateway listens: ${server.stdout()}${server.stderr()}`,
    () => {
      const [, url, admin] = /"url":"([^"]+)","admin":"([^"]+)"/.exec(server.stdout()) ?? [];
      return url !== undefined && admin !== undefined && { url, admin };
    },
  );

interface Installed {
  readonly program: string;
  readonly env: Readonly<Record<string, string>>;
  readonly directory: string;
}

/** Tokens and a JWT that the program makes open the gateway that it runs, by plain paths and by those that express matches. */
const serve = async (t: TestContext, { program, env, directory }: Installed): Promise<void> => {
  const at = (name: string): string => path.join(directory, name);
  const serai = (...argv: readonly string[]): string => {
    const { stdout, stderr, status } = done(program, argv, env);
    assert.deepEqual([stderr, status], ["", 0], argv.join(" "));
    return stdout;
  };
  const { privateKey, publicKey } = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  writeFileSync(at("key.pem"), privateKey);
  const own = ["--issuer", "https://login.example.com", "--audience", "serai", "--subject", "me"];
  const jwt = serai("token", "jwt", "--key", at("key.pem"), ...own, "--claim", "groups=ops").trim();
  const created = serai("token", "create", "--type", "management", "--file", at("tokens.yaml"));
  serai("token", "join", "--file", at("join.yaml"));
  const issuer = {
    issuer: "https://login.example.com",
    public_keys: [publicKey],
    audiences: ["serai"],
    algorithms: "ES",
    bindings: [{ claim: "groups", value: "ops", management: true }],
  };
  const acl = { tokens_file: at("tokens.yaml"), join_tokens_file: at("join.yaml") };
  writeFileSync(at("serai.yaml"), stringify({ acl: { ...acl, jwt: { issuers: [issuer] } } }));
  serai("config", "check", "--file", at("serai.yaml"));
  assert.match(serai("config", "print", "--file", at("serai.yaml")), /tokens_file/);

  const argv = ["server", "--config", at("serai.yaml"), ...anywhere, "--data-dir", at("state")];
  const server = run(program, argv, { env });
  const { url, admin } = await listening(server);
  assert.equal((await fetch(`${admin}/readyz`)).status, 200);
  const secret = /SecretID +(\S+)/.exec(created)?.[1] ?? "";
  for (const token of [secret, jwt])
    for (const route of ["/v1/nodes", "/v1/%6eodes"])
      await t.test(`${token.slice(0, 2)}... ${route}`, async () => {
        const response = await fetch(`${url}${route}`, { headers: { "X-Nomad-Token": token } });
        assert.deepEqual([response.status, await response.json()], [200, []]);
      });
  server.child.kill("SIGTERM");
  assert.deepEqual(await server.ended, { code: 0, signal: null });
};

/** What `tty` says in the sample of files, nothing before that has started: the agent's terminals are not in the bundle, but installed beside it. */
const onTerminal = async ({ url, tokens, allocations }: DevLine): Promise<string> => {
  const { ID = "" } = allocations.find(({ JobID }) => JobID === "web") ?? {};
  const client = execClient({
    url,
    allocation: ID,
    task: "server",
    token: tokens.operator,
    command: ["tty"],
    tty: true,
  });
  await client.closed;
  return client.output("stdout").toString();
};

test("the built package installs, runs, and says which Node it needs", {
  timeout: patienceMs,
}, async (t) => {
  using directory = temporaryDirectory();
  const { tarball, words } = build(path.join(directory.path, "dist"));
  assert.match(words, /^npm i -g .*serai-[\d.]+\.tgz\n$/);
  const bill = JSON.parse(readFileSync(tarball.replace(/tgz$/, "cdx.json"), "utf8"));
  const materials: readonly string[] = bill.components.map(
    ({ name, version }: Readonly<Record<string, string>>) => `${name} ${version}`,
  );

  await t.test("it holds what runs and what people read, and nothing of the development", () => {
    const names = done("tar", ["tzf", tarball]).stdout.trim().split("\n");
    const strange = names.filter(
      (name) =>
        !/^package\/(?:lib\/.+\.js|bin\/serai\.mjs|config\/.+\.(?:ya?ml|json|md)|package\.json|README\.md|CHANGELOG\.md|LICENSE|THIRD-PARTY-NOTICES)$/.test(
          name,
        ),
    );
    assert.deepEqual(strange, []);
    assert.ok(names.includes("package/lib/cli.js"));
  });

  const prefix = path.join(directory.path, "prefix");
  const program = install(tarball, prefix);
  const home = path.join(prefix, "lib/node_modules/serai");
  const env = {
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env["PATH"]}`,
    NODE_COMPILE_CACHE: path.join(directory.path, "cache"),
    SERAI_TIMEOUTS_DRAIN_DELAY: "0s",
  };

  await t.test("serai --version", () => {
    const { stdout, stderr, status } = done(program, ["--version"], env);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
    assert.deepEqual([stderr, status], ["", 0]);
  });

  await t.test("every package in it is named in its notices, with the words of its licence", () => {
    const notices = readFileSync(path.join(home, "THIRD-PARTY-NOTICES"), "utf8");
    const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
    const beside = JSON.parse(readFileSync(path.join(home, "package.json"), "utf8")).dependencies;
    assert.deepEqual(beside, { "@lydell/node-pty": dependencies["@lydell/node-pty"] });
    for (const [name, version] of Object.entries(dependencies))
      assert.equal(notices.includes(`\n${name} ${version} (`), !(name in beside), name);
    const parts = notices.split(/\n-{80}\n/).slice(1);
    for (const part of parts) assert.match(part, /copyright|unlicense/i);
    // the bundler's own lines are the one thing in it that no production dependency brings
    const packages = parts.map((part) => part.trim().split(" (", 1)[0] ?? "");
    assert.deepEqual(
      packages.filter((name) => !(materials.includes(name) || name.startsWith("rolldown "))),
      [],
    );
  });

  await t.test("its bill of materials is serai's, with versions and hashes", () => {
    assert.deepEqual([bill.bomFormat, bill.metadata.component.name], ["CycloneDX", "serai"]);
    for (const { name, hashes } of bill.components) assert.equal(hashes[0]?.alg, "SHA-512", name);
    assert.ok(materials.some((name) => name.startsWith("@lydell/node-pty ")));
    assert.deepEqual(
      materials.filter((name) =>
        /^(?:typescript|rolldown|node(?:-\S+)?|@biomejs\/biome) /.test(name),
      ),
      [],
      "what serai is made with is not in it",
    );
  });

  await t.test("serai token, serai config and serai server of what they made", (t) =>
    serve(t, { program, env, directory: directory.path }),
  );

  await t.test("serai server --registry nomad", async () => {
    const address = ["--nomad-address", "http://127.0.0.1:1"];
    const data = path.join(directory.path, "nomad");
    const argv = ["server", "--registry", "nomad", ...address, ...anywhere, "--data-dir", data];
    const server = run(program, argv, { env });
    const { admin } = await listening(server);
    const response = await fetch(`${admin}/readyz?verbose`);
    assert.equal(response.status, 503);
    assert.match(await response.text(), /127\.0\.0\.1:1/);
    server.child.kill("SIGTERM");
    assert.deepEqual(await server.ended, { code: 0, signal: null });
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
      await until("its server has started, and has a terminal", async () =>
        /^\/dev\/(?:pts\/|tty)/.test(await onTerminal(line)),
      );
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
    const { stdout, stderr, status } = done(node, [path.join(home, "bin/serai.mjs"), "dev"]);
    assert.match(stderr, /^serai needs Node 24\.\d+ or newer; this is Node [\d.]+ \(.+\)\.\n$/);
    assert.deepEqual([stdout, status], ["", 1]);
  });
});
