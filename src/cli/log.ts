/** The log of a command that runs on, as its settings say. */
import type { AgentConfig } from "../config/agent-schema.ts";
import { createLog, type LogOptions, type OpenLog } from "../observe/log.ts";

/** All such commands have the same settings of it. */
type Settings = Pick<AgentConfig, "name" | "log">;

export const openLog = (
  { name, log: { level, file, linesPerSecond } }: Settings,
  more: Pick<LogOptions, "suppressed"> = {},
): OpenLog =>
  createLog({ level, destination: file ?? "stdout", linesPerSecond, base: { name }, ...more });
