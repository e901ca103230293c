/** One process a data directory: two would end each other's tasks and write over each other's state. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { errnoOf } from "../errors.ts";

const pollMs = 50;
/** For one that is just ending. */
const patienceMs = 15_000;

/** When a process began, in the kernel's ticks: tells it from a later one with the same number. Empty where /proc is missing. */
const startOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
};

const isAlive = (pid: number, start: string): boolean => {
  if (pid === process.pid) return false; // an earlier container's
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errnoOf(error) !== "EPERM") return false;
  }
  return startOf(pid) === start;
};

/** The process that holds the file; undefined when it has ended. */
const holderOf = (file: string): number | undefined => {
  try {
    const [pid = "", start = ""] = readFileSync(file, "utf8").trim().split(" ");
    const number = Number(pid);
    return Number.isInteger(number) && number > 0 && isAlive(number, start) ? number : undefined;
  } catch {
    return undefined;
  }
};

const take = (file: string): boolean => {
  try {
    writeFileSync(file, `${process.pid} ${startOf(process.pid)}\n`, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    return false;
  }
};

/** Also when the process leaves at once. */
const releaseOf = (file: string): (() => void) => {
  const release = (): void => {
    process.off("exit", release);
    rmSync(file, { force: true });
  };
  process.on("exit", release);
  return release;
};

export interface HoldOptions {
  readonly onWait: (words: string) => void;
  /** Ends the wait; the directory is not held then. */
  readonly stopping: AbortSignal;
}

/**
 * Holds a directory, which is made when missing, until the function it gives is called. Waits for a process that is ending; throws with one
 * sentence when that does not end. What a killed process left is taken over.
 */
export const holdDirectory = async (
  directory: string,
  { onWait, stopping }: HoldOptions,
): Promise<() => void> => {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = path.join(directory, "lock");
  for (let waitedMs = 0; !stopping.aborted; waitedMs += pollMs) {
    if (take(file)) return releaseOf(file);
    const holder = holderOf(file);
    if (holder === undefined) {
      rmSync(file, { force: true });
      continue;
    }
    const words = `${directory} is in use by process ${holder}`;
    if (waitedMs >= patienceMs)
      throw new Error(`${words}; stop it, or choose another data directory`);
    if (waitedMs === 0) onWait(`${words}; waiting for it to end`);
    await delay(pollMs);
  }
  return () => {};
};
