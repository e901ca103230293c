import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import type { WorkloadConfig } from "../../src/agent/ports.ts";
import { agentDocument } from "../../src/config/agent-schema.ts";
import { hasFile, isScalar, settingsOf } from "../../src/config/layers.ts";
import { ConfigError, loadAgentConfig, loadServerConfig } from "../../src/config/load.ts";
import { printConfig } from "../../src/config/print.ts";
import { serverDocument } from "../../src/config/server-schema.ts";

const directory = mkdtempSync(path.join(tmpdir(), "serai-config-"));
after(() => rmSync(directory, { recursive: true }));

let written = 0;
const file = (content: string): string => {
  const name = path.join(directory, `${++written}.yaml`);
  writeFileSync(name, content);
  return name;
};

const mistakesOf = (act: () => unknown): readonly string[] => {
  try {
    act();
  } catch (error) {
    if (error instanceof ConfigError)
      return error.mistakes.map((mistake) => mistake.replaceAll(`${directory}/`, ""));
    throw error;
  }
  return [];
};

const adminToken = "0123456789abcdef-admin";
const joinToken = "0123456789abcdef-join";

test("defaults alone are a sound server: loopback listeners, ACLs on", () => {
  const { config } = loadServerConfig({ env: {} });
  assert.deepEqual(config.http.listen, { host: "127.0.0.1", port: 4646 });
  assert.deepEqual(config.admin.listen, { host: "127.0.0.1", port: 9464 });
  assert.equal(config.acl.enabled, true);
  assert.equal(config.limits.maxBodyBytes, 65_536);
  assert.equal(config.timeouts.drainMs, 30_000);
  assert.equal(config.admin.token, undefined);
});

test("a header that takes longer than a request, and keep-alive below a balancer's 60 s, are not the defaults", () => {
  const { timeouts } = loadServerConfig({ env: {} }).config;
  assert.ok(timeouts.headersMs <= timeouts.requestMs);
  assert.ok(timeouts.keepAliveMs > 60_000);
});

test("the environment overrides the file, and flags override the environment", () => {
  const name = file("region: one\ndatacenter: one\nname: one\n");
  const env = { SERAI_DATACENTER: "two", SERAI_NAME: "two" };
  const { config } = loadServerConfig({
    file: name,
    env,
    flags: { name: { name: "--name", text: "three" } },
  });
  assert.deepEqual([config.region, config.datacenter, config.name], ["one", "two", "three"]);
});

test("secrets given by environment alone really apply", () => {
  const env = { SERAI_ADMIN_TOKEN: adminToken, SERAI_ADMIN_LISTEN: "0.0.0.0:9464" };
  assert.equal(loadServerConfig({ env }).config.admin.token, adminToken);
});

test("a secret is read from the file that a variable names, without its last line end", () => {
  const env = { SERAI_ADMIN_TOKEN_FILE: file(`${adminToken}\n`) };
  assert.equal(loadServerConfig({ env }).config.admin.token, adminToken);
});

test("a secret is read from the file that the settings name, and a variable beats it", () => {
  const name = file(`gateway:\n  join_token_file: ${file(joinToken)}\n`);
  assert.equal(loadAgentConfig({ file: name, env: {} }).config.gateway.joinToken, joinToken);
  const env = { SERAI_AGENT_GATEWAY_JOIN_TOKEN: `${joinToken}-2` };
  assert.equal(loadAgentConfig({ file: name, env }).config.gateway.joinToken, `${joinToken}-2`);
});

test("lists come from a variable with commas", () => {
  const env = { SERAI_HTTP_TRUST_PROXY: "10.0.0.0/8, ::1" };
  assert.deepEqual(loadServerConfig({ env }).config.http.trustProxy, ["10.0.0.0/8", "::1"]);
});

test("origins are what browsers call them, however they are written", () => {
  const env = { SERAI_HTTP_ALLOWED_ORIGINS: "https://UI.Example.com, HTTP://ui.example.com:8080" };
  const { allowedOrigins } = loadServerConfig({ env }).config.http;
  assert.deepEqual(allowedOrigins, ["https://ui.example.com", "http://ui.example.com:8080"]);
});

test("all mistakes of all layers are told at once, each with its origin", () => {
  const name = file(
    "http:\n  listen: nowhere\n  lisen: x\nadmin:\n  listen: nowhere\nlimits:\n  max_body: 10 megs\nregoin: x\n",
  );
  const env = { SERAI_TIMEOUTS_IDLE: "soon" };
  const flags = {
    "a.b": { name: "--b", text: "1" },
    "http.listen": { name: "--listen", text: "4646" },
    "admin.listen": { name: "--admin-listen", text: undefined },
  };
  const mistakes = mistakesOf(() => loadServerConfig({ file: name, env, flags }));
  const yaml = path.basename(name);
  assert.deepEqual(new Set(mistakes), new Set([
    "--listen (http.listen): must be HOST:PORT",
    `file ${yaml}: admin.listen: must be HOST:PORT`,
    `file ${yaml}: http.lisen: unknown setting`,
    `file ${yaml}: regoin: unknown setting`,
    `file ${yaml}: limits.max_body: must be a size like "64KiB", from 1KiB to 16MiB`,
    'env SERAI_TIMEOUTS_IDLE: must be a duration like "10s" or "1m30s", from 1ms to 596h',
    "--b (a.b): unknown setting",
  ])); // biome-ignore format: a list
});

for (const value of [
  "10 megs",
  "NaN",
  "",
  " ",
  "-1KiB",
  "1e9",
  "Infinity",
  "64",
  "64kib",
  "0B",
  "999GiB",
])
  test(`a size written as ${JSON.stringify(value)} stops the start`, () => {
    const mistakes = mistakesOf(() => loadServerConfig({ env: { SERAI_LIMITS_MAX_BODY: value } }));
    assert.match(mistakes[0] ?? "", /^env SERAI_LIMITS_MAX_BODY: must be a size/);
  });

for (const value of ["10", "", "NaNs", "-1s", "0s", "1000h", "1d", "∞"])
  test(`a duration written as ${JSON.stringify(value)} stops the start`, () => {
    const mistakes = mistakesOf(() => loadServerConfig({ env: { SERAI_TIMEOUTS_IDLE: value } }));
    assert.match(mistakes[0] ?? "", /^env SERAI_TIMEOUTS_IDLE: must be a duration/);
  });

for (const value of ["", "0", "9000000", "64.5", "1e1", "0x10", "sixty", " 64"])
  test(`a number of connections written as ${JSON.stringify(value)} stops the start`, () => {
    const env = { SERAI_LIMITS_LIVE_PER_PRINCIPAL: value };
    const mistakes = mistakesOf(() => loadServerConfig({ env }));
    assert.match(mistakes[0] ?? "", /must be a whole number from 1 to 1000000/);
  });

for (const value of [
  "4646",
  ":4646",
  "a:b",
  "host:70000",
  "::1:80",
  "[::g]:80",
  "http://a:80",
  "a b:1",
])
  test(`an address written as ${JSON.stringify(value)} stops the start`, () => {
    const mistakes = mistakesOf(() => loadServerConfig({ env: { SERAI_HTTP_LISTEN: value } }));
    assert.deepEqual(mistakes, ["env SERAI_HTTP_LISTEN: must be HOST:PORT"]);
  });

for (const value of [
  "10.0.0.0/33",
  "10.0.0/8",
  "fd00::/129",
  "localhost",
  "10.0.0.0/8/8",
  "10.0.0.0/-1",
])
  test(`a network written as ${JSON.stringify(value)} stops the start`, () => {
    const mistakes = mistakesOf(() => loadServerConfig({ env: { SERAI_REACH_DENY: value } }));
    assert.match(mistakes[0] ?? "", /must be a list of networks/);
  });

const refused: readonly (readonly [string, string, RegExp])[] = [
  ["a YAML fault with its line", "http: [\n", /^file \d+\.yaml: .* at line \d+/],
  ["a key given twice", "name: a\nname: b\n", /Map keys must be unique/],
  ["a list instead of settings", "- a\n", /must be a map of settings/],
  ["a group that is a text", "http: here\n", /http: must be a group of settings/],
  ["a prototype key", "__proto__: { acl: 1 }\n", /__proto__: unknown setting/],
  ["a limit without a value", "limits:\n  max_body:\n", /limits.max_body: must be a size/],
  ["a bomb of aliases", `a: &a [x]\n${[..."bcdefghij"].map((k, i) => `${k}: &${k} [${Array(9).fill(`*${"abcdefghij"[i]}`).join(",")}]`).join("\n")}\n`, /alias/i],
  ["a certificate without its key", "tls:\n  cert_file: a\n", /tls.cert_file: needs tls.key_file/],
  ["nodes' certificates without TLS", "tunnel:\n  client_ca_file: a\n", /tunnel.client_ca_file: needs tls.cert_file/],
  ["headers slower than the request", "timeouts:\n  headers: 31s\n", /timeouts.headers: must not be longer/],
  ["the admin listener on the public one's address", "admin:\n  listen: 127.0.0.1:4646\n", /admin.listen: must differ/],
  ["the admin listener off loopback without a token", "admin:\n  listen: 0.0.0.0:9464\n", /admin.token: is required when/],
  ["a short secret", "admin:\n  token: short\n", /admin.token: must be a secret of 16/],
  ["a secret's file that is not there", "admin:\n  token_file: /nowhere/x\n", /admin.token_file: cannot read \/nowhere\/x/],
  ["a secret beside its file", `admin:\n  token: ${adminToken}\n  token_file: /x\n`, /admin.token_file: is set beside admin.token/],
  ["an issuer without keys", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        audiences: [b]\n        bindings: [{ claim: a, value: b, management: true }]\n", /issuers.0: needs exactly one of/],
  ["an issuer with a symmetric algorithm", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        jwks_file: k\n        audiences: [b]\n        algorithms: HS256\n", /algorithms: must be one of RS, PS, ES/],
  ["keys fetched in plain text", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        jwks_uri: http://login.example.com/k\n        audiences: [b]\n        bindings: [{ claim: a, value: b, management: true }]\n", /jwks_uri: must be https/],
  ["an issuer whose tokens are worth nothing", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        jwks_file: k\n        audiences: [b]\n", /issuers.0.bindings: must hold at least one/],
  ["a binding with both value and glob", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        jwks_file: k\n        audiences: [b]\n        bindings: [{ claim: c, value: d, glob: e, management: true }]\n", /issuers.0.bindings.0: needs one of value and glob/],
  ["a binding that gives nothing", "acl:\n  jwt:\n    issuers:\n      - issuer: a\n        jwks_file: k\n        audiences: [b]\n        bindings: [{ claim: c, value: d }]\n", /issuers.0.bindings.0: needs one of policies and management/],
  ["an issuer without a name", "acl:\n  jwt:\n    issuers:\n      - jwks_file: k\n        audiences: [b]\n", /issuers.0.issuer: is required/],
]; // biome-ignore format: a table

for (const [name, content, expected] of refused)
  test(`refused: ${name}`, () => {
    const mistakes = mistakesOf(() => loadServerConfig({ file: file(content), env: {} }));
    assert.ok(
      mistakes.some((mistake) => expected.test(mistake)),
      mistakes.join("\n"),
    );
  });

test("no mistake repeats a secret", () => {
  const bad = "s3cret with a blank in it";
  const mistakes = mistakesOf(() => loadServerConfig({ env: { SERAI_ADMIN_TOKEN: bad } }));
  assert.equal(mistakes.length, 1);
  assert.ok(!mistakes.join().includes("s3cret"));
});

test("a variable of another command is none that sets nothing", () => {
  const env = { SERAI_AGENT_NAME: "x", SERAI_CONNECT_NAME: "x" };
  const { warnings } = loadServerConfig({ env });
  assert.deepEqual(
    warnings.filter((words) => words.startsWith("env ")),
    [],
  );
});

test("a variable with our prefix that sets nothing is warned of", () => {
  const { warnings } = loadServerConfig({
    env: { SERAI_HTPP_LISTEN: "a:1", SERAI_AGENT_NAME: "x" },
  });
  assert.ok(warnings.includes("env SERAI_HTPP_LISTEN: sets nothing that server knows"));
  assert.ok(!warnings.some((warning) => warning.includes("SERAI_AGENT_NAME")));
});

test("ACLs off behind a public listener are warned of", () => {
  const env = { SERAI_HTTP_LISTEN: "0.0.0.0:4646", SERAI_ACL_ENABLED: "false" };
  assert.match(loadServerConfig({ env }).warnings.join("\n"), /whoever reaches http.listen/);
});

test("that no agent can join is warned of where neither tokens nor certificates let one", () => {
  const words = "no agent can join";
  assert.match(loadServerConfig({ env: {} }).warnings.join("\n"), new RegExp(words));
  const pair = { SERAI_TLS_CERT_FILE: "a", SERAI_TLS_KEY_FILE: "b" };
  for (const env of [
    { SERAI_ACL_JOIN_TOKENS_FILE: "j" },
    { ...pair, SERAI_TUNNEL_CLIENT_CA_FILE: "c" },
  ])
    assert.ok(!loadServerConfig({ env }).warnings.join().includes(words), JSON.stringify(env));
});

test("no two settings share a variable, a secret's file included", () => {
  for (const { prefix, root } of [serverDocument, agentDocument]) {
    const names = settingsOf(prefix, root.rows).flatMap(({ row, variable }) => [
      ...(isScalar(row) ? [variable] : []),
      ...(hasFile(row) ? [`${variable}_FILE`] : []),
    ]);
    assert.deepEqual(names, [...new Set(names)]);
  }
});

for (const load of [loadServerConfig, loadAgentConfig])
  test(`every default of ${load.name} is a value that a file may hold`, () => {
    const printed = printConfig(load({ env: {} }));
    assert.deepEqual(load({ file: file(printed), env: {} }).config, load({ env: {} }).config);
  });

test("what is printed names the origin and hides secrets, in tasks' environments too", () => {
  const server = printConfig(loadServerConfig({ env: { SERAI_ADMIN_TOKEN: adminToken } }));
  assert.match(server, /token: "\*\*\*" # env SERAI_ADMIN_TOKEN\n/);
  assert.ok(!server.includes(adminToken));
  const workload =
    "workloads:\n  - job: j\n    group: g\n    tasks:\n      - name: t\n        command: c\n        env: { PASSWORD: hunter2 }\n";
  const agent = printConfig(loadAgentConfig({ file: file(workload), env: {} }));
  assert.match(agent, /PASSWORD: "\*\*\*"/);
  assert.ok(!agent.includes("hunter2"));
});

const workload = (more: string): string =>
  `workloads:\n  - job: j\n    group: g\n    tasks:\n      - { name: t, command: c }\n${more}`;

test("a workload is exactly what the agent's runtime takes, defaults filled in", () => {
  const { config } = loadAgentConfig({ file: file(workload("")), env: {} });
  const workloads: readonly WorkloadConfig[] = config.workloads;
  assert.deepEqual(workloads, [
    {
      job: "j",
      namespace: "default",
      type: "service",
      group: "g",
      count: 1,
      meta: {},
      ports: [],
      restart: { attempts: 2, intervalMs: 1_800_000, delayMs: 15_000, mode: "fail" },
      services: [],
      tasks: [
        {
          name: "t",
          command: "c",
          args: [],
          env: {},
          meta: {},
          lifecycle: undefined,
          killTimeoutMs: 5000,
          killSignal: "SIGINT",
          logs: { maxFiles: 10, maxFileSizeMb: 10, disabled: false },
          resources: { cpu: 100, memoryMb: 300 },
          leader: false,
        },
      ],
    },
  ]);
});

const badWorkloads: readonly (readonly [string, string, RegExp])[] = [
  ["no task", "workloads:\n  - { job: j, group: g }\n", /workloads.0.tasks: needs at least one task/],
  ["two tasks of one name", workload("      - { name: t, command: d }\n"), /two are named t/],
  ["a task named as a path", "workloads:\n  - job: j\n    group: g\n    tasks: [{ name: ../x, command: c }]\n", /tasks.0.name: must be a name/],
  ["a service on an unknown port", workload("    services: [{ name: s, port: http }]\n"), /no port of the group is labelled http/],
  ["a check on an unknown port", workload("    ports: [{ label: a }]\n    services: [{ name: s, port: a, checks: [{ name: c, type: tcp, port: b }] }]\n"), /labelled b/],
  ["the same group twice", `${workload("")}  - job: j\n    group: g\n    tasks: [{ name: t, command: c }]\n`, /two are default\/j\/g/],
  ["an unknown key deep inside", "workloads:\n  - job: j\n    group: g\n    tasks: [{ name: t, command: c, comand: d }]\n", /workloads.0.tasks.0.comand: unknown setting/],
  ["an empty value in a map is no text", workload("    meta: { a: [1] }\n"), /workloads.0.meta: must be a map of texts/],
]; // biome-ignore format: a table

for (const [name, content, expected] of badWorkloads)
  test(`refused workload: ${name}`, () => {
    const mistakes = mistakesOf(() => loadAgentConfig({ file: file(content), env: {} }));
    assert.ok(
      mistakes.some((mistake) => expected.test(mistake)),
      mistakes.join("\n"),
    );
  });

test("a server may be written with a slash or the port that its scheme has anyway", () => {
  const written = "http://10.0.0.1:4646/,https://Nomad.example:443";
  const env = { SERAI_REGISTRY: "nomad", SERAI_NOMAD_ADDRESSES: written };
  const { config } = loadServerConfig({ env });
  assert.deepEqual(config.nomad.addresses, ["http://10.0.0.1:4646", "https://nomad.example"]);
});

const nomadMistakes: readonly (readonly [
  env: Readonly<Record<string, string>>,
  mistake: RegExp,
])[] = [
  [{}, /nomad\.addresses: must name at least one server/],
  [{ SERAI_NOMAD_ADDRESSES: "nomad:4646" }, /must be a list of addresses like/],
  [{ SERAI_NOMAD_ADDRESSES: "http://nomad:4646/v1" }, /must be a list of addresses like/],
  [
    { SERAI_NOMAD_ADDRESSES: "http://127.0.0.1:4646", SERAI_NOMAD_CERT_FILE: "/x" },
    /SERAI_NOMAD_CERT_FILE: needs nomad\.key_file/,
  ],
];
const jwtIssuer = {
  issuer: "https://issuer.test",
  jwks_file: "/keys.json",
  audiences: ["serai"],
  bindings: [{ claim: "groups", value: "readers", policies: ["reader"] }],
};

test("in front of a cluster issuers of JWTs need the service token, and it needs them", () => {
  const nomad = { addresses: ["http://127.0.0.1:4646"] };
  const withIssuers = (given: object) =>
    loadServerConfig({
      file: file(
        JSON.stringify({ registry: "nomad", nomad: given, acl: { jwt: { issuers: [jwtIssuer] } } }),
      ),
      env: {},
    });
  assert.match(
    mistakesOf(() => withIssuers(nomad)).join("\n"),
    /nomad\.service_token: is required when acl\.jwt\.issuers are set and registry is nomad/,
  );
  const serviceToken = "5e4c0000-1111-4222-8333-444444444444";
  const { config, warnings } = withIssuers({ ...nomad, service_token: serviceToken });
  assert.equal(config.nomad.serviceToken, serviceToken);
  assert.doesNotMatch(warnings.join("\n"), /service_token/);
  const unused = loadServerConfig({
    env: {
      SERAI_REGISTRY: "nomad",
      SERAI_NOMAD_ADDRESSES: "http://127.0.0.1:4646",
      SERAI_NOMAD_SERVICE_TOKEN: serviceToken,
    },
  });
  assert.match(unused.warnings.join("\n"), /nomad\.service_token is not used/);
});

for (const [env, mistake] of nomadMistakes)
  test(`in front of a cluster ${JSON.stringify(env)} stops the start`, () => {
    const mistakes = mistakesOf(() =>
      loadServerConfig({ env: { SERAI_REGISTRY: "nomad", ...env } }),
    );
    assert.match(mistakes.join("\n"), mistake);
  });

test("in front of a cluster files of tokens are warned about, for its servers know the tokens", () => {
  const env = {
    SERAI_REGISTRY: "nomad",
    SERAI_NOMAD_ADDRESSES: "http://127.0.0.1:4646,https://10.0.0.1:4646",
    SERAI_ACL_TOKENS_FILE: "tokens.yaml",
  };
  const { config, warnings } = loadServerConfig({ env });
  assert.deepEqual(config.nomad.addresses, ["http://127.0.0.1:4646", "https://10.0.0.1:4646"]);
  assert.match(warnings.join("\n"), /are not read when registry is nomad/);
  assert.match(warnings.join("\n"), /nomad\.token is not set/);
});
