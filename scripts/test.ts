/** `npm test`: sets up what the tests need, then runs them with Node's own runner. Arguments: files to run instead of all. */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, globSync } from "node:fs";
import path from "node:path";

/** Programs that some tests compare with, and the Debian package that has each. */
const tools = { nginx: "nginx-light", haproxy: "haproxy" } as const;

const folders = [
  ...(process.env["PATH"] ?? "").split(path.delimiter),
  "/usr/sbin",
  "/usr/local/sbin",
];

const isThere = (program: string): boolean =>
  folders.some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });

const canInstall = (): boolean => process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");

/** RUNLEVEL=1: no service is started by an installation. */
const apt = (...args: readonly string[]): boolean =>
  spawnSync("apt-get", args, {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" },
    stdio: ["ignore", "ignore", "inherit"],
  }).status === 0;

/** Brings the tools where it may; elsewhere their tests are skipped aloud (under CI=1 that is a failure). */
const setUp = (): void => {
  const missing = Object.entries(tools).filter(([program]) => !isThere(program));
  if (missing.length === 0) return;
  const packages = missing.map(([, name]) => name);
  const line = `apt-get install ${packages.join(" ")}`;
  if (!canInstall()) {
    console.error(`Some tests are skipped without ${packages.join(", ")}: ${line}`);
    return;
  }
  console.error(`Installing what some tests compare with: ${line}`);
  const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  if (!apt(...install) && !(apt("update", "-q") && apt(...install)))
    console.error("It could not be installed; the tests that need it say so.");
};

const named = process.argv.slice(2);
const files = globSync(named.length > 0 ? named : ["test/**/*.test.ts"]).sort();
if (named.length === 0) setUp();
const child = spawn(
  process.execPath,
  ["--test", "--test-timeout=120000", "--test-concurrency=2", ...files],
  {
    stdio: "inherit",
    env: { NODE_COMPILE_CACHE: path.resolve("node_modules/.cache/compile"), ...process.env },
  },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
