/**
 * `npm run build [-- directory]`: bundles the program and packs `dist/serai-<version>.tgz`, which `npm i -g` installs; its bill of
 * materials lies beside it.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { bundle, installed } from "./bundle.ts";
import { billOf } from "./materials.ts";
import { noticesOf } from "./notices.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

/** What it made itself, or nothing at all: it is about to be removed. */
const isBuilt = (directory: string): boolean =>
  readdirSync(directory).length === 0 || existsSync(path.join(directory, "bin/serai.mjs"));

const root = path.join(import.meta.dirname, "..");
const out = path.resolve(process.argv[2] ?? path.join(root, "dist"));
const notices = "THIRD-PARTY-NOTICES";
process.chdir(root);

const manifest: Manifest = JSON.parse(readFileSync("package.json", "utf8"));
const { name, version, description, license, dependencies } = manifest;

if (existsSync(out) && !isBuilt(out)) {
  console.error(`${out} is there and is no earlier build: name another directory`);
  process.exit(1);
}
rmSync(out, { recursive: true, force: true });
const files = await bundle(root, path.join(out, "lib"));
writeFileSync(path.join(out, notices), noticesOf(root, files));
mkdirSync(path.join(out, "bin"), { recursive: true });
cpSync("bin/serai.mjs", path.join(out, "bin/serai.mjs"));
chmodSync(path.join(out, "bin/serai.mjs"), 0o755);
cpSync("config", path.join(out, "config"), { recursive: true });
for (const file of ["LICENSE", "README.md", "CHANGELOG.md"]) cpSync(file, path.join(out, file));
// Node itself is the user's: the development dependencies that bring it are left out.
const published = {
  name,
  version,
  description,
  license,
  type: "module",
  bin: { serai: "bin/serai.mjs" },
  engines: { node: ">=24.12" },
  files: ["bin", "lib", "config", "CHANGELOG.md", notices],
  dependencies: Object.fromEntries(installed.map((name) => [name, dependencies[name]])),
};
writeFileSync(path.join(out, "package.json"), `${JSON.stringify(published, undefined, 2)}\n`);
const materials = run(
  "npm",
  "sbom",
  "--sbom-format",
  "cyclonedx",
  "--sbom-type",
  "application",
  "--package-lock-only",
);
const bill = billOf(materials, name, Object.keys(dependencies));
writeFileSync(
  path.join(out, `${name}-${version}.cdx.json`),
  `${JSON.stringify(bill, undefined, 2)}\n`,
);
const [packed] = JSON.parse(run("npm", "pack", out, "--json", "--pack-destination", out));
const tarball = path.relative(process.env["INIT_CWD"] ?? root, path.join(out, packed.filename));
console.log(
  `npm i -g ${path.isAbsolute(tarball) || tarball.startsWith(".") ? tarball : `./${tarball}`}`,
);
