/** Files that people name: what the system says of one is told by its name and in their words. */
import { readFileSync } from "node:fs";

const notYours =
  "this user may not use it; give it to the user that serai runs as, or name another";

const words: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of this path is no directory",
  EISDIR: "is a directory, not a file",
  EEXIST: "is there already, as something else",
  EACCES: notYours,
  EPERM: notYours,
  EROFS: "lies on a file system that may only be read; name another",
  ENOSPC: "there is no space left for it",
  EDQUOT: "this user's share of the disk is used up",
  EFBIG: "it would be larger than this process may write",
  ELOOP: "its links lead in a circle",
};

/** Undefined for what is no error of a file. */
export const fileWords = (error: unknown): string | undefined => {
  if (!(error instanceof Error && "code" in error)) return undefined;
  const code = String(error.code);
  return words[code] === undefined ? undefined : `${words[code]} (${code})`;
};

/** What is told of anything that went wrong with a file. */
export const fileReason = (error: unknown): string =>
  fileWords(error) ?? (error instanceof Error ? error.message : String(error));

/** Throws one sentence that begins with the file's name. */
export const readText = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`${file}: ${fileReason(error)}`, { cause: error });
  }
};
