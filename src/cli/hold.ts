/**
 * One process a data directory: two would end each other's tasks and write over each other's state.
 *
 * Whoever wants it raises a flag in it, a file named after its process, and has it when it looks then and sees no other: of two who do
 * so at least one sees the other. Who sees one that goes before it takes its own down until that one is gone, so that the first of those
 * who come at once gets it (Lamport's one-bit algorithm). Flags of processes that have ended count no more.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

interface Flag {
  readonly name: string;
  readonly pid: number;
  readonly start: string;
}

const flagOf = (pid: number, start: string): Flag => ({ name: `lock.${pid}.${start}`, pid, start });

/** None when a file of that name is no flag. */
const flagsNamed = (name: string): readonly Flag[] => {
  const [, pid, start] = /^lock\.([1-9]\d*)\.(\d*)$/.exec(name) ?? [];
  return pid === undefined || start === undefined ? [] : [flagOf(Number(pid), start)];
};

/** Who began earlier goes before. */
const order = (one: Flag, other: Flag): number =>
  Number(one.start) - Number(other.start) || one.pid - other.pid;

const isAlive = ({ pid, start }: Flag): boolean => {
  if (pid === process.pid) return false; // an earlier container's
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errnoOf(error) !== "EPERM") return false;
  }
  return startOf(pid) === start;
};

/** Flags of other processes, in their order; those of processes that have ended are taken away. */
const othersIn = (directory: string, own: Flag): readonly Flag[] => {
  const raised = readdirSync(directory).flatMap(flagsNamed);
  const others = Map.groupBy(
    raised.filter(({ name }) => name !== own.name),
    isAlive,
  );
  for (const { name } of others.get(false) ?? [])
    rmSync(path.join(directory, name), { force: true });
  return (others.get(true) ?? []).sort(order);
};

export interface HoldOptions {
  readonly onWait: (words: string) => void;
  /** Ends the wait; the directory is not held then. */
  readonly stopping: AbortSignal;
}

/**
 * Holds a directory, which is made when missing, until the function it gives is called, or the process leaves. Waits for a process that
 * is ending; throws with one sentence when that does not end. What a killed process left is taken over.
 */
export const holdDirectory = async (
  directory: string,
  { onWait, stopping }: HoldOptions,
): Promise<() => void> => {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const own = flagOf(process.pid, startOf(process.pid));
  const file = path.join(directory, own.name);
  const raise = (): void => writeFileSync(file, "", { mode: 0o600 });
  const lower = (): void => rmSync(file, { force: true });
  const release = (): void => {
    process.off("exit", release);
    lower();
  };
  process.on("exit", release); // also when it leaves at once
  /** Who stands in the way; undefined when the directory is held. */
  const take = (): Flag | undefined => {
    const [first] = othersIn(directory, own);
    if (first !== undefined && order(first, own) < 0) {
      lower();
      return first;
    }
    raise();
    return othersIn(directory, own)[0];
  };
  for (let waitedMs = 0; !stopping.aborted; waitedMs += pollMs) {
    const other = take();
    if (other === undefined) return release;
    const words = `${directory} is in use by process ${other.pid}`;
    if (waitedMs >= patienceMs) {
      release();
      throw new Error(`${words}; stop it, or choose another data directory`);
    }
    if (waitedMs === pollMs) onWait(`${words}; waiting for it to end`); // by then those who came at once have sorted it out
    await delay(pollMs);
  }
  release();
  return release;
};
