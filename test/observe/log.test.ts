import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import { createLog } from "../../src/observe/log.ts";
import { linesOf, scratch, soon } from "./support.ts";

const logged = async (
  write: (log: ReturnType<typeof createLog>) => void,
  linesPerSecond = 1000,
): Promise<{ readonly raw: string; readonly lines: readonly Record<string, unknown>[] }> => {
  using at = scratch();
  const log = createLog({ level: "info", destination: at.file("log"), linesPerSecond });
  write(log);
  await log.close(soon());
  return { raw: readFileSync(at.file("log"), "utf8"), lines: linesOf(at.file("log")) };
};

test("an event is one line of JSON with its time, level and message", async () => {
  const { lines } = await logged((log) => log.info({ route: "fs.ls" }, "answered"));
  assert.equal(lines.length, 1);
  assert.equal(lines[0]?.["level"], "info");
  assert.equal(lines[0]?.["msg"], "answered");
  assert.equal(lines[0]?.["route"], "fs.ls");
  assert.ok(!Number.isNaN(Date.parse(String(lines[0]?.["time"]))));
});

test("lines below the level are not written", async () => {
  const { lines } = await logged((log) => log.debug({}, "detail"));
  assert.deepEqual(lines, []);
});

const hostile = "a\r\nb\u001b[31mc\u2028d\u0085e\u202ef\u0000";

test("control characters of every kind are escaped, and the text survives", async () => {
  const { raw, lines } = await logged((log) => log.warn({ path: hostile, [hostile]: 1 }, hostile));
  assert.equal(raw.split("\n").length, 2);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(raw.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/);
  assert.equal(lines[0]?.["path"], hostile);
});

const canary = "8a4b1c2d-SECRET-canary";
const slips: readonly (readonly [string, object, string?])[] = [
  ["a field named token", { token: canary }],
  ["a field named secret, deep inside", { a: { b: { SecretID: canary } } }],
  ["headers", { headers: { authorization: canary, "X-Nomad-Token": canary, cookie: canary } }],
  ["a bearer in a text", { text: `Authorization: Bearer ${canary}` }],
  ["a query string", { url: `/v1/jobs?token=${canary}&x=1` }],
  ["an assignment in the message", {}, `started with DB_PASSWORD=${canary}`],
  ["an error's message", { err: new Error(`X-Nomad-Token: ${canary}`) }],
  ["an error's cause", { err: new Error("a", { cause: new Error(`secret=${canary}`) }) }],
  ["an error's own property", { err: Object.assign(new Error("a"), { request: { token: canary } }) }],
  ["JSON inside a text", { body: JSON.stringify({ AuthToken: canary }) }],
  ["a URL's user", { url: `https://user:${canary}@host/` }],
]; // biome-ignore format: a table

for (const [name, fields, message = "m"] of slips)
  test(`a secret that slipped into ${name} is hidden`, async () => {
    const { raw, lines } = await logged((log) => log.info(fields, message));
    assert.equal(lines.length, 1);
    assert.ok(!raw.includes("canary"), raw);
    assert.match(raw, name.includes("own property") ? /"message":"a"/ : /\*\*\*/);
  });

test("a JSON Web Token is hidden wherever it stands", async () => {
  const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
  const { raw } = await logged((log) => log.info({ what: `got ${jwt}` }, "m"));
  assert.ok(!raw.includes("eyJ"));
});

test("numbers and truths beside secret-looking names keep the line parseable", async () => {
  const fields = { token_ttl: 12_345, tokens: true, secrets: null, at: 9n };
  const { lines } = await logged((log) => log.info(fields, "m"));
  assert.equal(lines[0]?.["token_ttl"], 12_345);
  assert.equal(lines[0]?.["at"], "9");
});

test("an expected refusal has no stack, an internal error has one", async () => {
  const { lines } = await logged((log) => {
    log.info({ err: new GatewayError("permission_denied") }, "refused");
    log.error({ err: new GatewayError("internal", {}, { cause: new Error("why") }) }, "broke");
  });
  const [refused, broke] = lines.map((line) => JSON.stringify(line["err"]));
  assert.ok(!refused?.includes("stack"));
  assert.match(broke ?? "", /"causes":\["why"\].*"stack"/);
});

test("a flood of one kind is sampled, counted, and does not hide another kind", async () => {
  const { lines } = await logged((log) => {
    for (let n = 0; n < 10_000; n++) log.info({ code: "bad_request", n }, "refused");
    log.info({ code: "internal" }, "refused");
  }, 10);
  const refused = lines.filter((line) => line["code"] === "bad_request").length;
  assert.ok(refused >= 20 && refused < 200, `${refused} lines`);
  assert.equal(lines.filter((line) => line["code"] === "internal").length, 1);
  const told = lines.find((line) => line["suppressed"] !== undefined);
  assert.equal(told?.["suppressed"], 10_000 - refused);
  assert.match(String(told?.["msg"]), /^suppressed \d+ lines$/);
});

test("a flood of ever new messages is bounded as well", async () => {
  using at = scratch();
  const log = createLog({ level: "info", destination: at.file("log"), linesPerSecond: 1 });
  for (let n = 0; n < 20_000; n++) log.info({}, `message ${n}`);
  await log.close(soon());
  assert.ok(linesOf(at.file("log")).length < 2000);
});

test("a line stays small, whatever is put into it", async () => {
  using at = scratch();
  const log = createLog({ level: "info", destination: at.file("log") });
  const deep: Record<string, unknown> = {};
  deep["self"] = deep;
  log.info(
    { text: "x".repeat(1e6), list: Array(1e5).fill("y"), deep, bytes: Buffer.alloc(1e6) },
    "m",
  );
  await log.close(soon());
  assert.ok(statSync(at.file("log")).size < 8192);
  assert.equal(linesOf(at.file("log")).length, 1);
});
