/** The log of a command that runs on, as its settings say. */
import { createLog, type LogOptions, type OpenLog } from "../observe/log.ts";
import { type LogSettings, logOptionsOf } from "./log-options.ts";

export const openLog = (
  settings: LogSettings,
  more: Pick<LogOptions, "suppressed"> = {},
): OpenLog => createLog({ ...logOptionsOf(settings), ...more });
