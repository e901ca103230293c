/** The entity tag of a file as it is (RFC 9110 §8.8.3): another file, size or time of change is another tag. */
import type { BigIntStats } from "node:fs";

/** A header of its own, to lay beside others; empty for what has no bytes to be read. */
export const entityTag = (stats: BigIntStats): Readonly<Record<string, string>> =>
  stats.isFile() && stats.size > 0n
    ? {
        ETag: `"${[stats.ino, stats.size, stats.mtimeNs].map((part) => part.toString(36)).join("-")}"`,
      }
    : {};
