import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";

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

test("the file may be given as the commands that run are given it", () => {
  for (const name of ["--file", "-f", "--config"])
    assert.equal(config(["print", name, "config/serai.example.yaml"]).status, 0, name);
  const { status, stderr } = config(["check", "--config", "a.yaml", "--file", "b.yaml"]);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^error: option '--config <path>' cannot be used with option '-f, --file <path>'\n$/,
  );
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

const directory = mkdtempSync(path.join(tmpdir(), "serai-command-"));
after(() => rmSync(directory, { recursive: true }));

const told = (kind: string, settings: object): readonly string[] => {
  const file = path.join(directory, "s.yaml");
  writeFileSync(file, JSON.stringify(settings));
  const { status, stderr } = config(["check", "--kind", kind, "--file", file]);
  assert.equal(status, 1);
  return stderr.replaceAll(`${directory}/`, "").trimEnd().split("\n");
};

const gone = "no such file or directory (ENOENT)";
const pair = { cert_file: "/none.crt", key_file: "/none.key" };

test("check looks at the files that a server's settings name, and tells all that it finds", () => {
  writeFileSync(path.join(directory, "empty.pem"), "");
  const empty = path.join(directory, "empty.pem");
  const issuer = { issuer: "https://a", audiences: ["x"], bindings: [{ claim: "c", value: "v", management: true }] };
  const settings = {
    region: "",
    tls: { ...pair, client_ca_file: empty },
    tunnel: { client_ca_file: "/none.ca" },
    reach: { ...pair, ca_file: empty },
    nomad: { ca_file: "/not/read/by/embedded" },
    acl: { jwt: { issuers: [{ ...issuer, jwks_file: "/none.json" }, { ...issuer, public_keys: ["x"] }] } },
  };
  assert.deepEqual(told("server", settings), [
    "file s.yaml: region: must be a name of letters, digits, '.', '_' and '-', at most 128 characters",
    `file s.yaml: tls.cert_file: /none.crt: ${gone}`,
    "file s.yaml: tls.client_ca_file: empty.pem: holds no certificate in PEM",
    `file s.yaml: tunnel.client_ca_file: /none.ca: ${gone}`,
    `file s.yaml: reach.cert_file: /none.crt: ${gone}`,
    "file s.yaml: reach.ca_file: empty.pem: holds no certificate in PEM",
    `file s.yaml: acl.jwt.issuers.0: https://a: /none.json: ${gone}`,
    "file s.yaml: acl.jwt.issuers.1: https://a: public_keys holds what is no public key in PEM",
  ]);
}); // biome-ignore format: a list

test("check looks at tokens and policies, once the settings are sound", () => {
  const policies = path.join(directory, "policies");
  mkdirSync(policies);
  writeFileSync(path.join(policies, "reader.hcl"), 'node { policy = "read" }');
  const acl = { tokens_file: "/none.yaml", policies_dir: policies };
  const lines = told("server", { acl });
  assert.equal(lines.length, 2);
  assert.match(lines[0] ?? "", /^policies\/reader\.hcl: /);
  assert.equal(lines[1], `/none.yaml: ${gone}`);
});

test("what is no YAML is told by its line, in one that ends there", () => {
  const broken = path.join(directory, "broken.yaml");
  writeFileSync(broken, "tokens: [\n");
  const words = /^broken\.yaml: Flow sequence .* at line 2, column 1$/;
  assert.match(told("server", { acl: { tokens_file: broken } }).join(), words);
});

test("check looks at the files of agents and connectors", () => {
  const gateway = { address: "https://gate.example", ca_file: "/none.ca", ...pair };
  assert.deepEqual(told("agent", { gateway, tls: pair }), [
    `file s.yaml: tls.cert_file: /none.crt: ${gone}`,
    `file s.yaml: gateway.cert_file: /none.crt: ${gone}`,
    `file s.yaml: gateway.ca_file: /none.ca: ${gone}`,
  ]);
  const agents = [{ node_id: "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55", ...pair }];
  assert.deepEqual(
    told("connect", { gateways: ["https://gate.example"], ca_file: "/none.ca", agents }),
    [
      `file s.yaml: ca_file: /none.ca: ${gone}`,
      `file s.yaml: agents.0.cert_file: /none.crt: ${gone}`,
    ],
  );
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
