/** Programs from Debian that tests and benchmarks use: looked for, and installed where that may be done. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";

/** Each program, and the Debian package that has it. */
export type Tools = Readonly<Record<string, string>>;

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

/** Brings what is missing where it may, and says so; false, said aloud with the line to type, when something still is. */
export const bringTools = (tools: Tools, what: string): boolean => {
  const missing = Object.entries(tools).filter(([program]) => !isThere(program));
  if (missing.length === 0) return true;
  const packages = missing.map(([, name]) => name);
  const line = `apt-get install ${packages.join(" ")}`;
  if (!canInstall()) {
    console.error(`${what} without ${packages.join(", ")}: ${line}`);
    return false;
  }
  console.error(`Installing what is missing: ${line}`);
  const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  const done = apt(...install) || (apt("update", "-q") && apt(...install));
  if (!done) console.error(`It could not be installed. ${what} without ${packages.join(", ")}.`);
  return done;
};
