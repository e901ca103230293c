/**
 * `npm test`: sets up what the tests need, then runs them with Node's own runner. Arguments: files to run instead of all;
 * `--one-at-a-time` for those that weigh and time.
 */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { bringTools } from "./tools.ts";

/** Programs that some tests compare with; their tests are skipped aloud without them (under CI=1 that is a failure). */
const tools = { nginx: "nginx-light", haproxy: "haproxy" };

const { values: flags, positionals: named } = parseArgs({
  options: { "one-at-a-time": { type: "boolean", default: false } },
  allowPositionals: true,
});
/** Most of a file's time is waiting: two a core. */
const concurrency = flags["one-at-a-time"] ? 1 : 2 * availableParallelism();
/** Begun first: it takes the longest, and nobody waits for it at the end. */
const longest = path.join("test", "package");
const files = globSync(named.length > 0 ? named : ["test/**/*.test.ts"]).sort(
  (one, other) =>
    Number(other.startsWith(longest)) - Number(one.startsWith(longest)) || (one < other ? -1 : 1),
);
if (named.length === 0) bringTools(tools, "Some tests are skipped");
const child = spawn(
  process.execPath,
  ["--test", "--test-timeout=120000", `--test-concurrency=${concurrency}`, ...files],
  {
    stdio: "inherit",
    env: { NODE_COMPILE_CACHE: path.resolve("node_modules/.cache/compile"), ...process.env },
  },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
