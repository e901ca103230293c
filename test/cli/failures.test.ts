/** What keeps serai from starting is told by what it is about: a file is no address. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { toWords } from "../../src/cli/failures.ts";
import { until } from "../support/processes.ts";
import { program, run, serai, takenPort, temporaryDirectory } from "./support.ts";

const systemError = (code: string, more: object): Error =>
  Object.assign(new Error(`${code}: as the system says it`), { code, ...more });

test("a directory that this user may not use is not told as an address", () => {
  const made = systemError("EACCES", { syscall: "mkdir", path: "/var/lib/serai" });
  assert.match(toWords(made), /^\/var\/lib\/serai: this user may not use it/);
});

test("a port that this user may not use is told as one", () => {
  const listened = systemError("EACCES", { syscall: "listen", address: "127.0.0.1", port: 80 });
  assert.equal(
    toWords(listened),
    "127.0.0.1:80 may not be used by this user; choose a port above 1023",
  );
});

test("a name to listen on that leads nowhere is told as one", () => {
  const looked = { syscall: "getaddrinfo", hostname: "gate.exmaple" };
  assert.match(toWords(systemError("ENOTFOUND", looked)), /^gate\.exmaple is no name that leads/);
  assert.match(toWords(systemError("EAI_AGAIN", looked)), /^gate\.exmaple cannot be looked up now/);
});

for (const [command, ...flags] of [
  ["server", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
  ["agent", "--listen", "127.0.0.1:0"],
  ["dev", "--port", "0", "--admin-port", "0"],
])
  test(`${command}: a data directory that cannot be is named, with what is wrong with it`, async () => {
    using directory = temporaryDirectory();
    const file = path.join(directory.path, "file");
    writeFileSync(file, "");
    const started = serai([command ?? "", ...flags, "--data-dir", `${file}/data`]);
    assert.equal((await started.ended).code, 1);
    assert.match(
      started.stderr(),
      /^serai: \S+\/file\/data\S*: a part of this path is no directory \(ENOTDIR\)$/m,
    );
  });

const canMount = spawnSync("unshare", ["-rm", "true"]).status === 0;

test("a data directory below one that may only be read is not told as missing", {
  skip: canMount ? false : "unshare -rm does not work here",
}, async () => {
  using directory = temporaryDirectory();
  const script = `mount -t tmpfs -o ro tmpfs "${directory.path}" && cd "${directory.path}" && exec "$@"`;
  const argv = [process.execPath, program, "agent", "--listen", "127.0.0.1:0"];
  const started = run("unshare", ["-rm", "sh", "-c", script, "sh", ...argv]);
  assert.equal((await started.ended).code, 1);
  assert.equal(
    started.stderr().split("\n").at(-2),
    `serai: ${directory.path}: lies on a file system that may only be read; name another (EROFS)`,
  );
});

test("an agent that starts on a full disk ends, and says what could not be written", {
  skip: canMount ? false : "unshare -rm does not work here",
}, async () => {
  using directory = temporaryDirectory();
  const script = `mount -t tmpfs -o size=16k tmpfs "${directory.path}" && cd "${directory.path}" && echo ${randomUUID()} >node-id &&
    { dd if=/dev/zero of=full bs=1k 2>/dev/null; exec "$@"; }`;
  const argv = [process.execPath, program, "agent", "--listen", "127.0.0.1:0", "--data-dir", "."];
  const started = run("unshare", ["-rm", "sh", "-c", script, "sh", ...argv], { timeoutMs: 20_000 });
  assert.equal((await started.ended).code, 1);
  assert.match(
    started.stderr(),
    /^serai: \S+\/state\.json\.new: there is no space left for it \(ENOSPC\)$/m,
  );
});

for (const [name, file, words] of [
  [
    "in a directory that is not there",
    "nowhere/tokens.yaml",
    /^error: \S+\/nowhere: no such directory \(ENOENT\)$/m,
  ],
  ["that is a directory", ".", /^error: \S+: is a directory, not a file \(EISDIR\)$/m],
] as const)
  test(`token create: a file ${name} is told so`, async () => {
    using directory = temporaryDirectory();
    const started = serai([
      "token",
      "create",
      "--policy",
      "a",
      "--file",
      path.join(directory.path, file),
    ]);
    assert.equal((await started.ended).code, 1);
    assert.match(started.stderr(), words);
  });

test("server: join tokens that are not there are told of; they may come later", async () => {
  using directory = temporaryDirectory();
  const started = serai(["server", "--data-dir", path.join(directory.path, "data")], {
    env: {
      SERAI_HTTP_LISTEN: "127.0.0.1:0",
      SERAI_ADMIN_LISTEN: "127.0.0.1:0",
      SERAI_TIMEOUTS_DRAIN_DELAY: "0s",
      SERAI_ACL_JOIN_TOKENS_FILE: path.join(directory.path, "jion.yaml"),
    },
  });
  await until("it listens", () => started.stdout().includes("gateway listens"));
  started.child.kill("SIGTERM");
  assert.equal((await started.ended).code, 0);
  assert.match(
    started.stdout(),
    /"file":"[^"]*jion\.yaml","msg":"acl\.join_tokens_file is not there/,
  );
});

test("a mistake in a flag is told by the flag, with the setting that it is", async () => {
  for (const [flags, told] of [
    [["server", "--listen", "4646"], "--listen (http.listen): must be HOST:PORT"],
    [
      ["server", "--registry", "nomad"],
      "--nomad-address (nomad.addresses): must name at least one server when registry is nomad",
    ],
    [["agent", "--listen", "x"], "--listen (listen): must be HOST:PORT"],
    [
      ["server", "--nomad-token-file", "/nowhere"],
      "--nomad-token-file (nomad.token_file): cannot read /nowhere: no such file or directory (ENOENT)",
    ],
    [
      ["server", "--admin-listen", "127.0.0.1:4646"],
      "--admin-listen (admin.listen): must differ from http.listen",
    ],
  ] as const) {
    const started = serai(flags);
    assert.equal((await started.ended).code, 1);
    assert.equal(started.stderr(), `serai: ${told}\n`);
  }
});

test("a port in use is told with what names it: flag, variable or file, and the setting", async () => {
  await using taken = await takenPort();
  using directory = temporaryDirectory();
  const address = `127.0.0.1:${taken.port}`;
  const file = path.join(directory.path, "settings.yaml");
  writeFileSync(file, `http: {listen: "127.0.0.2:0"}\nadmin: {listen: "${address}"}\n`);
  const free = "127.0.0.1:0";
  const rows = [
    [["server", "--admin-listen", free, "--listen", address], {}, "--listen (http.listen)"],
    [["server", "--listen", free, "--admin-listen", address], {}, "--admin-listen (admin.listen)"],
    [["server", "--listen", free], { SERAI_ADMIN_LISTEN: address }, "env SERAI_ADMIN_LISTEN"],
    [["server", "--config", file], {}, `file ${file}: admin.listen`],
    [
      ["server", "--listen", `127.0.0.2:${taken.port}`, "--admin-listen", address],
      {},
      "--admin-listen (admin.listen)",
    ],
    [["agent", "--listen", address], {}, "--listen (listen)"],
  ] as const;
  await Promise.all(
    rows.map(async ([argv, env, told], at) => {
      const data = path.join(directory.path, String(at));
      const started = serai([...argv, "--data-dir", data], { env });
      assert.equal((await started.ended).code, 1);
      assert.equal(
        started.stderr().split("\n").at(-2),
        `serai: ${told}: ${address} is in use by another program; choose another port or stop that program`,
      );
    }),
  );
});

test("a variable with a slip of the pen is told beside what is missing without it", async () => {
  const env = { SERAI_CONNECT_GATEWAY: "https://gate.example" };
  const words = "env SERAI_CONNECT_GATEWAY: sets nothing that connect knows";
  for (const [argv, prefix] of [
    [["connect"], "serai: "],
    [["config", "check", "--kind", "connect"], ""],
  ] as const) {
    const started = serai(argv, { env });
    assert.equal((await started.ended).code, 1);
    assert.deepEqual(started.stderr().split("\n").slice(0, 2), [
      `${prefix}warning: ${words}`,
      `${prefix}gateways: is required`,
    ]);
  }
});

test("settings, and a secret's file, that are a directory are told so", async () => {
  using directory = temporaryDirectory();
  const started = serai(["config", "check", "--file", directory.path], {
    env: { SERAI_ADMIN_TOKEN_FILE: directory.path },
  });
  assert.equal((await started.ended).code, 1);
  assert.match(started.stderr(), /^file \S+: is a directory, not a file \(EISDIR\)$/m);
  assert.match(started.stderr(), /cannot read \S+: is a directory, not a file \(EISDIR\)$/m);
});
