/** Lines are put together by hand where that is cheap: byte for byte what JSON.stringify makes of their clean fields. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type AuditEnd,
  type AuditSubject,
  auditMembers,
  createAudit,
} from "../../src/observe/audit.ts";
import { cleanFields } from "../../src/observe/fields.ts";
import { createLog } from "../../src/observe/log.ts";
import { escapeControls, redactArguments, redactText } from "../../src/observe/redact.ts";
import { scratch, soon } from "./support.ts";

/** Park and Miller's: the same texts at each run. */
const createRandom = (seed: number): ((below: number) => number) => {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
};
const random = createRandom(7);

const pieces = [
  "a", "F", "0", "-", ":", ".", "/", " ", '"', "\\", "\n", "\u0000", "\u001f", "\u007f", "\u0085", "\u2028", "\u202e", "\ufeff",
  "é", "日", "😀", "\ud800", "\udc00", "~", "[", "]", "^", "token=", "secret", "Bearer abcdefgh", "eyJhbGci", "://u:p@", "-----BEGIN PRIVATE KEY-----",
  "8a4b1c2d-0000-4000-8000-123456789abc", "10.0.0.1", "fe80::1", "alloc/data", "x".repeat(2_100),
]; // biome-ignore format: a list

const text = (): string =>
  Array.from({ length: random(6) }, () => pieces[random(pieces.length)]).join("");
const perhaps = <T>(make: () => T): T | undefined => (random(3) === 0 ? undefined : make());
const oddNumbers = [0, -0, 1, -1, 0.1, 4.5, 1e21, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY];
const number = (): number => oddNumbers[random(oddNumbers.length)] ?? 0;

const rounds = 1_500;

test("audit records of whatever callers send are those that JSON.stringify would write", async () => {
  using at = scratch();
  const audit = createAudit({
    clock: { now: () => 1_700_000_000_000, monotonic: () => 5 },
    output: at.file("audit"),
  });
  const expected: string[] = [];
  const expect = (
    kind: string,
    subject: AuditSubject & { readonly requestId: string },
    end: object,
  ): void => {
    const { argv, ...texts } = subject;
    const members = { ...cleanFields(texts), argv: argv && redactArguments(argv) };
    const time = "2023-11-14T22:13:20.000Z";
    expected.push(escapeControls(JSON.stringify({ audit: kind, time, ...members, ...end })));
  };
  for (let count = 0; count < rounds; count++) {
    const requestId = `r-${count}`;
    const subject: AuditSubject = {
      route: "fs.ls",
      kind: "read",
      accessor: perhaps(text),
      address: text(),
      allocation: perhaps(text),
      node: perhaps(text),
      namespace: perhaps(text),
      task: perhaps(text),
      path: perhaps(text),
      method: perhaps(text),
      template: perhaps(text),
      argv: undefined,
      upstream: perhaps(() => "service" as const),
    };
    const command = perhaps(() => [text(), text()]);
    const whole = command === undefined ? subject : { ...subject, argv: command };
    const end: AuditEnd = {
      result: "failed",
      code: perhaps(() => "upstream_broke" as const),
      status: perhaps(() => 200),
    };
    const tally = { bytesIn: number(), bytesOut: number(), exitCode: perhaps(number) };
    audit.begin(requestId, auditMembers(whole), tally).end(end);
    const { result, ...others } = end;
    // a record tells who it was shown as after the command's words
    const { upstream, argv, ...first } = whole;
    const ordered = { requestId, ...first, upstream, argv };
    expect("start", ordered, {});
    expect("end", ordered, { ...others, ...tally, durationMs: 0, result });
  }
  await audit.close(soon());
  assert.deepEqual(readFileSync(at.file("audit"), "utf8").split("\n"), [...expected, ""]);
});

const fieldNames = ["id", "status", "path", "token", "Secret", "msg", "level", "name", "odd name", "9", "é", "n".repeat(70)] as const; // biome-ignore format: a list
const fieldValues = [
  text, text, text, number, number, () => true, () => null, () => undefined, () => 7n, () => ["a"], () => ({ token: 1 }), () => new Date(0),
  () => Object.assign(new Error(text(), { cause: new Error(text()) }), { code: "E1", secret: text() }), () => ({ [text()]: [text(), { deep: [text()] }] }),
]; // biome-ignore format: a list

test("log lines of whatever fields are those that JSON.stringify would write", async () => {
  using at = scratch();
  const log = createLog({
    level: "info",
    destination: at.file("log"),
    linesPerSecond: 1e9,
    base: { name: 'g"1' },
  });
  const expected: string[] = [];
  for (let count = 0; count < rounds; count++) {
    const fields = Object.fromEntries(
      Array.from({ length: random(6) }, () => [
        fieldNames[random(fieldNames.length)] ?? "id",
        fieldValues[random(fieldValues.length)]?.(),
      ]),
    );
    const message = text();
    log.info(fields, message);
    const clean = JSON.stringify(cleanFields(fields)).slice(1, -1);
    const words = JSON.stringify(redactText(message));
    const members = clean === "" ? "" : `,${clean}`;
    expected.push(
      escapeControls(`{"level":"info","time":"","name":"g\\"1"${members},"msg":${words}}`),
    );
  }
  await log.close(soon());
  const written = readFileSync(at.file("log"), "utf8").replace(
    /"time":"[-\d]+T[\d:.]+Z"/g,
    '"time":""',
  );
  assert.deepEqual(written.split("\n"), [...expected, ""]);
});
