import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createJoinTokens } from "../../src/acl/join-tokens.ts";
import { appendEntry, replaceFile } from "../../src/acl/secret-file.ts";
import { type JoinTokenRequest, mintJoinToken } from "../../src/acl/secrets.ts";
import { aclDirectory, movedClock } from "./support.ts";

const mint = (file: string, request: Partial<JoinTokenRequest> = {}): string => {
  const { secret, entry } = mintJoinToken({
    node: "*",
    uses: 1,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
    ...request,
  });
  appendEntry(file, "tokens", entry);
  return secret;
};

const setUp = () => {
  const files = aclDirectory();
  const file = path.join(files.directory, "join.yaml");
  return { file, directory: files.directory, [Symbol.dispose]: () => files[Symbol.dispose]() };
};

const a = randomUUID();
const b = randomUUID();

test("a node that announces itself again uses nothing up; another node finds the token used", async () => {
  using setting = setUp();
  const secret = mint(setting.file);
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  assert.equal(await tokens.claim(secret, a), true);
  assert.equal(await tokens.claim(secret, a.toUpperCase()), true);
  assert.equal(await tokens.claim(secret, b), false);
  assert.equal(await tokens.claim(secret, a), true);
});

test("uses survive a restart", async () => {
  using setting = setUp();
  const secret = mint(setting.file, { uses: 2 });
  assert.ok(await createJoinTokens({ clock: movedClock() }, setting).claim(secret, a));
  const again = createJoinTokens({ clock: movedClock() }, setting);
  assert.ok(await again.claim(secret, b));
  assert.ok(await again.claim(secret, a));
  assert.ok(!(await again.claim(secret, randomUUID())));
});

test("unknown, empty, huge and changed secrets are refused", async () => {
  using setting = setUp();
  const secret = mint(setting.file);
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  for (const wrong of ["", "x", "x".repeat(1_000_000), `${secret}x`, secret.toUpperCase(), " "])
    assert.equal(await tokens.claim(wrong, a), false);
  assert.equal(await tokens.claim(secret, a), true);
});

test("a token is found as soon among thousands as if it were the first", async () => {
  using setting = setUp();
  const minted = Array.from({ length: 2_000 }, () =>
    mintJoinToken({ node: "*", uses: 1, createdAtMs: Date.now(), expiresAtMs: undefined }),
  );
  writeFileSync(setting.file, JSON.stringify({ tokens: minted.map(({ entry }) => entry) }));
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  const costMs = async (secret: string | undefined): Promise<number> => {
    assert.ok(secret !== undefined && (await tokens.claim(secret, a)));
    const startedMs = performance.now();
    for (let beat = 0; beat < 200; beat++) assert.ok(tokens.holds(secret, a));
    return performance.now() - startedMs;
  };
  const firstMs = await costMs(minted[0]?.secret);
  const lastMs = await costMs(minted.at(-1)?.secret);
  assert.ok(lastMs < 5 * firstMs + 20, `${lastMs} ms and not ${firstMs} ms`);
});

test("a file that does not parse is read once, and again when it has changed", async () => {
  using setting = setUp();
  const secret = mint(setting.file);
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  assert.equal(await tokens.claim(secret, a), true);
  const sound = readFileSync(setting.file, "utf8");
  writeFileSync(setting.file, `${sound}${"# a line of many\n".repeat(5_000)}tokens: [`);
  const costMs = (times: number): number => {
    const startedMs = performance.now();
    for (let beat = 0; beat < times; beat++)
      assert.throws(() => tokens.holds(secret, a), /join\.yaml/);
    return performance.now() - startedMs;
  };
  const onceMs = costMs(1);
  const oftenMs = costMs(50);
  assert.ok(oftenMs < 5 * onceMs + 20, `${oftenMs} ms, ${onceMs} ms the first time`);
  writeFileSync(setting.file, sound);
  assert.equal(tokens.holds(secret, a), true);
});

test("a token for a node, or for a pattern, is refused for others and not used up by them", async () => {
  using setting = setUp();
  const exact = mint(setting.file, { node: a });
  const pattern = mint(setting.file, { node: `${b.slice(0, 8)}-*` });
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  assert.equal(await tokens.claim(exact, b), false);
  assert.equal(await tokens.claim(exact, a), true);
  assert.equal(await tokens.claim(pattern, a), false);
  assert.equal(await tokens.claim(pattern, b), true);
});

test("an expired token is refused, also for a node that joined with it", async () => {
  using setting = setUp();
  const clock = movedClock();
  const secret = mint(setting.file, { expiresAtMs: clock.now() + 1_000 });
  const tokens = createJoinTokens({ clock }, setting);
  assert.equal(await tokens.claim(secret, a), true);
  clock.move(1_000);
  assert.equal(await tokens.claim(secret, a), false);
});

test("a token added while the gateway runs works at once, a removed one no longer", async () => {
  using setting = setUp();
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  const secret = mint(setting.file);
  assert.equal(await tokens.claim(secret, a), true);
  writeFileSync(setting.file, "tokens: []\n");
  assert.equal(await tokens.claim(secret, a), false);
});

test("no file holds a secret, none is readable by others, none is left half-written", async () => {
  using setting = setUp();
  const secret = mint(setting.file);
  await createJoinTokens({ clock: movedClock() }, setting).claim(secret, a);
  const names = readdirSync(setting.directory).filter((name) => name.startsWith("join"));
  assert.deepEqual(names.sort(), ["join.yaml", "join.yaml.claims"]);
  for (const name of names) {
    const file = path.join(setting.directory, name);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(!readFileSync(file, "utf8").includes(secret));
  }
});

test("a file that does not parse is told by name; a claim that cannot be kept is not granted", async () => {
  using setting = setUp();
  writeFileSync(setting.file, "tokens: [{ NodeID: 7 }]\n");
  assert.throws(() => createJoinTokens({ clock: movedClock() }, setting), {
    name: "JoinTokensError",
    message: /join\.yaml: tokens\.0\.NodeID: /,
  });
  writeFileSync(setting.file, "");
  const secret = mint(setting.file);
  const tokens = createJoinTokens({ clock: movedClock() }, setting);
  mkdirSync(`${setting.file}.claims`); // in the way of the file of claims
  await assert.rejects(tokens.claim(secret, a), /EISDIR|ENOTEMPTY|EEXIST/);
  rmdirSync(`${setting.file}.claims`);
  assert.equal(await tokens.claim(secret, b), true);
  assert.equal(await tokens.claim(secret, a), false);
});

test("comments of a YAML file survive an added entry", async () => {
  using setting = setUp();
  writeFileSync(setting.file, "# ours\ntokens: # all of them\n  []\n");
  mint(setting.file);
  mint(setting.file);
  const text = readFileSync(setting.file, "utf8");
  assert.match(text, /# ours/);
  assert.equal(text.match(/SecretHash/g)?.length, 2);
});

test("replacing a file in a directory that is gone fails and leaves nothing", async () => {
  using setting = setUp();
  assert.throws(() => replaceFile(path.join(setting.directory, "no", "x"), "text"), {
    code: "ENOENT",
  });
});
