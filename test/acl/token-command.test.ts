/** `serai token` as a process: what it prints, what it keeps, how it fails. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import jwt from "jsonwebtoken";
import { openFileSource } from "../../src/acl/file-source.ts";
import { createJoinTokens } from "../../src/acl/join-tokens.ts";
import { aclDirectory, movedClock, never, reader, readLog } from "./support.ts";

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const program = path.join(import.meta.dirname, "run-token.ts");

const run = (...args: readonly string[]): Promise<Ran> => {
  const { promise, resolve } = Promise.withResolvers<Ran>();
  execFile(process.execPath, [program, ...args], (error, stdout, stderr) => {
    resolve({ status: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
  });
  return promise;
};

const secretIn = (stdout: string): string => /^SecretID +(\S+)$/m.exec(stdout)?.[1] ?? "";

test("create prints the secret once, keeps its digest, and the token works", async () => {
  using files = aclDirectory({ reader });
  const file = path.join(files.directory, "made.yaml");
  const made = await run(
    "create",
    "--policy",
    "reader",
    "--name",
    "ci",
    "--ttl",
    "12h",
    "--file",
    file,
  );
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /^AccessorID {2}[0-9a-f-]{36}\nSecretID {4}[0-9a-f-]{36}\n$/);
  const secret = secretIn(made.stdout);
  assert.ok(!readFileSync(file, "utf8").includes(secret));
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const clock = movedClock();
  const source = await openFileSource(
    { clock, log: readLog() },
    { ...files, tokensFile: file, pollMs: 3_600_000 },
  );
  assert.equal(source.token(secret).name, "ci");
  clock.move(12 * 3_600_000);
  assert.throws(() => source.token(secret), { code: "permission_denied" });
  await source.close(never);
});

test("tokens made at the same time are all kept", async () => {
  using files = aclDirectory({ reader });
  const file = path.join(files.directory, "made.yaml");
  const made = await Promise.all(
    [1, 2, 3].map(() => run("create", "--type", "management", "--file", file)),
  );
  assert.deepEqual(
    made.map(({ status }) => status),
    [0, 0, 0],
  );
  assert.equal(readFileSync(file, "utf8").match(/SecretHash/g)?.length, 3);
  assert.deepEqual(readdirSync(files.directory).sort(), ["made.yaml", "policies", "tokens.json"]);
});

test("join makes a token that lets one node in", async () => {
  using files = aclDirectory();
  const file = path.join(files.directory, "join.yaml");
  const node = randomUUID();
  const { stdout, status, stderr } = await run(
    "join",
    "--node",
    node,
    "--uses",
    "1",
    "--file",
    file,
  );
  assert.equal(status, 0, stderr);
  const tokens = createJoinTokens({ clock: movedClock() }, { file });
  assert.ok(!(await tokens.claim(stdout.trim(), randomUUID())));
  assert.ok(await tokens.claim(stdout.trim(), node));
});

test("jwt signs with the key it is given", async () => {
  using files = aclDirectory();
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const key = path.join(files.directory, "key.pem");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }));
  const { stdout, status, stderr } = await run(
    "jwt", "--key", key, "--kid", "k1", "--issuer", "https://i.test", "--audience", "serai", "--subject", "alice",
    "--ttl", "5m", "--claim", "groups=a", "--claim", "groups=b", "--claim", "team=x=y",
  ); // biome-ignore format: a command line
  assert.equal(status, 0, stderr);
  const { header, payload } = jwt.verify(stdout.trim(), publicKey, {
    complete: true,
    issuer: "https://i.test",
    audience: "serai",
  });
  assert.deepEqual([header.alg, header.kid], ["ES384", "k1"]);
  assert.ok(typeof payload === "object");
  assert.deepEqual([payload["groups"], payload["team"], payload.sub], [["a", "b"], "x=y", "alice"]);
  assert.equal((payload.exp ?? 0) - (payload.iat ?? 0), 300);
});

test("what goes wrong is one line that says what to do", async () => {
  using files = aclDirectory();
  const file = path.join(files.directory, "made.yaml");
  const notYaml = path.join(files.directory, "broken.yaml");
  writeFileSync(notYaml, "tokens: {a: 1}\n");
  const jwtArgs = ["--issuer", "i", "--audience", "a", "--subject", "s"];
  const wrong: readonly (readonly [RegExp, ...string[]])[] = [
    [/a client token needs at least one --policy/, "create", "--file", file],
    [/takes no --policy/, "create", "--type", "management", "--policy", "a", "--file", file],
    [/write a duration such as/, "create", "--policy", "a", "--ttl", "soon", "--file", file],
    [/letters, digits and hyphens/, "create", "--policy", "a b", "--file", file],
    [/--file <file>' not specified/, "create", "--policy", "a"],
    [/ENOENT/, "create", "--policy", "a", "--file", path.join(files.directory, "no", "x")],
    [/tokens is not a list/, "create", "--policy", "a", "--file", notYaml],
    [/whole number/, "join", "--uses", "0", "--file", file],
    [/a node's id/, "join", "--node", "web/1", "--file", file],
    [/broken\.yaml: holds no private key in PEM$/m, "jwt", "--key", notYaml, ...jwtArgs],
    [/ENOENT/, "jwt", "--key", path.join(files.directory, "none"), ...jwtArgs],
  ];
  const ran = await Promise.all(
    wrong.map(async ([expected, ...args]) => ({ expected, ...(await run(...args)) })),
  );
  for (const { expected, status, stdout, stderr } of ran) {
    assert.equal(status, 1, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, expected);
    assert.match(stderr, /^error: [^\n]+\n$/);
  }
  assert.equal(readFileSync(notYaml, "utf8"), "tokens: {a: 1}\n");
});

for (const [first, other, words] of [
  [["create", "--policy", "a"], ["join"], /nothing was added, for the file's join tokens: /],
  [["join"], ["create", "--policy", "a"], /nothing was added, for the file's ACL tokens: /],
] as const)
  test(`${other[0]} adds nothing to a file that ${first[0]} made: no gateway would read it any more`, async () => {
    using files = aclDirectory();
    const file = path.join(files.directory, "made.yaml");
    assert.equal((await run(...first, "--file", file)).status, 0);
    const before = readFileSync(file, "utf8");
    const { status, stdout, stderr } = await run(...other, "--file", file);
    assert.equal(readFileSync(file, "utf8"), before);
    assert.equal(status, 1);
    assert.equal(stdout, "");
    assert.match(stderr, words);
  });

test("the help shows defaults as they would be written", async () => {
  const { stdout } = await run("jwt", "--help");
  assert.match(stdout, /--ttl <duration>[^-]*\(default:\s1h\)/);
  for (const command of ["create", "join", "jwt"]) {
    const help = (await run(command, "--help")).stdout;
    assert.doesNotMatch(help, /default:\s*(?:\[\]|"")/, command);
  }
});
