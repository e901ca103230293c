/** `npm test`: sets up what the tests need, then runs them with Node's own runner. Arguments: files to run instead of all. */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";

const named = process.argv.slice(2);
const files = globSync(named.length > 0 ? named : ["test/**/*.test.ts"]).sort();
const child = spawn(
  process.execPath,
  ["--test", "--test-timeout=120000", "--test-concurrency=2", ...files],
  { stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
