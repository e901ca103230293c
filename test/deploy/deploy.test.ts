import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { parseDocument } from "yaml";
import { agentPatience } from "../../src/cli/agent.ts";
import { loadAgentConfig, loadConnectConfig, loadServerConfig } from "../../src/config/load.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { nodeFlags } from "../support/processes.ts";

const root = path.join(import.meta.dirname, "../..");
const at = (...parts: readonly string[]): string => path.join(root, "deploy", ...parts);
const directory = mkdtempSync(path.join(tmpdir(), "serai-deploy-"));
after(() => rmSync(directory, { recursive: true }));

const parse = <T>(file: string): T => {
  const document = parseDocument(readFileSync(file, "utf8"), { merge: true, uniqueKeys: true });
  assert.deepEqual(document.errors, []);
  return document.toJS();
};

for (const file of globSync("**/*.{yaml,yml}", { cwd: at() }))
  test(`deploy/${file} is sound YAML`, () => {
    assert.ok(parse(at(file)));
  });

interface Service {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly volumes?: readonly string[];
  readonly stop_grace_period?: string;
  readonly depends_on?: Readonly<Record<string, object>>;
}

const compose = parse<{ services: Record<string, Service>; volumes: Record<string, unknown> }>(
  at("compose.yaml"),
);
const services = Object.entries(compose.services);
const serai = services.filter(([, { command }]) => ["server", "agent"].includes(command[0] ?? ""));

/** Stands in for what the first container makes. */
const secretFile = path.join(directory, "secret");
writeFileSync(secretFile, "0123456789abcdef0123456789abcdef\n");

const envOf = ({ environment = {} }: Service): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      /_TOKEN_FILE$/.test(name) ? secretFile : value,
    ]),
  );

test("every command that starts serai gives node what the program's first line does", () => {
  assert.deepEqual(nodeFlags, ["--max-semi-space-size=8", "--no-parallel-scavenge", "--expose-gc"]);
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")); // our own
  const starts = Object.values(scripts).filter((line) => String(line).includes("bin/serai.mjs"));
  assert.equal(starts.length, 2);
  for (const line of starts)
    assert.ok(String(line).startsWith(`exec node ${nodeFlags.join(" ")} bin/serai.mjs`));
});

test("compose has a gateway and two agents", () => {
  const kinds = serai.map(([, { command }]) => command[0]);
  assert.deepEqual(kinds.toSorted(), ["agent", "agent", "server"]);
});

for (const [name, service] of serai)
  test(`the environment of the container ${name} is sound, and nothing in it is unknown`, () => {
    const env = envOf(service);
    const { warnings } =
      service.command[0] === "server"
        ? loadServerConfig({ env })
        : loadAgentConfig({ env, file: at("agent.yaml") });
    assert.deepEqual(warnings, []);
  });

test("the gateway lets its agents' addresses in, and they advertise what they are given", () => {
  const text = readFileSync(at("compose.yaml"), "utf8");
  for (const [name, { environment = {} }] of serai.filter(
    ([, one]) => one.command[0] === "agent",
  )) {
    const [host = ""] = (environment["SERAI_AGENT_ADVERTISE"] ?? "").split(":");
    assert.match(host, /^172\.30\.46\.\d+$/, name);
    assert.ok(text.includes(`ipv4_address: ${host} `), name);
  }
  assert.equal(compose.services["gateway"]?.environment?.["SERAI_REACH_ALLOW"], "172.30.46.0/24");
});

test("each container is given longer to stop than its program may take", () => {
  const { timeouts } = loadServerConfig({ env: {} }).config;
  const takesMs = {
    server: timeouts.drainMs + timeouts.drainDelayMs + 6_000,
    agent: agentPatience.closeMs + agentPatience.logMs,
  };
  for (const [name, { command, stop_grace_period: grace = "" }] of serai)
    assert.ok(
      Number.parseInt(grace, 10) * 1000 > takesMs[command[0] === "agent" ? "agent" : "server"],
      name,
    );
});

for (const [name, service] of services)
  test(`the container ${name} cannot write to its root, and what it mounts and waits for exists`, () => {
    assert.equal(service.read_only, true);
    if (name !== "secrets") assert.deepEqual(service.cap_drop, ["ALL"]);
    for (const volume of service.volumes ?? []) {
      const [source = ""] = volume.split(":");
      const there = source.startsWith(".") ? existsSync(at(source)) : source in compose.volumes;
      assert.ok(there, volume);
    }
    for (const other of Object.keys(service.depends_on ?? {})) assert.ok(other in compose.services);
  });

const dockerfile = readFileSync(at("Dockerfile"), "utf8");

test("the image copies what exists and does not run as root", () => {
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
    ([, sources = ""]) => sources.split(" "),
  );
  assert.ok(copied.length > 3);
  for (const source of copied) assert.ok(existsSync(path.join(root, source)), source);
  const users = [...dockerfile.matchAll(/^USER (.+)$/gm)].map((match) => match[1]);
  assert.deepEqual(users, ["10001:10001"]);
  assert.ok(existsSync(path.join(root, "bin/serai.mjs")));
});

test("the image's own environment is sound for gateway and agent", () => {
  const assignments = dockerfile.matchAll(/(SERAI_[A-Z_]+)=(\S+)/g);
  const env = Object.fromEntries(
    [...assignments].map(([, name = "", value = ""]) => [name, value]),
  );
  assert.equal(loadServerConfig({ env }).config.http.listen.host, "0.0.0.0");
  assert.equal(loadAgentConfig({ env }).config.dataDir, "/var/lib/serai");
});

const unit = (name: string): string => readFileSync(at("systemd", name), "utf8");
const units = globSync("*.service", { cwd: at("systemd") });

const nomadJob = readFileSync(at("nomad/serai-connect.nomad.hcl"), "utf8");
const nomadArgs = /\bargs += \[(.+)\]/.exec(nomadJob)?.[1] ?? "";

/** Everything these files have serai do, as its arguments. */
const commands: readonly (readonly string[])[] = [
  [...nomadArgs.matchAll(/"([^"]+)"/g)].map(([, word = ""]) => word),
  ...serai.map(([, { command }]) => command),
  ...[...(compose.services["secrets"]?.command.join("\n") ?? "").matchAll(/serai ([^>\n]+)/g)].map(
    ([, line = ""]) => line.trim().split(/\s+/),
  ),
  ...units.flatMap((name) =>
    [...unit(name).matchAll(/^Exec\w+=\/usr\/local\/bin\/serai (.+)$/gm)].map(([, line = ""]) =>
      line.split(" "),
    ),
  ),
];

const cli = path.join(root, "src/cli.ts");

test("the Nomad job's braces and quotes are whole, and its settings are sound", () => {
  const code = nomadJob.replaceAll(/^\s*#.*$/gm, "");
  for (const [open = "", close = ""] of ["{}", "[]", "()"])
    assert.equal(code.split(open).length, code.split(close).length, open + close);
  const file = path.join(directory, "connect.json");
  const [, template = ""] = /<<-EOT\n([\s\S]+?)\n\s*EOT$/m.exec(nomadJob) ?? [];
  const text = template
    .replace('{{ env "node.unique.name" }}', "node-1")
    .replace('{{ env "node.unique.id" }}', "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55")
    .replace(/\$\{jsonencode\(var\.gateways\)\}/, '["https://gateway-1:4646"]')
    .replace(/\$\{var\.agent_address\}/, "127.0.0.1:4646");
  writeFileSync(file, text);
  const env = { SERAI_CONNECT_JOIN_TOKEN_FILE: secretFile };
  const { config, warnings } = loadConnectConfig({ file, env });
  assert.deepEqual(warnings, []);
  const seconds = Number(/kill_timeout += "(\d+)s"/.exec(nomadJob)?.[1]);
  assert.ok(seconds * 1000 > config.drainMs, "it is given longer to stop than it takes to drain");
  assert.match(nomadJob, /SERAI_CONNECT_JOIN_TOKEN_FILE += "\$\{NOMAD_SECRETS_DIR\}/);
});

for (const command of new Set(commands.map((words) => words.join(" ")))) {
  const words = command.split(" ");
  const names = words.slice(0, words.findIndex((word) => word.startsWith("-")) >>> 0);
  const flags = words.filter((word) => word.startsWith("--"));
  const skip = existsSync(cli) ? false : "src/cli.ts is not there";
  test(`serai ${command}: the command and its flags exist`, { skip }, () => {
    const help = spawnSync(process.execPath, [cli, ...names, "--help"], {
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.equal(help.status, 0, help.stderr);
    assert.ok(help.stdout.startsWith(`Usage: serai ${names.join(" ")}`), help.stdout);
    for (const flag of flags) assert.ok(help.stdout.includes(flag), `${flag} in ${help.stdout}`);
  });
}

for (const name of units) {
  const text = unit(name);

  test(`${name} may open many descriptors, ends its children, and has time to drain`, () => {
    assert.match(text, /^LimitNOFILE=65536$/m);
    assert.match(text, /^KillMode=mixed$/m);
    const { timeouts } = loadServerConfig({ env: {} }).config;
    const stopSeconds = Number(/^TimeoutStopSec=(\d+)s$/m.exec(text)?.[1]);
    assert.ok(stopSeconds * 1000 > timeouts.drainMs + timeouts.drainDelayMs + 6_000);
  });

  test(`${name} is started again for as long as it cannot start`, () => {
    assert.match(text, /^\[Unit\]\n(?:(?!\[).*\n)*StartLimitIntervalSec=0$/m);
  });

  const found = spawnSync("systemd-analyze", ["--version"]).status === 0;
  const ci = process.env["CI"] === "1";
  const skip = found || ci ? false : "systemd-analyze is not installed: apt-get install systemd";
  test(`systemd accepts ${name}`, { skip }, () => {
    const file = path.join(directory, name);
    writeFileSync(file, text.replaceAll("/usr/local/bin/serai", process.execPath)); // its program is not installed here
    const args = ["verify", "--man=no", "--generators=no", file];
    const { status, stderr } = spawnSync("systemd-analyze", args, {
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.deepEqual([status, stderr], [0, ""]);
  });
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { alert: string; expr: string; annotations: object }[];
  }[];
}

test("every alert says what it means, and names metrics that the gateway exposes", async () => {
  const metrics = createMetrics({ version: "1", region: "global" });
  for (const reading of [
    "index_nodes",
    "index_lag_seconds",
    "circuit_open_nodes",
    "audit_queue_bytes",
    "audit_stalled_seconds",
    "tls_certificate_expiry_timestamp_seconds",
  ] as const)
    metrics.read(reading, () => 0);
  metrics.readNodes(() => ({ ready: 0, down: 0, initializing: 0, disconnected: 0 }));
  metrics.readTunnels(() => ({ open: 0, draining: 0 }));
  const text = await metrics.exposition();
  metrics.close();
  const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]));
  const rules = parse<Rules>(at("prometheus/rules.yml")).groups.flatMap((group) => group.rules);
  assert.ok(rules.length > 10);
  for (const { alert, expr, annotations } of rules) {
    assert.ok("summary" in annotations, alert);
    for (const [name] of expr.matchAll(/\b(?:serai|process)_[a-z0-9_]+/g))
      assert.ok(known.has(name.replace(/_bucket$/, "")), `${alert}: ${name}`);
  }
});

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;
for (const argv of [
  ["check", "rules", at("prometheus/rules.yml")],
  ["check", "config", "--syntax-only", at("prometheus/prometheus.yml")],
  ["test", "rules", path.join(import.meta.dirname, "rules.yaml")],
])
  test(`promtool ${argv.slice(0, 2).join(" ")}: alerts go off for what they are for`, {
    skip: hasPromtool ? false : "promtool is not installed: apt-get install prometheus",
  }, () => {
    const { status, stdout, stderr } = spawnSync("promtool", argv, { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  });

test("Prometheus reads the rules that are there and the token that is made", () => {
  const settings = parse<{ rule_files: string[] }>(at("prometheus/prometheus.yml"));
  for (const file of settings.rule_files) assert.ok(existsSync(at("prometheus", file)));
  assert.match(readFileSync(at("prometheus/prometheus.yml"), "utf8"), /secrets\/admin-token$/m);
  assert.match(compose.services["secrets"]?.command.join("\n") ?? "", /> admin-token$/m);
});
