/** A gateway and an agent wired together by hand from the example settings, as docs tell it: tokens first, then the processes. */
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { parseDocument } from "yaml";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/processes.ts";
import {
  allGone,
  type Directory,
  type Run,
  root,
  run,
  serai,
  takenPort,
  temporaryDirectory,
} from "./support.ts";

/** An example with the lines changed that a user changes; undefined takes one out. */
const settings = (
  example: "serai" | "agent",
  changes: readonly (readonly [path: readonly (string | number)[], value: unknown])[],
): string => {
  const file = path.join(root, `config/${example}.example.yaml`);
  const document = parseDocument(readFileSync(file, "utf8"));
  for (const [at, value] of changes)
    if (value === undefined) document.deleteIn(at);
    else document.setIn(at, document.createNode(value));
  return String(document);
};

const succeeded = async (started: Run): Promise<string> => {
  const { code } = await started.ended;
  assert.equal(code, 0, started.stderr());
  return started.stdout();
};

const logged = (started: Run, words: string): Promise<true> =>
  until(`${words} (${started.stderr()})`, () => {
    assert.equal(started.child.exitCode, null, started.stderr());
    return started.stdout().includes(words) || undefined;
  });

interface Wired {
  readonly url: string;
  readonly token: string;
  readonly server: Run;
  readonly agent: Run;
  readonly serverFile: string;
}

const wire = async ({ path: directory }: Directory): Promise<Wired> => {
  const at = (name: string): string => path.join(directory, name);
  cpSync(path.join(root, "config/policies"), at("policies"), { recursive: true });

  const created = await succeeded(
    serai([
      "token",
      "create",
      "--policy",
      "operator",
      "--name",
      "me",
      "--ttl",
      "1h",
      "--file",
      at("tokens.yaml"),
    ]),
  );
  const token = /^SecretID {4}([0-9a-f-]{36})$/m.exec(created)?.[1] ?? assert.fail(created);
  const joined = await succeeded(
    serai(["token", "join", "--uses", "1", "--file", at("join.yaml")]),
  );
  const join = /\S+\s*$/.exec(joined.trim())?.[0] ?? assert.fail(joined);
  writeFileSync(at("join-token"), `${join}\n`, { mode: 0o600 });

  const port = await freePort();
  writeFileSync(
    at("serai.yaml"),
    settings("serai", [
      [["data_dir"], at("gateway")],
      [["http", "listen"], `127.0.0.1:${port}`],
      [["admin", "listen"], "127.0.0.1:0"],
      [
        ["acl"],
        {
          tokens_file: at("tokens.yaml"),
          policies_dir: at("policies"),
          join_tokens_file: at("join.yaml"),
        },
      ],
      [["reach", "allow"], ["127.0.0.1/32"]],
      [["timeouts", "drain"], "1s"],
      [["timeouts", "drain_delay"], "0s"],
    ]),
  );
  writeFileSync(
    at("agent.yaml"),
    settings("agent", [
      [["data_dir"], at("agent")],
      [["listen"], "127.0.0.1:0"],
      [["gateway"], { address: `http://127.0.0.1:${port}`, join_token_file: at("join-token") }],
      [["workloads", 0, "ports"], [{ label: "http" }]],
      [["workloads", 0, "tasks", 1, "command"], process.execPath],
      [
        ["workloads", 0, "tasks", 1, "args"],
        [
          "-e",
          "require('node:http').createServer((_, r) => r.end('hi')).listen(process.env.NOMAD_PORT_http)",
        ],
      ],
    ]),
  );
  for (const [kind, file] of [
    ["server", at("serai.yaml")],
    ["agent", at("agent.yaml")],
  ] as const)
    assert.equal(
      await succeeded(serai(["config", "check", "--kind", kind, "--file", file])),
      "settings are sound\n",
    );

  const server = serai(["server", "--config", at("serai.yaml")]);
  await logged(server, "gateway listens");
  const agent = serai(["agent", "--config", at("agent.yaml")]);
  await logged(agent, "announced to the gateway");
  return { url: `http://127.0.0.1:${port}`, token, server, agent, serverFile: at("serai.yaml") };
};

const curl = (url: string, token: string): Promise<string> =>
  succeeded(run("curl", ["-sS", "-H", `X-Nomad-Token: ${token}`, url]));

test("tokens, settings, a gateway and an agent make a file readable with curl, and SIGTERM ends both well", async () => {
  using directory = temporaryDirectory();
  const { url, token, server, agent, serverFile } = await wire(directory);
  const id = await until("the allocation runs", async () => {
    const list: { ID: string; ClientStatus: string }[] = JSON.parse(
      await curl(`${url}/v1/allocations`, token),
    );
    return list.find(({ ClientStatus }) => ClientStatus === "running")?.ID;
  });
  assert.equal(
    await curl(`${url}/v1/client/fs/cat/${id}?path=prepare/local/ready`, token),
    "ready\n",
  );
  assert.equal(
    await curl(
      `${url}/v1/client/fs/cat/${id}?path=prepare/local/ready`,
      "00000000-0000-4000-8000-000000000000",
    ),
    "Permission denied",
  );

  const printed = await succeeded(serai(["config", "print", "--file", serverFile]));
  assert.ok(!printed.includes(token), "no secret is printed");
  const second = serai(["server", "--config", serverFile, "--listen", "127.0.0.1:0"]);
  await until("a second server is told", () => second.stderr().includes("\n"));
  assert.match(second.stderr(), /^.*gateway is in use by process \d+; waiting for it to end\n$/);
  second.child.kill("SIGTERM");
  await second.ended;

  for (const one of [agent, server]) {
    one.child.kill("SIGTERM");
    assert.deepEqual(await one.ended, { code: 0, signal: null });
    assert.equal(one.stderr(), "");
    for (const line of one.stdout().trimEnd().split("\n"))
      assert.equal(JSON.stringify(JSON.parse(line)), line, "no member stands in it twice");
  }
  await allGone(directory.path);
});

test("a second signal ends it at once", async () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "serai.yaml");
  const text = settings("serai", [
    [["data_dir"], path.join(directory.path, "gateway")],
    [["http", "listen"], "127.0.0.1:0"],
    [["admin", "listen"], "127.0.0.1:0"],
    [["acl", "jwt"], undefined],
    [["timeouts", "drain_delay"], "10m"],
  ]);
  writeFileSync(file, text);
  const server = serai(["server", "--config", file]);
  await logged(server, "gateway listens");
  server.child.kill("SIGTERM");
  const admin = /"admin":"([^"]+)"/.exec(server.stdout())?.[1] ?? assert.fail(server.stdout());
  await until(
    "it is not ready any more",
    async () => (await fetch(`${admin}/readyz`)).status === 503,
  );
  assert.equal(server.child.exitCode, null, "it goes on while balancers take notice");
  server.child.kill("SIGTERM");
  assert.deepEqual(await server.ended, { code: 1, signal: null });
  await allGone(directory.path);
});

const refusals: readonly (readonly [argv: readonly string[], words: RegExp])[] = [
  [["frob"], /^error: unknown command 'frob'\n$/],
  [["server", "--frob"], /^error: unknown option '--frob'\n$/],
  [["dev", "extra"], /^error: too many arguments for 'dev'/],
  [
    ["dev", "--agents", "0"],
    /^error: option '--agents <count>' argument '0' is invalid\. must be a whole number from 1 to 16\.\n$/,
  ],
  [
    ["dev", "--port", "http"],
    /^error: option '--port <port>' argument 'http' is invalid\. must be a whole number from 0 to 65535\.\n$/,
  ],
  [["server", "--config", "DIR/none.yaml"], /^serai: file DIR\/none\.yaml: no such file\n$/],
  [["agent", "--config", "DIR/none.yaml"], /^serai: file DIR\/none\.yaml: no such file\n$/],
  [["server", "--listen", "nowhere"], /^serai: --listen \(http\.listen\): must be HOST:PORT\n$/],
  [
    ["server", "--config", "DIR/bad.yaml"],
    /^serai: file DIR\/bad\.yaml: http\.listn: unknown setting\n$/,
  ],
  [
    ["config", "check", "--file", "DIR/bad.yaml"],
    /^file DIR\/bad\.yaml: http\.listn: unknown setting\n$/,
  ],
  [
    ["token", "create", "--file", "DIR/t.yaml"],
    /^error: a client token needs at least one --policy\n$/,
  ],
  [
    ["token", "create", "--policy", "a b", "--file", "DIR/t.yaml"],
    /^error: option '--policy <name>' argument 'a b' is invalid\. /,
  ],
  [["token", "join"], /^error: required option '--file <file>' not specified\n$/],
];

describe("what cannot be done is one clear line and exit status 1", { concurrency: 2 }, () => {
  for (const [argv, words] of refusals)
    test(`serai ${argv.join(" ")}`, async () => {
      using directory = temporaryDirectory();
      writeFileSync(path.join(directory.path, "bad.yaml"), "http: {listn: 127.0.0.1:1}\n");
      const started = serai(argv.map((word) => word.replace("DIR", directory.path)));
      assert.equal((await started.ended).code, 1);
      assert.match(started.stderr().replaceAll(directory.path, "DIR"), words);
      assert.equal(started.stdout(), "");
    });

  test("serai server on a port in use", async () => {
    using directory = temporaryDirectory();
    await using taken = await takenPort();
    const started = serai([
      "server",
      "--listen",
      `127.0.0.1:${taken.port}`,
      "--admin-listen",
      "127.0.0.1:0",
      "--data-dir",
      directory.path,
    ]);
    assert.equal((await started.ended).code, 1);
    assert.match(
      started.stderr(),
      new RegExp(
        `^serai: --listen \\(http\\.listen\\): 127\\.0\\.0\\.1:${taken.port} is in use by another program; choose another port or stop that program\\n$`,
        "m",
      ),
    );
  });
});

test("serai --help names every command, and fits a terminal", async () => {
  const help = await succeeded(serai(["--help"]));
  for (const command of ["dev", "server", "agent", "token", "config"])
    assert.match(help, new RegExp(`^ {2}${command}\\b`, "m"));
  assert.ok(help.split("\n").every((line) => line.length <= 100));
});
