import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { openLogFiles } from "../../../src/agent/workloads/log-files.ts";
import { bench, first, recordingLog, task, until, workload } from "./support.ts";

const place = (t: TestContext): string => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-logs-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
};

const options = (directory: string, maxFiles: number, maxFileBytes: number) => ({
  directory,
  task: "web",
  type: "stdout" as const,
  maxFiles,
  maxFileBytes,
});

const joined = (directory: string): string =>
  readdirSync(directory)
    .sort((a, b) => Number(a.split(".").at(-1)) - Number(b.split(".").at(-1)))
    .map((name) => readFileSync(path.join(directory, name), "utf8"))
    .join("");

test("output is rotated by size, lines stay whole, nothing is lost", async (t) => {
  const directory = place(t);
  const files = await openLogFiles(recordingLog(), options(directory, 100, 100));
  let all = "";
  for (let n = 0; n < 60; n++) {
    const text = `line ${n} ${"x".repeat(n % 17)}\n`;
    all += text;
    await files.write(Buffer.from(text));
  }
  await files.write(Buffer.from(all));
  await files.close();
  assert.equal(joined(directory), all + all);
  const sizes = readdirSync(directory).map((name) => statSync(path.join(directory, name)).size);
  assert.ok(sizes.every((size) => size <= 100));
  assert.ok(readFileSync(path.join(directory, "web.stdout.12"), "utf8").endsWith("\n"));
});

test("a line longer than a file is split, not lost", async (t) => {
  const directory = place(t);
  const files = await openLogFiles(recordingLog(), options(directory, 100, 10));
  await files.write(Buffer.from(`${"a".repeat(95)}\n`));
  await files.close();
  assert.equal(joined(directory), `${"a".repeat(95)}\n`);
});

test("the oldest files go, and a later start goes on with the newest", async (t) => {
  const directory = place(t);
  const first = await openLogFiles(recordingLog(), options(directory, 2, 10));
  for (let n = 0; n < 5; n++) await first.write(Buffer.from(`line ${n} ..\n`.slice(0, 10)));
  await first.close();
  assert.deepEqual(readdirSync(directory).sort(), ["web.stdout.3", "web.stdout.4"]);
  const later = await openLogFiles(recordingLog(), options(directory, 2, 100));
  await later.write(Buffer.from("more"));
  await later.close();
  assert.ok(readFileSync(path.join(directory, "web.stdout.4"), "utf8").endsWith("more"));
});

test("a pipe planted under the next name is replaced, not waited for", async (t) => {
  const directory = place(t);
  const files = await openLogFiles(recordingLog(), options(directory, 9, 4));
  execFileSync("mkfifo", [path.join(directory, "web.stdout.1")]);
  await files.write(Buffer.from("12345678"));
  await files.close();
  assert.equal(joined(directory), "12345678");
  assert.ok(statSync(path.join(directory, "web.stdout.1")).isFile());
});

test("a vanished directory drops output with one warning and heals", async (t) => {
  const directory = place(t);
  const logs = path.join(directory, "logs");
  execFileSync("mkdir", [logs]);
  const log = recordingLog();
  const files = await openLogFiles(log, options(logs, 9, 4));
  rmSync(logs, { recursive: true });
  await files.write(Buffer.from("12345678"));
  await files.write(Buffer.from("12345678"));
  assert.deepEqual(log.lines, ["log output is being dropped"]);
  execFileSync("mkdir", [logs]);
  await files.write(Buffer.from("ok\n"));
  await files.close();
  assert.ok(joined(logs).endsWith("ok\n"));
});

test("a task may open its output by name, as scripts and servers do", async (t) => {
  const workloads = await bench(t).start([
    workload([task("b", "echo out > /dev/stdout; echo err > /dev/stderr; ls -A private")], {
      type: "batch",
    }),
  ]);
  await until("ended", () => first(workloads).task("b")?.state === "dead");
  assert.equal(first(workloads).clientStatus, "complete");
  const logs = path.join(first(workloads).directory, "alloc/logs");
  assert.equal(readFileSync(path.join(logs, "b.stdout.0"), "utf8"), "out\n");
  assert.equal(readFileSync(path.join(logs, "b.stderr.0"), "utf8"), "err\n");
});

test("a task whose logging is disabled leaves no file", async (t) => {
  const workloads = await bench(t).start([
    workload(
      [task("b", "echo unheard", { logs: { maxFiles: 1, maxFileSizeMb: 1, disabled: true } })],
      { type: "batch" },
    ),
  ]);
  await until("complete", () => first(workloads).clientStatus === "complete");
  assert.deepEqual(readdirSync(path.join(first(workloads).directory, "alloc/logs")), []);
});
