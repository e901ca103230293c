import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { AclFilesError } from "../../src/acl/acl-files.ts";
import { type FileSource, openFileSource } from "../../src/acl/file-source.ts";
import { hashSecret } from "../../src/acl/secrets.ts";
import { type AclDirectory, aclDirectory, mint, movedClock, reader, readLog } from "./support.ts";

const never = 3_600_000;

const open = async (
  files: AclDirectory,
  { clock = movedClock(), log = readLog(), pollMs = never } = {},
): Promise<FileSource & AsyncDisposable> => {
  const source = await openFileSource({ clock, log }, { ...files, pollMs });
  return Object.assign(source, {
    [Symbol.asyncDispose]: () => source.close(new AbortController().signal),
  });
};

const refused = { name: "GatewayError", code: "permission_denied" };

test("a secret is found by its digest, whatever the case of its letters", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using source = await open(files);
  const principal = source.token(secretId.toUpperCase());
  assert.equal(principal.accessorId, entry.AccessorID);
  assert.deepEqual(principal.policies, ["reader"]);
  assert.ok(principal.acl.namespace("default", "read-job"));
  assert.ok(!principal?.acl.namespace("default", "read-logs"));
  assert.throws(() => source.token(mint().secretId), refused);
  assert.throws(() => source.token(entry.AccessorID), refused);
});

test("an expired token is refused without leeway", async () => {
  using files = aclDirectory({ reader });
  const clock = movedClock();
  const { secretId, entry } = mint({ expiresAtMs: clock.now() + 1_000 });
  files.tokens([entry]);
  await using source = await open(files, { clock });
  clock.move(999);
  assert.ok(source.token(secretId));
  clock.move(1);
  assert.throws(() => source.token(secretId), refused);
});

test("what was found by a credential that lasts is looked for anew when the files have changed, and expires", async () => {
  using files = aclDirectory({ reader });
  const clock = movedClock();
  const { secretId, entry } = mint({ expiresAtMs: clock.now() + 1_000 });
  const other = mint();
  files.tokens([entry, other.entry]);
  await using source = await open(files, { clock });
  const { signal } = new AbortController();
  const expiring = { secret: secretId, source: "header", found: {} } as const;
  const lasting = { secret: other.secretId, source: "header", found: {} } as const;
  for (let again = 0; again < 2; again++) {
    assert.ok(source.token(secretId, signal, expiring));
    assert.ok(source.token(other.secretId, signal, lasting));
  }
  clock.move(1_000);
  assert.throws(() => source.token(secretId, signal, expiring), refused);
  files.tokens([entry]);
  await source.reload();
  assert.throws(() => source.token(other.secretId, signal, lasting), refused);
});

test("roles bring their policies; policies and roles that do not exist are skipped", async () => {
  using files = aclDirectory({ reader, nodes: { node: { policy: "write" } } });
  const { secretId, entry } = mint({ policies: ["reader", "gone"] });
  files.tokens(
    [{ ...entry, Roles: ["ops", { Name: "deleted" }] }],
    [{ Name: "ops", Policies: ["nodes", "missing"] }],
  );
  await using source = await open(files);
  const held = source.held(secretId);
  assert.deepEqual(held?.principal.policies, ["nodes", "reader"]);
  assert.deepEqual(
    held?.roles.map(({ Name }) => Name),
    ["ops"],
  );
  assert.ok(held?.principal.acl.node("write"));
});

test("management may do everything; anonymous has the anonymous policy and nobody else has", async () => {
  using files = aclDirectory({ reader, anonymous: { node: { policy: "read" } } });
  const manager = mint({ type: "management", policies: [] });
  const client = mint();
  files.tokens([manager.entry, client.entry]);
  await using source = await open(files);
  const anonymous = source.anonymous();
  assert.ok(anonymous.acl.node("read"));
  assert.deepEqual(anonymous.policies, ["anonymous"]);
  assert.ok(!source.token(client.secretId).acl.node("read"));
  assert.ok(source.held(manager.secretId)?.principal.acl.management);
});

test("without an anonymous policy anonymous may do nothing", async () => {
  using files = aclDirectory();
  await using source = await open(files);
  const { acl, policies } = source.anonymous();
  assert.deepEqual(policies, []);
  assert.ok(!acl.namespace("*", "read-job") && !acl.node("read") && !acl.agent("read"));
});

test("all faults of all files are listed at once, with file and path, and no digest", async () => {
  using files = aclDirectory({ reader, broken: { node: { policy: "admin" } } });
  files.write("policies/hcl.yaml", 'namespace "default" {\n  policy = "read"\n}\n');
  files.write("policies/denies.hcl", 'namespace "default" {\n  policy = "deny"\n}\n');
  files.write("policies/reader.yaml", "node: { policy: read }\n");
  files.write("policies/not a name.json", "{}");
  files.write("policies/.hidden.json", "nonsense");
  const { entry } = mint();
  files.tokens([
    { ...entry, Polices: ["x"] },
    { ...entry, Type: "root" },
    { ...entry, Policies: [] },
    { ...entry, ExpirationTime: "tomorrow" },
    { ...entry, SecretHash: "sha256:short" },
  ]);
  await assert.rejects(open(files), (error) => {
    assert.ok(error instanceof AclFilesError);
    const text = error.faults.join("\n");
    for (const part of [
      'broken.json: node.policy: Invalid node policy: "admin"',
      "hcl.yaml: Failed to parse ACL Policy: this is HCL",
      "denies.hcl: Failed to parse ACL Policy: this is HCL",
      "reader.yaml: the policy reader is given in another file as well",
      "not a name.json: a policy's name is",
      'tokens.json: tokens[0]: Unrecognized key: "Polices"',
      "tokens.json: tokens[1].Type: ",
      "tokens.json: tokens[2]: a client token needs Policies or Roles",
      "tokens.json: tokens[3].ExpirationTime: must be a time",
      "tokens.json: tokens[4].SecretHash: must be sha256:",
    ])
      assert.ok(text.includes(part), `${part}\nin\n${text}`);
    assert.ok(!text.includes(".hidden"));
    assert.ok(!text.includes(entry.SecretHash));
    return true;
  });
});

test("the same token twice is a fault, and so is a file that is not there", async () => {
  using files = aclDirectory({ reader });
  const { entry } = mint();
  files.tokens([entry, entry]);
  await assert.rejects(open(files), /tokens\[1\]\.AccessorID: is given more than once/);
  files.remove("tokens.json");
  await assert.rejects(open(files), /tokens\.json: no such file or directory \(ENOENT\)/);
});

test("a bad reload is reported and leaves everything as it was; a good one tells its listeners", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  const log = readLog();
  await using source = await open(files, { log });
  let told = 0;
  const leave = source.onChange(() => told++);
  const before = source.index;

  files.write("tokens.json", "tokens: [");
  const bad = await source.reload();
  assert.ok(!bad.ok && bad.faults.length > 0);
  assert.ok(log.lines.some(({ level }) => level === "error"));
  assert.ok(source.token(secretId));
  assert.equal(told, 0);

  files.tokens([entry]);
  assert.deepEqual(await source.reload(), { ok: true, changed: false });
  assert.equal(told, 0);

  files.tokens([]);
  assert.deepEqual(await source.reload(), { ok: true, changed: true });
  assert.equal(told, 1);
  assert.ok(source.index > before);
  assert.throws(() => source.token(secretId), refused);

  leave();
  files.tokens([entry]);
  await source.reload();
  assert.equal(told, 1);
});

test("a listener that throws is logged and keeps no other from being told", async () => {
  using files = aclDirectory({ reader });
  const log = readLog();
  await using source = await open(files, { log });
  let told = false;
  source.onChange(() => {
    throw new Error("mine");
  });
  source.onChange(() => {
    told = true;
  });
  files.tokens([mint().entry]);
  assert.deepEqual(await source.reload(), { ok: true, changed: true });
  assert.ok(told);
  assert.ok(log.lines.some(({ message }) => message.includes("listener")));
});

test("a change of a policy is seen without being told", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  await using source = await open(files, { pollMs: 10 });
  const changed = Promise.withResolvers<void>();
  source.onChange(changed.resolve);
  files.write("policies/reader.json", JSON.stringify({ node: { policy: "read" } }));
  const late = pause(10_000, "late", { ref: false });
  assert.notEqual(await Promise.race([changed.promise, late]), "late");
  const principal = source.held(secretId)?.principal;
  assert.ok(principal?.acl.node("read"));
  assert.ok(!principal?.acl.namespace("default", "read-job"));
});

test("a change that could not be read at first is read once it can be, though its file is the same", async () => {
  using files = aclDirectory({ reader });
  const { secretId, entry } = mint();
  files.tokens([entry]);
  const script = `
    import assert from "node:assert/strict";
    import { closeSync, openSync, renameSync, writeFileSync } from "node:fs";
    import { setTimeout as pause } from "node:timers/promises";
    import { openFileSource } from ${JSON.stringify(path.resolve(import.meta.dirname, "../../src/acl/file-source.ts"))};
    const [tokensFile, secretId] = process.argv.slice(1);
    const faults = [];
    const log = { debug() {}, info() {}, warn() {}, error: (_fields, words) => faults.push(words) };
    const clock = { now: Date.now, monotonic: () => performance.now() };
    const source = await openFileSource({ clock, log }, { tokensFile, policiesDirectory: undefined, pollMs: 20 });
    assert.ok(source.token(secretId));
    writeFileSync(tokensFile + ".next", '{"tokens":[]}');
    const taken = [];
    try {
      for (;;) taken.push(openSync("/dev/null"));
    } catch {}
    renameSync(tokensFile + ".next", tokensFile);
    while (faults.length === 0) await pause(10);
    await pause(200);
    assert.equal(faults.length, 1, "it is told once");
    assert.ok(source.token(secretId));
    taken.forEach(closeSync);
    const isRevoked = () => {
      try {
        return source.token(secretId) === undefined;
      } catch {
        return true;
      }
    };
    while (!isRevoked()) await pause(10);
    await source.close(AbortSignal.abort());`;
  const limited = ['ulimit -n 96; exec "$0" "$@"', process.execPath, "--input-type=module", "-e"];
  const { status, stderr } = spawnSync(
    "sh",
    ["-c", ...limited, script, files.tokensFile, secretId],
    { timeout: 60_000, encoding: "utf8" },
  );
  assert.equal(status, 0, stderr);
});

test("YAML files do as well, and a policy's text is its JSON form", async () => {
  using files = aclDirectory();
  files.write("policies/empty.yaml", "");
  files.write("policies/logs.yaml", "namespace:\n  - default: { capabilities: [read-logs] }\n");
  const { secretId, entry } = mint({ policies: ["logs", "empty"] });
  files.write(
    "tokens.json",
    `# people\ntokens:\n  - { AccessorID: ${entry.AccessorID}, Type: client, Policies: [logs], SecretHash: "${hashSecret(secretId)}" }\n`,
  );
  await using source = await open(files);
  assert.equal(
    source.policies.get("logs")?.text,
    '{"namespace":[{"default":{"capabilities":["read-logs"]}}]}',
  );
  assert.equal(source.policies.get("empty")?.text, "");
  assert.ok(source.held(secretId)?.principal.acl.namespace("default", "read-logs"));
});
