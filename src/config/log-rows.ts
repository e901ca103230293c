import { filePath, integer, oneOf } from "./kinds.ts";
import { optional, section, setting } from "./settings.ts";

/** The log's settings, the same for gateway and agent. */
export const logRows = section("The log: one JSON line an event", {
  level: setting(
    oneOf("debug", "info", "warn", "error"),
    "info",
    "the least severe lines that are written",
  ),
  file: optional(filePath, "a file that is opened again at SIGHUP; stdout without it"),
  lines_per_second: setting(
    integer(1, 1_000_000),
    50,
    "lines of one class; more are counted and told as one line",
  ),
});
