/**
 * Small files that hold secrets' digests: replaced whole (temporary file, fsync, rename) with mode 0600, so that a crash
 * leaves the old or the new text and nobody else reads either. Lists in them are added to under a lock file.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { isSeq, parseDocument } from "yaml";
import { errnoOf } from "../errors.ts";
import { firstLine } from "../lib/first-line.ts";
import { readText } from "../lib/text-file.ts";

const fileMode = 0o600;

const realPath = (file: string): string => {
  try {
    return realpathSync(file);
  } catch {
    return path.resolve(file); // not there yet
  }
};

const syncDirectory = (directory: string): void => {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
};

/** Replaces a file as a whole. Throws the system's error and leaves nothing behind. */
export const replaceFile = (file: string, text: string): void => {
  const target = realPath(file);
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const descriptor = openSync(temporary, "wx", fileMode);
    try {
      writeFileSync(descriptor, text); // all of it, where one write could take a part
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, target);
    syncDirectory(path.dirname(target));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
};

/** The text of a file; undefined when there is none. */
export const readIfThere = (file: string): string | undefined => {
  try {
    return readText(file);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
};

const staleLockMs = 10_000;

const isStale = (lock: string): boolean => {
  try {
    return Date.now() - statSync(lock).mtimeMs > staleLockMs; // both are the file system's wall clock
  } catch {
    return false; // gone: the next try takes it
  }
};

const lockAttempts = 100;
const lockPauseMs = 20;

const takeLock = (lock: string): void => {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 0; attempt < lockAttempts; attempt++) {
    try {
      closeSync(openSync(lock, "wx", fileMode));
      return;
    } catch (error) {
      if (errnoOf(error) === "ENOENT")
        throw new Error(`${path.dirname(lock)}: no such directory (ENOENT)`, { cause: error });
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    if (isStale(lock)) rmSync(lock, { force: true });
    else Atomics.wait(pause, 0, 0, lockPauseMs);
  }
  throw new Error(`${lock} is held by another command; remove it if none runs`);
};

/** What a gateway that reads the text would have against it. */
export type FaultsOf = (text: string) => readonly string[];

/**
 * Adds an entry to the list named `key` of a YAML or JSON file, comments kept; makes the file if there is none. A file that no
 * gateway would read, such as one of another kind, stays as it is.
 */
export const appendEntry = (
  file: string,
  key: string,
  entry: object,
  faultsOf: FaultsOf = () => [],
): void => {
  const lock = `${realPath(file)}.lock`;
  takeLock(lock);
  try {
    const text = readIfThere(file) ?? "";
    const document = parseDocument(text);
    if (document.errors[0]) throw new Error(`${file}: ${firstLine(document.errors[0].message)}`);
    const list = document.get(key);
    if (list !== undefined && list !== null && !isSeq(list))
      throw new Error(`${file}: ${key} is not a list`);
    const [fault] = faultsOf(text);
    if (fault !== undefined) throw new Error(`${file}: nothing was added, for ${fault}`);
    if (list === undefined || list === null) document.set(key, document.createNode([entry]));
    else list.add(document.createNode(entry));
    replaceFile(
      file,
      text.trimStart().startsWith("{") || (text === "" && file.endsWith(".json"))
        ? `${JSON.stringify(document.toJS(), undefined, 2)}\n`
        : document.toString(),
    );
  } finally {
    rmSync(lock, { force: true });
  }
};
