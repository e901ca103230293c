/** First joins of a fleet at once: their claims are made durable together, in order, and never more than a token has uses. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createJoinTokens } from "../../src/acl/join-tokens.ts";
import { appendEntry } from "../../src/acl/secret-file.ts";
import { mintJoinToken } from "../../src/acl/secrets.ts";
import { until } from "../support/processes.ts";
import { aclDirectory, movedClock } from "./support.ts";

const setUp = (uses: number) => {
  const files = aclDirectory();
  const file = path.join(files.directory, "join.yaml");
  const { secret, entry } = mintJoinToken({
    node: "*",
    uses,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });
  appendEntry(file, "tokens", entry);
  return {
    file,
    secret,
    directory: files.directory,
    tokens: createJoinTokens({ clock: movedClock() }, { file }),
    onDisk: (): readonly string[] => {
      const text = existsSync(`${file}.claims`) ? readFileSync(`${file}.claims`, "utf8") : "{}";
      return JSON.parse(text).claims?.[entry.SecretHash] ?? [];
    },
    [Symbol.dispose]: () => files[Symbol.dispose](),
  };
};

const ids = (count: number): readonly string[] => Array.from({ length: count }, () => randomUUID());

test("a thousand first joins at once are a few writes, each on disk before it is granted, in order", async (t) => {
  using setting = setUp(1_000);
  const nodes = ids(1_000);
  const granted: string[] = [];
  let writes = 0;
  const watcher = watch(setting.directory, (_event, name) => {
    if (name === "join.yaml.claims") writes += 1; // one for each rename
  });
  const began = performance.now();
  let turnedAt = began;
  let longestTurnMs = 0;
  const turns = setInterval(() => {
    longestTurnMs = Math.max(longestTurnMs, performance.now() - turnedAt);
    turnedAt = performance.now();
  }, 1);
  await Promise.all(
    nodes.map(async (node) => {
      assert.equal(await setting.tokens.claim(setting.secret, node), true);
      granted.push(node);
      if (granted.length % 100 === 1) assert.ok(setting.onDisk().includes(node));
    }),
  );
  t.diagnostic(
    `${Math.round(performance.now() - began)} ms, the loop was never held for more than ${Math.round(longestTurnMs)} ms`,
  );
  clearInterval(turns);
  watcher.close();
  assert.deepEqual(granted, nodes);
  assert.deepEqual(setting.onDisk(), nodes);
  assert.ok(writes <= 20, `${writes} writes`);
});

test("a token's uses are never exceeded, however many ask at once, and one node takes one", async () => {
  using setting = setUp(10);
  const nodes = ids(50);
  const asked = [...nodes, ...nodes];
  const answers = await Promise.all(
    asked.map((node) => setting.tokens.claim(setting.secret, node)),
  );
  const joined = new Set(asked.filter((_node, at) => answers[at]));
  assert.deepEqual([...joined], nodes.slice(0, 10));
  assert.equal(answers.filter(Boolean).length, 20);
  assert.deepEqual(setting.onDisk(), nodes.slice(0, 10));
});

test("when a write fails nobody is granted by it, and its uses are free again", async () => {
  using setting = setUp(2);
  const nodes = ids(3);
  mkdirSync(`${setting.file}.claims`); // in the way
  const failed = await Promise.allSettled(
    nodes.map((node) => setting.tokens.claim(setting.secret, node)),
  );
  for (const { status } of failed) assert.equal(status, "rejected");
  rmdirSync(`${setting.file}.claims`);
  for (const [at, node] of nodes.entries())
    assert.equal(await setting.tokens.claim(setting.secret, node), at < 2);
});

test("secrets that are wrong cost no write, and neither does a node that has joined", async () => {
  using setting = setUp(5);
  const [node = ""] = ids(1);
  await setting.tokens.claim(setting.secret, node);
  const before = statSync(`${setting.file}.claims`, { bigint: true });
  const wrong = ids(500).map((id) => setting.tokens.claim(`${setting.secret}x`, id));
  assert.ok((await Promise.all(wrong)).every((granted) => !granted));
  assert.equal(await setting.tokens.claim(setting.secret, node), true);
  assert.equal(statSync(`${setting.file}.claims`, { bigint: true }).ino, before.ino);
});

test("a token that is taken back while its claim is being written grants nothing; one that was added meanwhile stays", async () => {
  using setting = setUp(5);
  const [node = "", other = ""] = ids(2);
  const claim = setting.tokens.claim(setting.secret, node);
  const added = mintJoinToken({
    node: "*",
    uses: 1,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });
  writeFileSync(setting.file, JSON.stringify({ tokens: [added.entry] }));
  assert.equal(await claim, false);
  assert.equal(setting.tokens.holds(setting.secret, node), false);
  assert.equal(await setting.tokens.claim(added.secret, other), true);
  assert.deepEqual(JSON.parse(readFileSync(setting.file, "utf8")).tokens, [added.entry]);
});

const joiner = `
import { randomUUID } from "node:crypto";
const { createJoinTokens } = await import(process.argv[1]);
const [, , file, secret] = process.argv;
const tokens = createJoinTokens({ clock: { now: Date.now, monotonic: () => 0 } }, { file });
for (;;) await Promise.all(Array.from({ length: 4 }, async () => {
  const node = randomUUID();
  if (await tokens.claim(secret, node)) process.stdout.write(node + "\\n");
}));
`;

test("a process that is killed amid writes leaves a sound file with every claim that it granted", async () => {
  using setting = setUp(100_000);
  const module = new URL("../../src/acl/join-tokens.ts", import.meta.url).href;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "-e", joiner, module, setting.file, setting.secret],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  const closed = once(child, "close");
  try {
    await until("it has joined some", () => text.split("\n").length > 40);
  } finally {
    child.kill("SIGKILL");
    await closed;
  }
  const onDisk = new Set(setting.onDisk());
  const granted = text.split("\n").slice(0, -1);
  assert.deepEqual(
    granted.filter((node) => !onDisk.has(node)),
    [],
  );
  const again = createJoinTokens({ clock: movedClock() }, { file: setting.file });
  assert.equal(again.holds(setting.secret, granted[0] ?? ""), true);
  assert.equal(await again.claim(setting.secret, randomUUID()), true);
});
