/** Looks into a process that a test has started: what is left in it after a collection, by kind. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Program, until } from "./processes.ts";

/** Loaded into the process: collects at SIGUSR2 and says what is left; counts emitters at SIGWINCH, which takes a while. */
const source = `
import { EventEmitter } from "node:events";
import v8 from "node:v8";

const say = (line) => console.log(JSON.stringify(line));
process.on("SIGUSR2", async () => {
  for (let round = 0; round < 3; round++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { heapUsed, external } = process.memoryUsage();
  const resources = {};
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  say({ msg: "probed", held: heapUsed + external, resources });
});
process.on("SIGWINCH", () => {
  say({ msg: "counted", emitters: v8.queryObjects(EventEmitter, { format: "count" }) });
});
`;

export type Counts = Readonly<Record<string, number>>;

export interface Probe {
  /** Heap and what hangs on it, after a collection. */
  readonly heldMib: number;
  /** What keeps the process alive, by kind (`process.getActiveResourcesInfo`). */
  readonly resources: Counts;
}

/** Arguments of node for a process that can be probed. */
export const probed = (directory: string): readonly string[] => {
  const module = path.join(directory, "probe.mjs");
  writeFileSync(module, source);
  return ["--expose-gc", "--disable-warning=ExperimentalWarning", "--import", module];
};

const patienceMs = 60_000;

const told = async (
  { output, kill }: Program,
  signal: NodeJS.Signals,
  word: string,
): Promise<string> => {
  const said = (): readonly string[] => output.filter((line) => line.includes(`"msg":"${word}"`));
  const before = said().length;
  kill(signal);
  return await until(`it has ${word}`, () => said()[before], patienceMs);
};

export const probe = async (program: Program): Promise<Probe> => {
  const { held, resources } = JSON.parse(await told(program, "SIGUSR2", "probed")); // our own line
  return { heldMib: held / 2 ** 20, resources };
};

/** Sockets, streams, requests, answers and all else that is an EventEmitter, after a thorough collection of some seconds. */
export const emittersIn = async (program: Program): Promise<number> =>
  JSON.parse(await told(program, "SIGWINCH", "counted")).emitters;

export const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Resident memory of a process. */
export const residentMib = (pid: number): number => {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
};
