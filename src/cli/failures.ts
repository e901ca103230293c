/** What went wrong at start, in one line for people. */
import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { errnoOf } from "../errors.ts";
import { fileWords } from "../lib/text-file.ts";

const addressWords: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use by another program; choose another port or stop that program",
  EACCES: "may not be used by this user; choose a port above 1023",
  EADDRNOTAVAIL: "is no address of this machine",
};

const addressOf = (error: Error): string | undefined =>
  "address" in error && "port" in error
    ? `${String(error.address)}:${String(error.port)}`
    : undefined;

/** The same errno means one thing of an address and another of a file. */
const ofAddress = (error: Error): string | undefined => {
  const address = addressOf(error);
  const words = addressWords[errnoOf(error) ?? ""];
  return address === undefined || words === undefined ? undefined : `${address} ${words}`;
};

const nameWords: Readonly<Record<string, string>> = {
  ENOTFOUND: "is no name that leads to an address; correct it, or write an address of this machine",
  EAI_AGAIN:
    "cannot be looked up now; look at this machine's DNS, or write an address of this machine",
};

const ofName = (error: Error): string | undefined => {
  const words = nameWords[errnoOf(error) ?? ""];
  return words === undefined || !("hostname" in error) ? undefined : `${error.hostname} ${words}`;
};

/** Of an address to listen on. */
export const listenWords = (error: Error): string | undefined => ofAddress(error) ?? ofName(error);

/** Of a directory that cannot be made below one that may only be read, Node says that it is missing: the one above says why. */
const causeOf = (error: Error): unknown => {
  const isMade = "syscall" in error && error.syscall === "mkdir" && "path" in error;
  if (!isMade || errnoOf(error) !== "ENOENT") return error;
  let above = path.resolve(String(error.path));
  while (!existsSync(above)) above = path.dirname(above);
  try {
    accessSync(above, constants.W_OK);
    return error;
  } catch (cause) {
    return cause;
  }
};

const ofFile = (failed: Error): string | undefined => {
  const error = causeOf(failed);
  const words = fileWords(error);
  return words === undefined || !(error instanceof Error && "path" in error)
    ? undefined
    : `${String(error.path)}: ${words}`;
};

/** One line, or several for a file with several mistakes. */
export const toWords = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return listenWords(error) ?? ofFile(error) ?? error.message;
};
