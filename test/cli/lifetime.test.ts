/** A process' life, as signals find it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { until } from "../support/processes.ts";
import { serai } from "./support.ts";

/** As `src/cli/hold.ts` writes it for a process that lives. */
const hold = (directory: string, pid: number): void => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  writeFileSync(path.join(directory, `lock.${pid}.${start}`), "");
};

test("SIGHUP while a gateway starts does not end it, and is acted on when it lives", {
  skip: process.platform !== "linux",
}, async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-lifetime-"));
  const holder = spawn("sleep", ["60"]);
  await once(holder, "spawn");
  hold(directory, holder.pid ?? 0);
  const { child, stdout, stderr, ended } = serai(
    ["server", "--data-dir", directory, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    { env: { SERAI_TIMEOUTS_DRAIN_DELAY: "0s" } },
  );
  try {
    await until("it waits for the directory", () => stderr().includes("waiting for it to end"));
    child.kill("SIGHUP");
    holder.kill("SIGKILL");
    await until("it listens", () => stdout().includes("gateway listens"));
    await until("it has read again", () => stdout().includes("settings read again"));
    child.kill("SIGTERM");
    assert.deepEqual(await ended, { code: 0, signal: null });
  } finally {
    holder.kill("SIGKILL");
    child.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true });
  }
});
