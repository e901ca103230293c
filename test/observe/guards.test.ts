import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const source = path.join(import.meta.dirname, "../../src/observe");

const crash = (how: string) =>
  spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import { createLog } from ${JSON.stringify(path.join(source, "log.ts"))};
       import { createProcessGuards } from ${JSON.stringify(path.join(source, "guards.ts"))};
       const log = createLog({ level: "info", destination: "stdout" });
       createProcessGuards({ log, exit: (code) => process.exit(code), count: (kind) => process.stderr.write(kind) });
       log.info({}, "before");
       setTimeout(() => { ${how} }, 10);
       setInterval(() => {}, 1000);`,
    ],
    { encoding: "utf8", timeout: 30_000 },
  );

const cases = [
  ["exception", 'throw new Error("boom")'],
  ["rejection", 'Promise.reject(new Error("boom"))'],
  ["rejection", 'Promise.reject("boom")'],
  ["exception", "throw undefined"],
] as const;

for (const [kind, how] of cases)
  test(`an uncaught ${kind} (${how}) is counted, is the last log line, and ends the process with 1`, () => {
    const { status, stdout, stderr } = crash(how);
    assert.equal(status, 1);
    assert.equal(stderr, kind);
    const lines = stdout.trimEnd().split("\n");
    assert.equal(lines.length, 2);
    const last: Record<string, unknown> = JSON.parse(lines[1] ?? "");
    assert.equal(last["msg"], "uncaught error, the process ends");
    assert.equal(last["kind"], kind);
  });

test("words for stderr that the disk below it has no room for do not end the process", {
  skip: process.platform !== "linux",
}, () => {
  const full = openSync("/dev/full", "w");
  const script = `import { createLog } from ${JSON.stringify(path.join(source, "log.ts"))};
    import { createProcessGuards } from ${JSON.stringify(path.join(source, "guards.ts"))};
    const log = createLog({ level: "info", destination: "stdout" });
    createProcessGuards({ log, exit: (code) => process.exit(code) });
    process.stderr.write("reading the settings again failed\\n");
    setTimeout(() => log.info({}, "alive"), 50);`;
  const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", full],
  });
  closeSync(full);
  assert.deepEqual([status, JSON.parse(stdout)["msg"]], [0, "alive"]);
});
