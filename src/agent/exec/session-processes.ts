/** Ends everything in a process's session: each command leads its own, so job control cannot hide a child. */
import { setTimeout as wait } from "node:timers/promises";
import { processIds, readStat } from "../procfs.ts";
import { sendSignal } from "../signals.ts";

const tickMs = 25;

/** Whether it lives, and is of the session of `leader`: a child of ours that was started just now may not lead it yet. */
const belongs = (pid: number, leader: number): boolean => {
  const stat = readStat(pid);
  return stat?.session === leader || (pid === leader && stat?.parent === process.pid);
};

const processesOf = (leader: number): readonly number[] =>
  processIds().filter((pid) => belongs(pid, leader));

const hasProc = (): boolean => readStat(process.pid) !== undefined;

/** What to signal for a session: each of its processes, or its group where there is no /proc to look in. */
const targetsOf = (leader: number): readonly number[] =>
  hasProc() ? processesOf(leader) : [-leader];

/**
 * SIGHUP to everything in the session, then SIGKILL to what is left after the grace. Two looks at /proc, however long
 * it takes: between them only what was found is asked after.
 */
export const endSession = async (leader: number, graceMs: number): Promise<void> => {
  const found = targetsOf(leader);
  for (const pid of found) sendSignal(pid, "SIGHUP");
  for (const pid of found) sendSignal(pid, "SIGCONT"); // a stopped job hears the hang-up only then
  const isLiving = (pid: number): boolean => pid < 0 || belongs(pid, leader);
  for (let passedMs = 0; passedMs < graceMs && found.some(isLiving); passedMs += tickMs)
    await wait(tickMs);
  for (const pid of targetsOf(leader)) sendSignal(pid, "SIGKILL");
};
