/** Signals by Nomad's names. */
import { constants } from "node:os";

const byName: ReadonlyMap<string, NodeJS.Signals> = new Map(
  // The keys of the platform's own table are its signals.
  (Object.keys(constants.signals) as NodeJS.Signals[]).map((name) => [name, name]),
);

/** The named signal, or SIGINT for every other name: what raw_exec does (nomad-http.md §6.5). */
export const toSignal = (name: string): NodeJS.Signals => byName.get(name) ?? "SIGINT";

export const signalNumber = (signal: NodeJS.Signals): number => constants.signals[signal];

/** Sends a signal to a process, or to a group when the id is negative; false when there is none. */
export const sendSignal = (pid: number, signal: NodeJS.Signals): boolean => {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false; // ESRCH: it has just ended; EPERM: it changed its user
  }
};
