import assert from "node:assert/strict";
import { test } from "node:test";
import { redactArguments, redactText } from "../../src/observe/redact.ts";

const uuid = "5a3cd305-221c-424d-9ea6-1df8cde5297b";

const cases: readonly (readonly [readonly string[], readonly string[]])[] = [
  [["/bin/ls", "-la", "/alloc/data"], ["/bin/ls", "-la", "/alloc/data"]],
  [["login", "--token", "abc"], ["login", "--token", "***"]],
  [["login", "--token=abcdef"], ["login", "--token=***"]],
  [["login", "-password", "x y"], ["login", "-password", "***"]],
  [["env", "VAULT_TOKEN=hvs.abc", "run"], ["env", "VAULT_TOKEN=***", "run"]],
  [["nomad", "status", uuid], ["nomad", "status", "***"]],
  [["sh", "-c", `curl -H 'X-Nomad-Token: ${uuid}' http://a`], ["sh", "-c", "curl -H 'X-Nomad-Token: ***' http://a"]],
  [["curl", "https://me:pw@host/x"], ["curl", "https://***@host/x"]],
  [["x", "0123456789abcdef0123456789abcdef"], ["x", "***"]],
  [["x", "AKIAabcdefghijklmnop0123456789QWERTY"], ["x", "***"]],
  [["cat", "a_rather_long_file_name_without_any_secret_in_it"], ["cat", "a_rather_long_file_name_without_any_secret_in_it"]],
  [["tail", "/very/long/path/with/many/parts/and/a/number/12345678"], ["tail", "/very/long/path/with/many/parts/and/a/number/12345678"]],
]; // biome-ignore format: a table

for (const [argv, shown] of cases)
  test(`audited as ${JSON.stringify(shown)}`, () => {
    assert.deepEqual(redactArguments(argv), shown);
  });

test("a private key is hidden whole", () => {
  const key = "-----BEGIN EC PRIVATE KEY-----\nMHc\nCAQ\n-----END EC PRIVATE KEY-----";
  assert.equal(redactText(`x ${key} y`), "x *** y");
});

for (const [text, shown] of [
  ["of eyJhbGciOiJ9.eyJzdWIi.c2ln now", "of *** now"],
  ["sent bearer abcdefghij", "sent bearer ***"],
  ["sent Basic abcdefghij==", "sent Basic ***"],
  ["redis://me:word@host/0", "redis://***@host/0"],
  ["my_api-key = abcdef", "my_api-key = ***"],
  ["Passphrase: abcdef", "Passphrase: ***"],
  ["/alloc/data/basically a name.txt", "/alloc/data/basically a name.txt"],
] as const)
  test(`a text of one credential alone is told as ${JSON.stringify(shown)}`, () => {
    assert.equal(redactText(text), shown);
  });

test("arguments are bounded in number and length", () => {
  const shown = redactArguments(Array(1000).fill("a b ".repeat(10_000)));
  assert.equal(shown.length, 65);
  assert.ok(shown.every((argument) => argument.length <= 513));
  assert.equal(shown.at(-1), "… 936 more");
});

for (const text of [
  "token".repeat(500),
  "a".repeat(2048),
  "eyJ".repeat(700),
  "token:".repeat(400),
  "-----BEGIN PRIVATE KEY-----".repeat(80),
  "https://".repeat(300),
])
  test(`a text made to be slow (${text.slice(0, 8)}...) is redacted in bounded time`, () => {
    const before = process.cpuUsage();
    redactText(text);
    assert.ok(process.cpuUsage(before).user < 1_000_000); // microseconds: others may have the core
  });
