/** What processes have used of the CPU: user and system, all threads of each, in nanoseconds. Their children do not count. */
import { readdirSync, readFileSync } from "node:fs";

const nanosecondsPerMs = 1e6;

/** Of one thread: the time on a core stands first in its schedstat. */
const threadNs = (file: string): number => {
  try {
    return Number(readFileSync(file, "utf8").split(" ")[0]);
  } catch {
    return 0; // it has just ended
  }
};

/** Milliseconds since its start, without threads that have ended: neither Go nor Node ends its own while it works. */
export const cpuMs = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`)
    .map((thread) => threadNs(`/proc/${pid}/task/${thread}/schedstat`))
    .reduce((sum, ns) => sum + ns, 0) / nanosecondsPerMs;

/** Each process by its name in the table. */
export type Processes<Name extends string> = Readonly<Record<Name, readonly number[]>>;

export interface Used<Name extends string> {
  readonly wallMs: number;
  readonly cpuMs: Readonly<Record<Name, number>>;
}

/** What the processes use while `work` runs. */
export const meter = async <Name extends string, T>(
  processes: Processes<Name>,
  work: () => Promise<T>,
): Promise<Used<Name> & { readonly result: T }> => {
  const names = Object.keys(processes) as Name[]; // a record's own keys
  const read = () => names.map((name) => processes[name].reduce((sum, pid) => sum + cpuMs(pid), 0));
  const before = read();
  const started = performance.now();
  const result = await work();
  const wallMs = performance.now() - started;
  const after = read();
  const used = names.map((name, at) => [name, (after[at] ?? 0) - (before[at] ?? 0)] as const);
  return { result, wallMs, cpuMs: Object.fromEntries(used) as Record<Name, number> };
};
