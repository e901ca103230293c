/** The package, built and installed as a user does it. */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { root } from "../cli/support.ts";

export const patienceMs = 110_000;

export const done = (
  command: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): SpawnSyncReturns<string> =>
  spawnSync(command, argv, {
    cwd: root,
    encoding: "utf8",
    timeout: patienceMs,
    env: { ...process.env, ...env },
  });

export interface Built {
  readonly directory: string;
  readonly tarball: string;
  /** What the build said. */
  readonly words: string;
}

export const build = (directory: string): Built => {
  const built = done("npm", ["run", "--silent", "build", "--", directory]);
  assert.equal(built.status, 0, built.stderr);
  const [tarball] = globSync(path.join(directory, "serai-*.tgz"));
  assert.ok(tarball, "a tarball was packed");
  return { directory, tarball, words: built.stdout };
};

/** Where no registry is reached: the package unpacked, and beside it the one it depends on. */
const unpack = (tarball: string, prefix: string): void => {
  const home = path.join(prefix, "lib/node_modules/serai");
  mkdirSync(path.join(prefix, "bin"), { recursive: true });
  mkdirSync(home, { recursive: true });
  const { status, stderr } = done("tar", ["xzf", tarball, "--strip-components=1", "-C", home]);
  assert.equal(status, 0, stderr);
  const native = "node_modules/@lydell";
  cpSync(path.join(root, native), path.join(home, native), { recursive: true });
  symlinkSync("../lib/node_modules/serai/bin/serai.mjs", path.join(prefix, "bin/serai"));
};

/** The path of the program. */
export const install = (tarball: string, prefix: string): string => {
  const flags = ["--prefix", prefix, "--prefer-offline", "--no-audit", "--no-fund"];
  const { status, stderr } = done("npm", ["i", "-g", ...flags, tarball]);
  if (status !== 0) {
    assert.notEqual(process.env["CI"], "1", stderr);
    unpack(tarball, prefix);
  }
  return path.join(prefix, "bin/serai");
};
