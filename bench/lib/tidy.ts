/**
 * A bench that ends before its time (Ctrl-C, SIGTERM, an error that nobody caught) disposes of nothing: its gateways, agents and
 * proxies would go on, and their files stay. All of it goes with the process here, however that ends, but for SIGKILL.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { processesBelow } from "../../test/support/processes.ts";

const signals = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
const memory = "/dev/shm";
const patienceMs = 2_000;
const pollMs = 10;

interface Known {
  readonly pid: number;
  readonly parent: number;
}

/** What runs; one that has ended and waits to be noticed does not. */
const running = (): readonly Known[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return state === "Z" ? [] : { pid: Number(name), parent: Number(parent) };
      } catch {
        return []; // it has ended
      }
    });

const descendantsOf = (parent: number, all: readonly Known[]): readonly number[] =>
  all
    .filter((one) => one.parent === parent)
    .flatMap(({ pid }) => [pid, ...descendantsOf(pid, all)]);

const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has ended
  }
};

const endAll = (directory: string): void => {
  const pids = [...descendantsOf(process.pid, running()), ...processesBelow(directory)];
  for (const pid of pids) kill(pid);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline && running().some(({ pid }) => pids.includes(pid)))
    Atomics.wait(pause, 0, 0, pollMs);
};

const remove = (directory: string): void =>
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });

/** Call it first: all temporary directories are made below one from then on, and so are the children's. */
export const endTidily = (): void => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-bench-"));
  process.env["TMPDIR"] = directory;
  process.on("exit", () => {
    endAll(directory);
    remove(directory);
  });
  for (const signal of signals)
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
};

/** A directory of one's own, in memory where that can be had: a disk is no part of what is measured. */
export const memoryDirectory = (): Disposable & { readonly path: string } => {
  const directory = mkdtempSync(path.join(existsSync(memory) ? memory : tmpdir(), "serai-bench-"));
  const dispose = (): void => {
    process.off("exit", dispose);
    remove(directory);
  };
  process.on("exit", dispose);
  return { path: directory, [Symbol.dispose]: dispose };
};
