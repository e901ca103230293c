/** What /proc says about processes. Empty where there is no /proc (macOS). */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Ticks (1/100 s) in user and system mode since the process began. */
  readonly userTicks: number;
  readonly systemTicks: number;
}

/** USER_HZ, the same on every Linux that Node runs on. */
export const ticksPerSecond = 100;

const readOrUndefined = (file: string): string | undefined => {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return undefined; // ended meanwhile, or another user's
  }
};

export const processIds = (): readonly number[] => {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
};

/** One process; undefined once it has ended (a zombie has). */
export const readStat = (pid: number): ProcessStat | undefined => {
  const text = readOrUndefined(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The command's name may hold spaces and parentheses: what counts lies behind the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  const at = (index: number): number => Number(fields[index] ?? Number.NaN);
  return {
    pid,
    parent: at(1),
    group: at(2),
    session: at(3),
    userTicks: at(11),
    systemTicks: at(12),
  };
};

/** Bytes in memory and in swap. */
export const readMemory = (pid: number): { readonly rss: number; readonly swap: number } => {
  const text = readOrUndefined(`/proc/${pid}/status`) ?? "";
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
  return { rss: kilobytes("VmRSS") * 1024, swap: kilobytes("VmSwap") * 1024 };
};

/** The environment a process was started with; undefined when it cannot be read. */
export const readEnvironment = (pid: number): ReadonlyMap<string, string> | undefined => {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return undefined;
  }
  return new Map(
    text.split("\0").map((line): [string, string] => {
      const at = line.indexOf("=");
      return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );
};
