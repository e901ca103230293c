/** The log: one line of JSON an event, made by pino. */
import { pino } from "pino";
import { escapeControls } from "./redact.ts";
import {
  createThrottledLog,
  type LogOptions,
  type OpenLines,
  type OpenLog,
} from "./throttled-log.ts";

const pinoLines: OpenLines = (base, write) => {
  const lines = pino(
    {
      level: "debug",
      base,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (fields: unknown) => fields }, // made by cleanFields; the default would take it for an error
      hooks: { streamWrite: escapeControls },
    },
    { write },
  );
  return (level, fields, message) => lines[level](fields, message);
};

/** Throws when its file cannot be opened. Closed by whoever made it. */
export const createLog = (options: LogOptions): OpenLog => createThrottledLog(pinoLines, options);
