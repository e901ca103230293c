/** How Go prints modes, times and names. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, utimes, writeFile } from "node:fs/promises";
import { test } from "node:test";
import fc from "fast-check";
import { goMode, goName, goTime } from "../../../src/agent/files/entry.ts";
import { ask, serveFiles, temporaryAllocation } from "./support.ts";

// biome-ignore format: a table
const modes: readonly (readonly [mode: number, text: string])[] = [
  [0o100644, "-rw-r--r--"],
  [0o100000, "----------"],
  [0o040777, "drwxrwxrwx"],
  [0o041777, "dtrwxrwxrwx"],
  [0o120777, "Lrwxrwxrwx"],
  [0o140666, "Srw-rw-rw-"],
  [0o010644, "prw-r--r--"],
  [0o020620, "Dcrw--w----"],
  [0o060660, "Drw-rw----"],
  [0o104755, "urwxr-xr-x"],
  [0o102755, "grwxr-xr-x"],
  [0o106755, "ugrwxr-xr-x"],
  [0o043775, "dgtrwxrwxr-x"],
];

for (const [mode, text] of modes)
  test(`mode ${mode.toString(8)} is ${text}`, () => assert.equal(goMode(mode), text));

// biome-ignore format: a table
const times: readonly (readonly [zone: string, ns: bigint, text: string])[] = [
  ["UTC", 1_735_689_600_123_456_789n, "2025-01-01T00:00:00.123456789Z"],
  ["UTC", 1_735_689_600_123_456_000n, "2025-01-01T00:00:00.123456Z"],
  ["UTC", 1_735_689_600_000_000_000n, "2025-01-01T00:00:00Z"],
  ["UTC", 1_735_689_600_000_000_001n, "2025-01-01T00:00:00.000000001Z"],
  ["UTC", 0n, "1970-01-01T00:00:00Z"],
  ["UTC", -1n, "1969-12-31T23:59:59.999999999Z"],
  ["Europe/Kyiv", 1_735_689_600_500_000_000n, "2025-01-01T02:00:00.5+02:00"],
  ["Europe/Kyiv", 1_751_328_000_000_000_000n, "2025-07-01T03:00:00+03:00"],
  ["Asia/Kathmandu", 1_735_689_600_000_000_000n, "2025-01-01T05:45:00+05:45"],
  ["America/St_Johns", 1_735_689_600_000_000_000n, "2024-12-31T20:30:00-03:30"],
];

for (const [zone, ns, text] of times)
  test(`${ns} ns in ${zone} is ${text}`, () => {
    const before = process.env["TZ"];
    process.env["TZ"] = zone; // V8 reads it anew at each assignment
    try {
      assert.equal(goTime(ns), text);
    } finally {
      if (before === undefined) delete process.env["TZ"];
      else process.env["TZ"] = before;
    }
  });

test("each byte of a name that is no UTF-8 becomes one U+FFFD", () => {
  const cases: readonly (readonly [bytes: string, text: string])[] = [
    ["caf\xc3\xa9", "café"],
    ["a\xffb", "a\ufffdb"],
    ["\xe2\x82", "\ufffd\ufffd"],
    ["\xe2\x82\xac\xe2\x82", "€\ufffd\ufffd"],
    ["\xed\xa0\x80", "\ufffd\ufffd\ufffd"],
    ["\xf0\x9f\x98\x80\x80", "😀\ufffd"],
    ["\xc0\xaf", "\ufffd\ufffd"],
  ];
  for (const [bytes, text] of cases) assert.equal(goName(Buffer.from(bytes, "latin1")), text);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      assert.equal(goName(Buffer.from(text)), Buffer.from(text).toString());
    }),
  );
});

test("a directory is listed in the order of its names' bytes, whatever they are", async () => {
  await using allocation = await temporaryAllocation();
  const names = ["b", "a", "B", "é", "z", "_", "😀", "\uffff", "a\nb", '"q"'];
  for (const name of names) await writeFile(allocation.at(`alloc/data/${name}`), "");
  await writeFile(Buffer.from(`${allocation.at("alloc/data")}/\xfe\xff`, "latin1"), "");
  await mkdir(allocation.at("alloc/data/dir"));
  await chmod(allocation.at("alloc/data/dir"), 0o1777);
  await utimes(allocation.at("alloc/data/a"), 1_735_689_600, 1_735_689_600);
  await using server = await serveFiles(allocation);
  const answer = await ask(server, "fs.ls?path=alloc/data");
  const entries: unknown = JSON.parse(answer.body.toString());
  assert.ok(Array.isArray(entries));
  const byBytes = [...names, "dir"].map((name) => Buffer.from(name)).sort(Buffer.compare);
  assert.deepEqual(
    entries.map((entry: { Name: string }) => entry.Name),
    [...byBytes.map(String), "\ufffd\ufffd"],
  );
  const dir: unknown = entries.find((entry: { Name: string }) => entry.Name === "dir");
  assert.match(JSON.stringify(dir), /"FileMode":"dtrwxrwxrwx"/);
  const { size, mtimeNs } = await lstat(allocation.at("alloc/data/a"), { bigint: true });
  assert.deepEqual(
    JSON.stringify(entries.find((entry: { Name: string }) => entry.Name === "a")),
    `{"Name":"a","IsDir":false,"Size":${size},"FileMode":"${goMode(0o100644)}","ModTime":"${goTime(mtimeNs)}","ContentType":""}`,
  );
});

test("a file without leave to read is described, and refused with the system's words", {
  skip: process.getuid?.() === 0 && "root may read everything",
}, async () => {
  await using allocation = await temporaryAllocation();
  await writeFile(allocation.at("alloc/data/f"), "x");
  await chmod(allocation.at("alloc/data/f"), 0);
  await using server = await serveFiles(allocation);
  const stat = await ask(server, "fs.stat?path=alloc/data/f");
  assert.match(stat.body.toString(), /"FileMode":"----------".*octet-stream/);
  const cat = await ask(server, "fs.cat?path=alloc/data/f");
  assert.equal(cat.status, 500);
  assert.equal(cat.body.toString(), `open ${allocation.at("alloc/data/f")}: permission denied`);
});

test("a directory of thousands of files is listed whole", async () => {
  await using allocation = await temporaryAllocation();
  execFileSync("sh", [
    "-c",
    'cd "$1" && seq 3000 | xargs touch',
    "sh",
    allocation.at("alloc/data"),
  ]);
  await using server = await serveFiles(allocation);
  const answer = await ask(server, "fs.ls?path=alloc/data");
  const entries: unknown = JSON.parse(answer.body.toString());
  assert.ok(Array.isArray(entries));
  assert.equal(entries.length, 3_000);
});
