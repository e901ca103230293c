import { existsSync, readFileSync } from "node:fs";

/** The lines of a file so far, of its last only when its end is there: who reads while another writes may see a part. */
export const linesOf = (file: string): readonly string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
