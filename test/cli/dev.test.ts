/** `serai dev` as a user meets it: one command, one line or one page, and nothing left behind however it ends. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import WebSocket from "ws";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/processes.ts";
import {
  allGone,
  type DevLine,
  npmRun,
  processesOf,
  type Run,
  ready,
  root,
  run,
  serai,
  takenPort,
  temporaryDirectory,
} from "./support.ts";

const anyPorts = ["--port", "0", "--admin-port", "0"];

const small = `
- job: ticks
  group: one
  tasks:
    - name: tick
      command: /bin/sh
      args: [-c, "trap 'exit 0' INT; while :; do echo tick; sleep 1 & wait $!; done"]
`;

const smallFile = (directory: string): string => {
  const file = path.join(directory, "workloads.yaml");
  writeFileSync(file, small);
  return file;
};

const get = async (url: string, token: string): Promise<readonly [number, string]> => {
  const response = await fetch(url, { headers: { "X-Nomad-Token": token } });
  return [response.status, await response.text()];
};

const allocationOf = ({ allocations }: DevLine, job: string): DevLine["allocations"][number] =>
  allocations.find(({ JobID }) => JobID === job) ?? assert.fail(`no allocation of ${job}`);

const identities = ({ allocations }: DevLine): readonly string[] =>
  allocations.map(({ ID, NodeID, Name }) => `${Name} ${ID} ${NodeID}`).sort();

/** The exit code and what the command printed. */
const exec = (line: DevLine, allocation: string, task: string, command: readonly string[]) => {
  const query = new URLSearchParams({ task, tty: "false", command: JSON.stringify(command) });
  const socket = new WebSocket(
    `${line.url.replace("http", "ws")}/v1/client/allocation/${allocation}/exec?${query}`,
    { headers: { "X-Nomad-Token": line.tokens.operator } },
  );
  return new Promise<{ code: number | undefined; output: string }>((resolve, reject) => {
    let output = "";
    let code: number | undefined;
    socket.on("error", reject);
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data));
      if (frame.stdout?.data) output += Buffer.from(frame.stdout.data, "base64").toString();
      if (frame.exited) code = frame.result?.exit_code ?? 0;
    });
    socket.on("close", () => resolve({ code, output }));
  });
};

/** What the README's tour has one type at the gateway with curl, and what it says that one sees; `…` is anything. */
const tour = (): readonly { readonly command: string; readonly output: RegExp }[] => {
  const readme = readFileSync(path.join(root, "README.md"), "utf8");
  const steps = [...readme.matchAll(/^\$ (curl .*NOMAD_ADDR.*)\n((?:.+\n)+)/gm)];
  assert.equal(steps.length, 4);
  return steps.map(([, command = "", shown = ""]) => {
    const literal = shown.replace(/\^C\n$|```\n$/, "").trimEnd();
    const parts = literal.split("…").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
    return { command, output: new RegExp(`^${parts.join("[^]*")}`) };
  });
};

test("npm run dev prints a page whose lines work as they are, and a second start resumes", async (t) => {
  using directory = temporaryDirectory();
  const argv = ["dev", "--", ...anyPorts, "--data-dir", directory.path];
  const first = npmRun(argv);
  await until("the page", () => first.stdout().includes("Ctrl-C ends the gateway"), 60_000);
  const page = first.stdout();

  await t.test("the page fits a terminal but for the lines to copy", () => {
    const wide = page
      .split("\n")
      .filter((line) => line.length > 100 && !/^ {2}(?:curl|nomad|export) /.test(line));
    assert.deepEqual(wide, []);
    assert.match(page, /\n {2}agents {3}dev-agent-1 on 127\.0\.0\.1:\d+\n {11}dev-agent-2 on /);
    assert.equal(first.stderr(), "");
  });

  const lines = page.split("\n").map((line) => line.trim());
  const setup = lines.find((line) => line.startsWith("export NOMAD_ADDR=")) ?? "";
  const curls = lines.filter((line) => line.startsWith("curl "));
  const expected: readonly (readonly [name: string, of: RegExp, output: RegExp])[] = [
    ["a file is read", /NOMAD_TOKEN" .*hello\.txt/, /^Hello from serai\.\n$/],
    ["a log is followed", /follow=true/, /talk: line \d+\n/],
    ["metadata is set", / -d /, /"owner":\s*"me"/],
    ["metadata is read", /metadata\?node_id=/, /"rack":\s*"r1"/],
    [
      "a token without the right is refused",
      /-H "X-Nomad-Token: [0-9a-f]/,
      /^Permission denied\s*$/,
    ],
    ["the way to a node is told", /\/reach/, /"Used":\s*"direct"/],
    ["metrics are read", /\/metrics/, /serai_http_requests_total\{/],
  ];
  assert.equal(curls.length, expected.length, curls.join("\n"));
  assert.ok(lines.indexOf(setup) < lines.indexOf(curls[0] ?? ""), "the export line comes first");
  for (const [name, of, output] of expected)
    await t.test(`copied from the page: ${name}`, async () => {
      const line = curls.findLast((one) => of.test(one));
      const pasted = run("bash", ["-c", `${setup}\n${line}`]);
      await until(`${line} prints ${output}`, () => output.test(pasted.stdout()));
      if (/follow/.test(line ?? "")) pasted.signalGroup("SIGINT");
      else assert.equal((await pasted.ended).code, 0);
    });

  for (const { command, output } of tour())
    await t.test(`from the README: ${command}`, async () => {
      const typed = run("bash", ["-c", `${setup}\n${command}`]);
      await until(
        () => `${command} prints ${output}, not ${typed.stdout()}`,
        () => output.test(typed.stdout()),
      );
      if (/follow/.test(command)) typed.signalGroup("SIGINT");
      else assert.equal((await typed.ended).code, 0);
    });

  first.signalGroup("SIGINT");
  assert.equal((await first.ended).code, 0, "Ctrl-C is no failure");
  await allGone(directory.path);

  const second = npmRun([...argv, "--json"]);
  const line = await ready(second);
  await t.test("the second start has the tokens and the allocations of the first", () => {
    for (const secret of Object.values(line.tokens)) assert.ok(page.includes(secret));
    for (const { ID } of line.allocations) assert.ok(page.includes(ID), `${ID} is new`);
    assert.deepEqual(
      line.allocations.map(({ JobID, Tasks, ClientStatus }) => [JobID, Tasks, ClientStatus]),
      [
        ["chatter", ["talk", "burst"], "running"],
        ["web", ["prepare", "server"], "running"],
        ["report", ["print"], "complete"],
        ["ledger", ["count"], "running"],
      ],
    );
    assert.deepEqual(
      line.nodes.map(({ Name }) => Name),
      ["dev-agent-1", "dev-agent-2"],
    );
  });

  await t.test(
    "what was said before is still in the log, and the tokens hold what they say",
    async () => {
      const chatter = allocationOf(line, "chatter").ID;
      const ledger = allocationOf(line, "ledger").ID;
      const logs = (id: string, task: string, token: string) =>
        get(`${line.url}/v1/client/fs/logs/${id}?task=${task}&type=stdout&plain=true`, token);
      const { management, operator, reader, none } = line.tokens;
      assert.match((await logs(chatter, "talk", reader))[1], /talk: line 1\n[\s\S]*talk: goodbye/);
      assert.deepEqual(await logs(ledger, "count", reader), [403, "Permission denied"]);
      assert.deepEqual(await logs(chatter, "talk", none), [403, "Permission denied"]);
      for (const token of [operator, management])
        assert.equal((await logs(ledger, "count", token))[0], 200);
    },
  );

  await t.test("a command runs through the gate", async () => {
    const { ID } = allocationOf(line, "web");
    assert.deepEqual(
      await exec(line, ID, "server", ["/bin/sh", "-c", "echo $NOMAD_TASK_NAME; exit 7"]),
      { code: 7, output: "server\n" },
    );
  });

  for (const [who, argv] of [
    ["a second dev", ["dev", ...anyPorts, "--data-dir", directory.path]],
    [
      "a server",
      [
        "server",
        ...["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        ...["--data-dir", path.join(directory.path, "gateway")],
      ],
    ],
  ] as const)
    await t.test(`${who} on the same data is told who has it`, async () => {
      const rival = serai(argv);
      const told = /^.* is in use by process \d+; waiting for it to end$/m;
      await until("it is told", () => told.test(rival.stderr()));
      rival.child.kill("SIGTERM");
      assert.equal((await rival.ended).code, 0);
      assert.equal((await fetch(`${line.admin_url}/readyz`)).status, 200, "the first goes on");
    });

  second.child.kill("SIGTERM");
  await second.ended;
  await allGone(directory.path);
});

const devPidOf = (directory: string): number =>
  processesOf(directory).find((pid) => {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return words.includes("dev") && words[0]?.endsWith("node") === true;
  }) ?? assert.fail("no process of serai dev");

const ends: readonly (readonly [name: string, end: (npm: Run, directory: string) => void])[] = [
  ["Ctrl-C", (npm) => npm.signalGroup("SIGINT")],
  ["SIGTERM to npm", (npm) => void npm.child.kill("SIGTERM")],
  ["kill -9 of npm", (npm) => void npm.child.kill("SIGKILL")],
  ["kill -9 of serai dev", (_npm, directory) => void process.kill(devPidOf(directory), "SIGKILL")],
  [
    "Ctrl-C twice",
    (npm) => {
      npm.signalGroup("SIGINT");
      npm.signalGroup("SIGINT");
    },
  ],
];

describe("nothing is left behind", { concurrency: 2 }, () => {
  for (const [name, end] of ends)
    test(`after ${name}`, async () => {
      using directory = temporaryDirectory();
      const data = path.join(directory.path, "data");
      const workloads = ["--agents", "1", "--workloads", smallFile(directory.path)];
      const npm = npmRun(["dev", "--", "--json", ...anyPorts, "--data-dir", data, ...workloads]);
      await ready(npm);
      assert.ok(processesOf(directory.path).length >= 4, "npm, dev, an agent and its task run");
      end(npm, directory.path);
      await allGone(directory.path);
      await npm.ended;
      const left = readdirSync(path.join(data, "agents/1")).filter((name) =>
        name.startsWith("lock"),
      );
      assert.deepEqual(left, [], "the agent ended in order");
    });

  test("after SIGTERM while it starts", async () => {
    using directory = temporaryDirectory();
    const data = path.join(directory.path, "data");
    const dev = serai(["dev", "--json", ...anyPorts, "--data-dir", data]);
    await until("an agent was started", () => existsSync(path.join(data, "agents/1/agent.yaml")));
    dev.child.kill("SIGTERM");
    assert.equal((await dev.ended).code, 0);
    assert.equal(dev.stdout(), "");
    await allGone(directory.path);
  });
});

test("a start right after kill -9 waits for what is ending, and resumes", async () => {
  using directory = temporaryDirectory();
  const data = path.join(directory.path, "data");
  const argv = ["dev", "--json", ...anyPorts, "--agents", "1", "--data-dir", data];
  const first = serai([...argv, "--workloads", smallFile(directory.path)]);
  const before = await ready(first);
  first.child.kill("SIGKILL");
  await first.ended;
  const second = serai([...argv, "--workloads", smallFile(directory.path)]);
  const after = await ready(second);
  assert.deepEqual(identities(after), identities(before));
  assert.equal(allocationOf(after, "ticks").ClientStatus, "running");
  second.child.kill("SIGTERM");
  await second.ended;
  await allGone(directory.path);
});

describe("what keeps it from starting is one line, and nothing is left", { concurrency: 2 }, () => {
  for (const flag of ["--port", "--admin-port"])
    test(`${flag} that is in use`, async () => {
      using directory = temporaryDirectory();
      await using taken = await takenPort();
      const ports = [...anyPorts, flag, String(taken.port)];
      const dev = serai(["dev", ...ports, "--data-dir", directory.path]);
      assert.equal((await dev.ended).code, 1);
      assert.equal(
        dev.stderr(),
        `serai: ${flag}: 127.0.0.1:${taken.port} is in use by another program; choose another port or stop that program\n`,
      );
      assert.equal(dev.stdout(), "");
      await allGone(directory.path);
    });

  test("a file of workloads with a mistake", async () => {
    using directory = temporaryDirectory();
    const file = path.join(directory.path, "mine.yaml");
    writeFileSync(file, "- {job: a, group: g, tasks: [{name: t, comand: /bin/true}]}\n");
    const data = path.join(directory.path, "data");
    const dev = serai(["dev", ...anyPorts, "--data-dir", data, "--workloads", file]);
    assert.equal((await dev.ended).code, 1);
    assert.deepEqual(dev.stderr().trimEnd().split("\n"), [
      `serai: ${file}: entry 1: tasks.0.command: is required`,
      `serai: ${file}: entry 1: tasks.0: comand: unknown setting`,
    ]);
    assert.ok(!existsSync(data), "nothing was written");
    await allGone(directory.path);
  });
});

test("three agents share workloads of one's own, on ports of one's own", async () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "mine.yaml");
  const entry = (job: string, more: string): string =>
    `- {job: ${job}, group: g, ${more} tasks: [{name: t, command: /bin/sleep, args: ["600"]}]}\n`;
  writeFileSync(file, entry("a", "count: 2,") + entry("b", "") + entry("c", "agent: 3,"));
  const [port, adminPort] = [await freePort(), await freePort()];
  const dev = serai([
    "dev",
    "--json",
    "--port",
    String(port),
    "--admin-port",
    String(adminPort),
    "--agents",
    "3",
    "--workloads",
    file,
    "--data-dir",
    path.join(directory.path, "data"),
  ]);
  const line = await ready(dev);
  assert.equal(line.url, `http://127.0.0.1:${port}`);
  assert.equal(line.admin_url, `http://127.0.0.1:${adminPort}`);
  const nodeName = new Map(line.nodes.map(({ ID, Name }) => [ID, Name]));
  assert.deepEqual(
    line.allocations.map(({ Name, NodeID }) => [Name, nodeName.get(NodeID)]),
    [
      ["a.g[0]", "dev-agent-1"],
      ["a.g[1]", "dev-agent-1"],
      ["b.g[0]", "dev-agent-2"],
      ["c.g[0]", "dev-agent-3"],
    ],
  );
  dev.child.kill("SIGTERM");
  assert.equal((await dev.ended).code, 0);
  await allGone(directory.path);
});
