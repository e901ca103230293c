import type { AgentConfig } from "../config/agent-schema.ts";
import type { LogOptions } from "../observe/log.ts";

/** All commands that run on have the same settings of their log. */
export type LogSettings = Pick<AgentConfig, "name" | "log">;

export const logOptionsOf = ({
  name,
  log: { level, file, linesPerSecond },
}: LogSettings): LogOptions => ({
  level,
  destination: file ?? "stdout",
  linesPerSecond,
  base: { name },
});
