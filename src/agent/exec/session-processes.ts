/** Ends everything in a process's session: each command leads its own, so job control cannot hide a child. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

const tickMs = 25;

const sessionField = 3; // of what follows the command's name: state, ppid, pgrp, session

/** Session id of a process; undefined when it is gone or there is no /proc. */
const sessionOf = (pid: string): number | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : Number(fields[sessionField]);
  } catch {
    return undefined;
  }
};

const processIds = (): readonly string[] => {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
};

/** Living processes of the session that `leader` led, zombies left out. */
const processesOf = (leader: number): readonly number[] =>
  processIds()
    .filter((pid) => sessionOf(pid) === leader)
    .map(Number);

const send = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal);
  } catch {
    // it ended meanwhile
  }
};

const hasProc = (): boolean => sessionOf(String(process.pid)) !== undefined;

/** What to signal for a session: each of its processes, or its group where there is no /proc to look in. */
const targetsOf = (leader: number): readonly number[] =>
  hasProc() ? processesOf(leader) : [-leader];

/**
 * SIGHUP to everything in the session, then SIGKILL to what is left after the grace. Two looks at /proc, however long
 * it takes: between them only what was found is asked after.
 */
export const endSession = async (leader: number, graceMs: number): Promise<void> => {
  const found = targetsOf(leader);
  for (const pid of found) send(pid, "SIGHUP");
  for (const pid of found) send(pid, "SIGCONT"); // a stopped job hears the hang-up only then
  const isLiving = (pid: number): boolean => pid < 0 || sessionOf(String(pid)) === leader;
  for (let passedMs = 0; passedMs < graceMs && found.some(isLiving); passedMs += tickMs)
    await wait(tickMs);
  for (const pid of targetsOf(leader)) send(pid, "SIGKILL");
};
