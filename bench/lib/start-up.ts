/** How long `serai server` takes from its start until it is ready: the embedded registry, an empty data directory. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { median } from "./median.ts";

export interface StartUp {
  readonly from: "sources" | "package";
  readonly starts: number;
  /** With nothing in the compile cache. */
  readonly firstMs: number;
  /** With what the first start has left there. */
  readonly laterMs: number;
  /** node alone: `node -e 0`. */
  readonly nodeMs: number;
}

const root = path.resolve(import.meta.dirname, "../..");
const laterStarts = 3;
const pollMs = 5;

const timed = async (work: () => Promise<void> | void): Promise<number> => {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
};

const isReady = async (admin: string): Promise<void> => {
  while (!(await fetch(`${admin}/readyz`)).ok)
    await new Promise((resolve) => setTimeout(resolve, pollMs));
};

/** From the start of the process until /readyz says 200. The process is told to stop, and has stopped when it resolves. */
const start = async (program: string, directory: string, cache: string): Promise<number> => {
  const dataDir = mkdtempSync(path.join(directory, "data-"));
  const flags = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", dataDir];
  const startedMs = performance.now();
  const child = spawn(process.execPath, [program, "server", ...flags], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, NODE_COMPILE_CACHE: cache, SERAI_TIMEOUTS_DRAIN_DELAY: "0s" },
  });
  const ended = once(child, "close");
  let tookMs = Number.NaN;
  for await (const line of createInterface({ input: child.stdout })) {
    const admin = /"admin":"([^"]+)"/.exec(line)?.[1];
    if (admin === undefined || !Number.isNaN(tookMs)) continue;
    await isReady(admin);
    tookMs = performance.now() - startedMs;
    child.kill("SIGTERM");
  }
  await ended;
  return tookMs;
};

/** The package as it is published, beside the dependencies of this checkout. */
const build = (directory: string): string => {
  const out = path.join(directory, "dist");
  const built = spawnSync(process.execPath, ["scripts/build.ts", out], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (built.status !== 0) throw new Error("the package cannot be built");
  symlinkSync(path.join(root, "node_modules"), path.join(out, "node_modules"));
  return path.join(out, "bin/serai.mjs");
};

interface Starts {
  readonly first: number[];
  readonly later: number[];
}

/** In rounds, from the sources and from the package in turn. */
export const startUps = async (
  rounds: number,
  say: (words: string) => void,
): Promise<readonly StartUp[]> => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-bench-"));
  try {
    say("building the package");
    const programs = { sources: path.join(root, "bin/serai.mjs"), package: build(directory) };
    const starts: Record<StartUp["from"], Starts> = {
      sources: { first: [], later: [] },
      package: { first: [], later: [] },
    };
    const bare: number[] = [];
    for (let nth = 1; nth <= rounds; nth++) {
      say(`starts: round ${nth} of ${rounds}`);
      bare.push(await timed(() => void spawnSync(process.execPath, ["-e", "0"])));
      for (const from of ["sources", "package"] as const) {
        const cache = path.join(directory, `cache-${nth}-${from}`);
        mkdirSync(cache);
        starts[from].first.push(await start(programs[from], directory, cache));
        for (let again = 0; again < laterStarts; again++)
          starts[from].later.push(await start(programs[from], directory, cache));
      }
    }
    return (["sources", "package"] as const).map((from) => ({
      from,
      starts: starts[from].later.length,
      firstMs: median(starts[from].first),
      laterMs: median(starts[from].later),
      nodeMs: median(bare),
    }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};
