/** What a bench leaves behind when it is ended before its time. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { until } from "../support/processes.ts";

const bench = path.join(import.meta.dirname, "../../bench");

/** As the benches do: a gateway, an agent with a task, a program of others and files, and much to do with them. */
const script = `
  import { spawn } from "node:child_process";
  import { endTidily, memoryDirectory } from ${JSON.stringify(path.join(bench, "lib/tidy.ts"))};
  import { openBench } from ${JSON.stringify(path.join(bench, "lib/bench-setting.ts"))};
  endTidily();
  await using setting = await openBench([]);
  using memory = memoryDirectory();
  const other = spawn("sleep", ["1000"]);
  process.once("SIGUSR2", () => { throw new Error("as a mistake would") });
  const { gateway, agentPid, directory } = setting;
  console.log(JSON.stringify({
    pids: [gateway.pid, agentPid, other.pid],
    paths: [directory, memory.path, process.env.TMPDIR],
  }));
  await new Promise(() => setInterval(() => {}, 1000));`;

const isThere = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
  } catch {
    return false;
  }
};

const childrenOf = (pid: number): readonly number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);

for (const [how, signal, expected] of [
  ["Ctrl-C", "SIGINT", 130],
  ["SIGTERM", "SIGTERM", 143],
  ["an error that nobody caught", "SIGUSR2", 1],
] as const)
  test(`a bench that ends by ${how} leaves no process and no file`, {
    skip: process.platform !== "linux",
  }, async () => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [told, errors] = ["", ""];
    child.stdout.on("data", (chunk) => {
      told += chunk;
    });
    child.stderr.on("data", (chunk) => {
      errors += chunk;
    });
    await until(
      () => `it runs: ${errors}`,
      () => told.endsWith("\n"),
      30_000,
    );
    const { pids, paths }: { pids: number[]; paths: string[] } = JSON.parse(told);
    const tasks = childrenOf(pids[1] ?? 0);
    assert.ok(tasks.length > 0);
    assert.ok([...pids, ...tasks].every(isThere) && paths.every((one) => existsSync(one)));
    child.kill(signal);
    const [code] = await once(child, "close");
    assert.equal(code, expected);
    assert.deepEqual([...pids, ...tasks].filter(isThere), []);
    assert.deepEqual(
      paths.filter((one) => existsSync(one)),
      [],
    );
  });

for (const file of globSync("*.ts", { cwd: bench }).filter((name) => !name.startsWith("index-")))
  test(`bench/${file} ends tidily`, () => {
    assert.match(readFileSync(path.join(bench, file), "utf8"), /^endTidily\(\);$/m);
  });
