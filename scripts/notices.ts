/** The licences of the packages whose code is in the bundle, each with its words. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const modules = "node_modules/";
/** The bundler's own few lines that join modules. */
const bundlerRuntime = "\0rolldown/";
const licenceFile = /^(?:licen[cs]e|copying|notice)(?:[-.].*)?$/i;

/** `node_modules/a/node_modules/@b/c/lib/d.js` is of `node_modules/a/node_modules/@b/c`; undefined for a file of ours. */
const packageOf = (file: string): string | undefined => {
  if (file.startsWith(bundlerRuntime)) return `${modules}rolldown`;
  const at = file.lastIndexOf(modules);
  if (at < 0) return undefined;
  const names = file.slice(at + modules.length).split("/");
  return path.join(
    file.slice(0, at + modules.length),
    ...names.slice(0, names[0]?.startsWith("@") ? 2 : 1),
  );
};

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

const noticeOf = (directory: string): string => {
  const manifest = path.join(directory, "package.json");
  const { name, version, license }: Manifest = JSON.parse(readFileSync(manifest, "utf8"));
  const texts = readdirSync(directory)
    .filter((file) => licenceFile.test(file))
    .map((file) => readFileSync(path.join(directory, file), "utf8").trim());
  if (texts.length === 0) throw new Error(`${name} ${version} has no file with its licence`);
  return [`${name} ${version} (${license})`, ...texts].join("\n\n");
};

const rule = `\n\n${"-".repeat(80)}\n\n`;

/** Of the packages that these files (paths from the root) are of. Throws when one of them has no licence with it. */
export const noticesOf = (root: string, files: readonly string[]): string => {
  const packages = new Set(files.map(packageOf).filter((name) => name !== undefined));
  const head = "serai contains code of these packages.";
  return `${[head, ...[...packages].sort().map((name) => noticeOf(path.join(root, name)))].join(rule)}\n`;
};
