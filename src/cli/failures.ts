/** What went wrong at start, in one line for people. */
import { ConfigError } from "../config/load.ts";
import { errnoOf } from "../errors.ts";

const addressWords: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use by another program; choose another port or stop that program",
  EACCES: "may not be used by this user; choose a port above 1023",
  EADDRNOTAVAIL: "is no address of this machine",
};

const addressOf = (error: Error): string =>
  "address" in error && "port" in error
    ? `${String(error.address)}:${String(error.port)}`
    : "the address";

/** One line, or several for a file with several mistakes. */
export const toWords = (error: unknown): string => {
  if (error instanceof ConfigError) return error.mistakes.join("\n");
  if (!(error instanceof Error)) return String(error);
  const words = addressWords[errnoOf(error) ?? ""];
  return words === undefined ? error.message : `${addressOf(error)} ${words}`;
};
