/** Processes that belong to a task but left its group, or outlived the agent that started them. */
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../../ports.ts";
import { processIds, readEnvironment, readStat } from "../procfs.ts";
import { sendSignal } from "../signals.ts";

type Match = (environment: ReadonlyMap<string, string>) => boolean;

const find = (match: Match): readonly number[] =>
  processIds().filter((pid) => {
    if (pid === process.pid || pid === process.ppid) return false;
    const environment = readEnvironment(pid);
    return environment?.has("SERAI_ALLOC_ID") === true && match(environment);
  });

/** Kills what a task left behind outside its process group; also sessions opened inside it, as Nomad does. */
export const killStragglers = (allocationId: string, task: string): void => {
  const match: Match = (environment) =>
    environment.get("SERAI_ALLOC_ID") === allocationId &&
    environment.get("NOMAD_TASK_NAME") === task;
  for (const pid of find(match)) sendSignal(pid, "SIGKILL");
};

const graceMs = 1_000;
const patienceMs = 5_000;
const pollMs = 20;

const gone = async (pids: readonly number[], withinMs: number): Promise<readonly number[]> => {
  let left = pids;
  for (let waitedMs = 0; waitedMs < withinMs; waitedMs += pollMs) {
    left = left.filter((pid) => readStat(pid) !== undefined);
    if (left.length === 0) break;
    await sleep(pollMs);
  }
  return left;
};

/** The process, and its group when it leads one: members may have cleared their environment. */
const signalWhole = (pid: number, signal: NodeJS.Signals): void => {
  if (readStat(pid)?.group === pid) sendSignal(-pid, signal);
  else sendSignal(pid, signal);
};

/** Ends every process that an earlier agent with this data directory left running; waits until they are gone. */
export const endOrphans = async (log: Log, dataDirectory: string): Promise<void> => {
  const prefix = `${path.join(dataDirectory, "alloc")}${path.sep}`;
  const match: Match = (environment) =>
    environment.get("NOMAD_ALLOC_DIR")?.startsWith(prefix) === true;
  const orphans = find(match);
  if (orphans.length === 0) return;
  log.warn({ pids: orphans }, "ending processes an earlier agent left behind");
  for (const pid of orphans) signalWhole(pid, "SIGTERM");
  const stubborn = await gone(orphans, graceMs);
  for (const pid of stubborn) signalWhole(pid, "SIGKILL");
  // What an orphan started while it was being ended carries the same environment.
  for (const pid of find(match)) sendSignal(pid, "SIGKILL");
  const left = await gone([...new Set([...stubborn, ...find(match)])], patienceMs);
  if (left.length > 0) log.error({ pids: left }, "processes of an earlier agent cannot be ended");
};
