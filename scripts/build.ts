/** `npm run build`: compiles the sources and packs `dist/serai-<version>.tgz`, which `npm i -g` installs. */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

const manifest: Manifest = JSON.parse(readFileSync("package.json", "utf8"));
const { name, version, description, license, dependencies } = manifest;

rmSync("dist", { recursive: true, force: true });
run("tsc", "-p", "tsconfig.build.json");
mkdirSync("dist/bin", { recursive: true });
cpSync("bin/serai.mjs", "dist/bin/serai.mjs");
chmodSync("dist/bin/serai.mjs", 0o755);
cpSync("config", "dist/config", { recursive: true });
for (const file of ["LICENSE", "README.md", "CHANGELOG.md"]) cpSync(file, `dist/${file}`);
// Node itself is the user's: the development dependencies that bring it are left out.
const published = {
  name,
  version,
  description,
  license,
  type: "module",
  bin: { serai: "bin/serai.mjs" },
  engines: { node: ">=24.12" },
  files: ["bin", "lib", "config", "CHANGELOG.md"],
  dependencies,
};
writeFileSync("dist/package.json", `${JSON.stringify(published, undefined, 2)}\n`);
const [packed] = JSON.parse(run("npm", "pack", "./dist", "--json", "--pack-destination", "dist"));
console.log(`dist/${packed.filename}: npm i -g ./dist/${packed.filename}`);
