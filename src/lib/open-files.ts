import { readFileSync } from "node:fs";

const limitLine = /^Max open files\s+(\d+)/m;

/** The process' soft limit of open files; undefined where /proc does not tell it. */
export const openFilesLimit = (): number | undefined => {
  try {
    const found = limitLine.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    return undefined; // no /proc here
  }
};
