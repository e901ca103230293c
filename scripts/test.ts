/** `npm test`: sets up what the tests need, then runs them with Node's own runner. Arguments: files to run instead of all. */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";
import { bringTools } from "./tools.ts";

/** Programs that some tests compare with; their tests are skipped aloud without them (under CI=1 that is a failure). */
const tools = { nginx: "nginx-light", haproxy: "haproxy" };

const named = process.argv.slice(2);
/** Begun first: it takes the longest, and nobody waits for it at the end. */
const longest = path.join("test", "package");
const files = globSync(named.length > 0 ? named : ["test/**/*.test.ts"]).sort(
  (one, other) =>
    Number(other.startsWith(longest)) - Number(one.startsWith(longest)) || (one < other ? -1 : 1),
);
if (named.length === 0) bringTools(tools, "Some tests are skipped");
const child = spawn(
  process.execPath,
  [
    "--test",
    "--test-timeout=120000",
    named.some((name) => name.includes("fault")) ? "--test-concurrency=1" : "--test-concurrency=3",
    ...files,
  ],
  {
    stdio: "inherit",
    env: { NODE_COMPILE_CACHE: path.resolve("node_modules/.cache/compile"), ...process.env },
  },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
