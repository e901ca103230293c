/**
 * The agents of `serai dev`: processes of their own that end with it. Each holds a channel to its parent and stops in order
 * when that closes, so that not even kill -9 of the parent leaves anything behind.
 */
import { type ChildProcess, fork } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { AgentFiles } from "./home.ts";

export interface Child {
  /** The node's. */
  readonly name: string;
  readonly process: ChildProcess;
  /** Resolves when it has ended, with how. */
  readonly ended: Promise<string>;
}

/** Starts `serai agent --config FILE`; what it prints goes to its log file. */
export const startAgent = (program: string, files: AgentFiles): Child => {
  const { name } = files;
  const log = openSync(files.log, "a", 0o600);
  try {
    const child = fork(program, ["agent", "--config", files.settings], {
      stdio: ["ignore", log, log, "ipc"],
      detached: true, // Ctrl-C goes to the parent alone, which ends its agents in order
    });
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    return { name, process: child, ended };
  } finally {
    closeSync(log);
  }
};

const isRunning = ({ process: child }: Child): boolean =>
  child.exitCode === null && child.signalCode === null;

/** Asks every agent to stop, and ends those that have not within `graceMs`. */
export const stopAgents = async (children: readonly Child[], graceMs: number): Promise<void> => {
  for (const child of children.filter(isRunning)) child.process.kill("SIGTERM");
  const timer = setTimeout(() => {
    for (const child of children.filter(isRunning)) child.process.kill("SIGKILL");
  }, graceMs);
  await Promise.all(children.map(({ ended }) => ended));
  clearTimeout(timer);
};
